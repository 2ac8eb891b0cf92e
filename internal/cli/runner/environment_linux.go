package runner

import (
	"os"
	"slices"
	"strings"
)

// Environment returns the environment that this program was started with, unchanged: os.Environ leaves out duplicates.
func Environment() []string {
	given, err := os.ReadFile("/proc/self/environ")
	if err != nil {
		return os.Environ()
	}
	env := strings.Split(string(given), "\x00")
	return slices.DeleteFunc(env, func(variable string) bool { return variable == "" })
}

// Command runc-noseccomp is a wrapper of a runc that was built without libseccomp. Such a runc rejects any container with a
// seccomp profile, which every Pod sandbox has; so the wrapper removes the profile from the bundle's config.json before it calls
// runc. For test nodes only.
//
// It expects runc in its own directory, under the name "runc".
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

func main() {
	if err := run(os.Args); err != nil {
		fmt.Fprintln(os.Stderr, "runc-noseccomp:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	// Only these two read config.json; all other commands are passed on unchanged.
	if slices.Contains(args, "create") || slices.Contains(args, "run") {
		if err := dropSeccomp(filepath.Join(bundle(args), "config.json")); err != nil {
			return err
		}
	}
	runc := filepath.Join(filepath.Dir(self), "runc")
	if err := syscall.Exec(runc, append([]string{runc}, args[1:]...), os.Environ()); err != nil {
		return fmt.Errorf("exec %s: %w", runc, err)
	}
	return nil
}

// bundle returns the value of --bundle or -b; like runc's, it defaults to the working directory.
func bundle(args []string) string {
	for i, arg := range args {
		name, value, ok := strings.Cut(arg, "=")
		if name != "--bundle" && name != "-b" {
			continue
		}
		if ok {
			return value
		}
		if i+1 < len(args) {
			return args[i+1]
		}
	}
	return "."
}

// dropSeccomp rewrites the file only if there is a profile in it, and keeps the values of all other fields, including unknown
// ones.
func dropSeccomp(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var spec, linux map[string]json.RawMessage
	if err := json.Unmarshal(data, &spec); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if len(spec["linux"]) == 0 {
		return nil
	}
	if err := json.Unmarshal(spec["linux"], &linux); err != nil {
		return fmt.Errorf("%s: linux: %w", path, err)
	}
	if _, ok := linux["seccomp"]; !ok {
		return nil
	}
	delete(linux, "seccomp")
	if spec["linux"], err = json.Marshal(linux); err != nil {
		return err
	}
	if data, err = json.Marshal(spec); err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o600)
}

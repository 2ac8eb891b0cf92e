package runner

import (
	"errors"
	"os"
	"os/exec"
)

// LookPath returns the path of the program with that name, found by PATH. It returns a *StartError if there is none.
func LookPath(name string) (string, error) {
	path, err := exec.LookPath(name)
	switch {
	case err == nil:
		return path, nil
	case errors.Is(err, os.ErrPermission):
		return "", newNotExecutableError("%s can't be executed: check its permissions", name)
	case errors.Is(err, exec.ErrDot):
		return "", newNotFoundError("%s is in the current directory only: write .\\%s", name, name)
	default:
		return "", newNotFoundError("command %s not found: check its name and PATH", name)
	}
}

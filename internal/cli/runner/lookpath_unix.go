//go:build unix

package runner

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// shellPath runs scripts without an interpreter line.
const shellPath = "/bin/sh"

// LookPath returns the path of the program with that name, as a shell would find it. It returns a *StartError if there is
// none, or one that can't be executed.
func LookPath(name string) (string, error) {
	path, err := searchPATH(name)
	switch {
	case err == nil:
		return path, checkExecutable(path)
	case errors.Is(err, os.ErrPermission):
		return "", newNotExecutableError("%s can't be executed: check its permissions", name)
	case errors.Is(err, unix.EISDIR):
		return "", newNotExecutableError("%s is a directory", name)
	default:
		return "", newNotFoundError("command %s not found: check its name and PATH", name)
	}
}

func searchPATH(name string) (string, error) {
	path, err := exec.LookPath(name)
	if errors.Is(err, exec.ErrDot) {
		// Go rejects programs in the current directory. A user who has that directory in PATH wants them.
		return path, nil
	}
	if _, isSet := os.LookupEnv("PATH"); err == nil || isSet || strings.Contains(name, "/") {
		return path, err
	}
	// Without PATH execvp(3) searches these.
	for _, dir := range []string{"/bin", "/usr/bin"} {
		if path, err = exec.LookPath(dir + "/" + name); err == nil {
			break
		}
	}
	return path, err
}

// checkExecutable checks whether the program can be executed, so that the user learns it before waiting for the hold. It
// returns nil where only the start can tell.
func checkExecutable(path string) error {
	head, err := readFileHead(path)
	if err != nil {
		return nil //nolint:nilerr // Who may not read a program may execute it all the same.
	}
	if !bytes.HasPrefix(head, []byte("#!")) {
		if isForeignBinary(head) {
			return newNotExecutableError("%s can't be executed: it is not a program for this machine", path)
		}
		return nil
	}
	line, _, _ := bytes.Cut(head[len("#!"):], []byte("\n"))
	words := bytes.Fields(line)
	if len(words) == 0 {
		return nil
	}
	switch err := unix.Access(string(words[0]), unix.X_OK); {
	case errors.Is(err, unix.ENOENT):
		return newNotFoundError("%s can't be executed: its interpreter %s is missing", path, words[0])
	case err != nil:
		return newNotExecutableError("%s can't be executed: its interpreter %s: %w", path, words[0], err)
	}
	return nil
}

// readFileHead returns the beginning of a file, as many bytes as the kernel reads to recognize its format.
func readFileHead(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	head := make([]byte, 256)
	n, err := io.ReadFull(f, head)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return head[:n], err
}

// isScript reports whether a file with this beginning may be a script, by the rule of the shells: no zero byte in the first
// line.
func isScript(head []byte) bool {
	line, _, _ := bytes.Cut(head, []byte("\n"))
	return !bytes.Contains(line, []byte{0})
}

// newStartError returns the error of a command that could not be started.
func newStartError(path string, err error) *StartError {
	if errors.Is(err, unix.ENOENT) {
		return newNotFoundError("starting %s: %w", path, err)
	}
	return newNotExecutableError("starting %s: %w", path, err)
}

//go:build unix

package runner

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// reexecProcess is another process of this program, with a pipe to it and one from it.
type reexecProcess struct {
	pid         int
	toProcess   *os.File
	fromProcess *os.File
}

// Names of the internal processes. If they had this program's own name, a signal by name, as from killall, would be sent to
// them too: and the command is assumed to have got every signal that the signal detector gets.
const (
	supervisorProcessName = "run-supervisor"
	detectorProcessName   = "run-detector"
)

// startReexecProcess starts this program under a name with args, followed by the numbers of its ends of the pipes. It
// inherits all files that this program was started with. With ownProcessGroup it has a process group of its own.
func startReexecProcess(name string, args []string, ownProcessGroup bool) (*reexecProcess, error) {
	program, err := executablePath()
	if err != nil {
		return nil, err
	}
	readEnd, to, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer func() { _ = readEnd.Close() }()
	from, writeEnd, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, to.Close())
	}
	defer func() { _ = writeEnd.Close() }()
	files := inheritedFiles()
	first := len(files)
	files = append(files, readEnd.Fd(), writeEnd.Fd())
	argv := append([]string{name}, args...)
	argv = append(argv, strconv.Itoa(first), strconv.Itoa(first+1))
	pid, err := syscall.ForkExec(program, argv, &syscall.ProcAttr{Env: os.Environ(), Files: files, Sys: &syscall.SysProcAttr{Setpgid: ownProcessGroup}})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting %s: %w", program, err), to.Close(), from.Close())
	}
	return &reexecProcess{pid: pid, toProcess: to, fromProcess: from}, nil
}

// pipesFromArgs returns an internal process's ends of the pipes, from its last two arguments.
func pipesFromArgs(args []string) (from, to *os.File, err error) {
	notOurs := errors.New("this command is only for koncli itself: use 'koncli run'")
	if len(args) < 2 {
		return nil, nil, notOurs
	}
	files := make([]*os.File, 2)
	for i, arg := range args[len(args)-2:] {
		var stat unix.Stat_t
		fd, err := strconv.Atoi(arg)
		if err != nil || unix.Fstat(fd, &stat) != nil || stat.Mode&unix.S_IFMT != unix.S_IFIFO {
			return nil, nil, notOurs
		}
		// The command must not inherit them: the end of its caller could then not be noticed.
		unix.CloseOnExec(fd)
		files[i] = os.NewFile(uintptr(fd), arg)
	}
	return files[0], files[1], nil
}

// wait waits for the process to end and reaps it.
func (h *reexecProcess) wait() {
	for {
		if _, err := unix.Wait4(h.pid, nil, 0, nil); !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// executablePath returns a path by which this very program can be executed, even if its file has been replaced or removed.
func executablePath() (string, error) {
	const link = "/proc/self/exe"
	path, err := os.Executable()
	running, noLink := os.Stat(link)
	if noLink != nil {
		return path, err
	}
	// The real path reads better in a list of processes.
	if file, gone := os.Stat(path); err == nil && gone == nil && os.SameFile(file, running) {
		return path, nil
	}
	return link, nil
}

// inheritedFiles returns the open files that this program was started with, each at its number. Go sets FD_CLOEXEC on all
// files that it opens itself, so they are left out.
func inheritedFiles() []uintptr {
	const none = ^uintptr(0)
	files := []uintptr{0, 1, 2}
	entries, err := os.ReadDir("/dev/fd")
	if err != nil {
		return files
	}
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil || fd < len(files) && files[fd] != none {
			continue
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC != 0 {
			continue
		}
		for fd >= len(files) {
			files = append(files, none)
		}
		files[fd] = uintptr(fd)
	}
	return files
}

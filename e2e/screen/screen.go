// Package screen runs a program on an emulated terminal.
package screen

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"

	"github.com/creack/pty"
	"github.com/hinshun/vt10x"
)

// backgroundColorReply is the terminal's reply to a query for its background color.
const backgroundColorReply = "\x1b]11;rgb:fafa/fafa/fafa\x1b\\"

// Screen is the terminal. It is safe for concurrent use.
type Screen struct {
	cmd  *exec.Cmd
	ptmx *os.File      // the terminal's side of the pty
	done chan struct{} // closed when the program has ended and all its output has been read

	mu      sync.Mutex
	vt      vt10x.Terminal
	output  bytes.Buffer
	changed chan struct{}
}

// Env returns the variables that a program needs to draw on the terminal.
func Env() []string {
	return []string{"TERM=xterm-256color", "COLORTERM=truecolor", "LANG=C.UTF-8"}
}

// Start starts a program on a terminal of that size, as the leader of a new session. The caller closes the Screen.
func Start(cmd *exec.Cmd, cols, rows int) (*Screen, error) {
	s := &Screen{cmd: cmd, done: make(chan struct{}), vt: vt10x.New(vt10x.WithSize(cols, rows)), changed: make(chan struct{})}
	file, tty, err := pty.Open()
	if err != nil {
		return nil, err
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	err = pty.Setsize(file, winsize(cols, rows))
	if err == nil {
		err = cmd.Start()
	}
	if err = errors.Join(err, tty.Close()); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	if s.ptmx, err = pollableFile(file); err != nil {
		return nil, errors.Join(err, cmd.Process.Kill(), file.Close())
	}
	go s.readOutput()
	return s, nil
}

// pollableFile returns a duplicate of file that can be closed while a goroutine reads from it.
func pollableFile(file *os.File) (*os.File, error) {
	fd, err := syscall.Dup(int(file.Fd()))
	if err != nil {
		return nil, err
	}
	syscall.CloseOnExec(fd)
	if err := syscall.SetNonblock(fd, true); err != nil {
		return nil, errors.Join(err, syscall.Close(fd))
	}
	return os.NewFile(uintptr(fd), file.Name()), file.Close()
}

func winsize(cols, rows int) *pty.Winsize {
	return &pty.Winsize{Cols: uint16(cols), Rows: uint16(rows)}
}

// readOutput draws the program's output, and replies to its queries.
func (s *Screen) readOutput() {
	defer close(s.done)
	buffer := make([]byte, 64<<10)
	for {
		n, err := s.ptmx.Read(buffer)
		s.mu.Lock()
		_, _ = s.vt.Write(buffer[:n])
		s.output.Write(buffer[:n])
		close(s.changed)
		s.changed = make(chan struct{})
		s.mu.Unlock()
		if bytes.Contains(buffer[:n], []byte("\x1b]11;?")) {
			_, _ = s.ptmx.WriteString(backgroundColorReply)
		}
		if bytes.Contains(buffer[:n], []byte("\x1b[c")) {
			_, _ = s.ptmx.WriteString("\x1b[?62;c")
		}
		if err != nil {
			return // the program has closed its end
		}
	}
}

// PID returns the program's process id.
func (s *Screen) PID() int { return s.cmd.Process.Pid }

// Done is closed when the program has ended and all its output has been read.
func (s *Screen) Done() <-chan struct{} { return s.done }

// Snapshot returns the text on the screen, and a channel that is closed when it changes.
func (s *Screen) Snapshot() (string, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.vt.String(), s.changed
}

// Output returns everything that the program has written.
func (s *Screen) Output() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.output.String()
}

// Await waits until condition is true for the text on the screen; what describes that, for the error.
func (s *Screen) Await(ctx context.Context, what string, condition func(picture string) bool) error {
	for {
		picture, changed := s.Snapshot()
		if condition(picture) {
			return nil
		}
		select {
		case <-changed:
		case <-s.done:
			return fmt.Errorf("the program has ended; waited for %s:\n%s", what, picture)
		case <-ctx.Done():
			return fmt.Errorf("waited in vain for %s: %w\n%s", what, context.Cause(ctx), picture)
		}
	}
}

// Type sends keys.
func (s *Screen) Type(keys string) error {
	_, err := s.ptmx.WriteString(keys)
	return err
}

// Resize changes the size of the terminal.
func (s *Screen) Resize(cols, rows int) error {
	s.mu.Lock()
	s.vt.Resize(cols, rows)
	s.mu.Unlock()
	return pty.Setsize(s.ptmx, winsize(cols, rows))
}

// ExitCode waits until the program has ended, and returns its exit code.
func (s *Screen) ExitCode() int {
	<-s.done
	_ = s.cmd.Wait() // the exit code is in ProcessState; a second Wait only returns an error
	return s.cmd.ProcessState.ExitCode()
}

// Close kills the program, if it hasn't ended, and closes the terminal.
func (s *Screen) Close() error {
	_ = s.cmd.Process.Kill() // it has usually ended
	s.ExitCode()
	if err := s.ptmx.Close(); !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

// HangUp closes the terminal, as a user who closes its window does.
func (s *Screen) HangUp() error { return s.ptmx.Close() }

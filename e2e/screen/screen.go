// Package screen is a terminal with a program on it, as a person has it before them.
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

// background is what the terminal answers when it is asked for the colour of its background.
const background = "\x1b]11;rgb:fafa/fafa/fafa\x1b\\"

// Screen is the terminal. It is safe for concurrent use.
type Screen struct {
	cmd  *exec.Cmd
	file *os.File      // the terminal's own end
	done chan struct{} // closes when the program has ended and all that it wrote has been read

	mu      sync.Mutex
	vt      vt10x.Terminal
	raw     bytes.Buffer
	changed chan struct{}
}

// Environment returns the variables that a program needs to draw on the terminal.
func Environment() []string {
	return []string{"TERM=xterm-256color", "COLORTERM=truecolor", "LANG=C.UTF-8"}
}

// Start starts a program on a terminal of that size, as the first of a session of its own. The caller closes the Screen.
func Start(cmd *exec.Cmd, cols, rows int) (*Screen, error) {
	s := &Screen{cmd: cmd, done: make(chan struct{}), vt: vt10x.New(vt10x.WithSize(cols, rows)), changed: make(chan struct{})}
	file, tty, err := pty.Open()
	if err != nil {
		return nil, err
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	err = pty.Setsize(file, size(cols, rows))
	if err == nil {
		err = cmd.Start()
	}
	if err = errors.Join(err, tty.Close()); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	s.file = file
	go s.read()
	return s, nil
}

func size(cols, rows int) *pty.Winsize { return &pty.Winsize{Cols: uint16(cols), Rows: uint16(rows)} }

// read draws what the program writes, and answers what it asks.
func (s *Screen) read() {
	defer close(s.done)
	buffer := make([]byte, 64<<10)
	for {
		n, err := s.file.Read(buffer)
		s.mu.Lock()
		_, _ = s.vt.Write(buffer[:n])
		s.raw.Write(buffer[:n])
		close(s.changed)
		s.changed = make(chan struct{})
		s.mu.Unlock()
		if bytes.Contains(buffer[:n], []byte("\x1b]11;?")) {
			_, _ = s.file.WriteString(background)
		}
		if bytes.Contains(buffer[:n], []byte("\x1b[c")) {
			_, _ = s.file.WriteString("\x1b[?62;c")
		}
		if err != nil {
			return // the program has closed its end
		}
	}
}

// PID returns the program's process.
func (s *Screen) PID() int { return s.cmd.Process.Pid }

// Done closes when the program has ended and all that it wrote has been read.
func (s *Screen) Done() <-chan struct{} { return s.done }

// Picture returns what is on the screen, and what closes when that changes.
func (s *Screen) Picture() (string, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.vt.String(), s.changed
}

// Written returns everything that the program has written.
func (s *Screen) Written() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.raw.String()
}

// Await waits until a picture is as it should be; what says how, for the error.
func (s *Screen) Await(ctx context.Context, what string, is func(picture string) bool) error {
	for {
		picture, changed := s.Picture()
		if is(picture) {
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
	_, err := s.file.WriteString(keys)
	return err
}

// Resize gives the terminal another size.
func (s *Screen) Resize(cols, rows int) error {
	s.mu.Lock()
	s.vt.Resize(cols, rows)
	s.mu.Unlock()
	return pty.Setsize(s.file, size(cols, rows))
}

// ExitCode waits until the program has ended, and returns its exit code.
func (s *Screen) ExitCode() int {
	<-s.done
	_ = s.cmd.Wait() // the exit code tells; a second time it only says that it was waited for
	return s.cmd.ProcessState.ExitCode()
}

// Close ends the program, if it hasn't, and takes the terminal away.
func (s *Screen) Close() error {
	_ = s.cmd.Process.Kill() // it has usually ended
	s.ExitCode()
	return s.file.Close()
}

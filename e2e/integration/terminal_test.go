package integration

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/hinshun/vt10x"
)

// screen is a terminal with the program on it, as a person has it before them.
type screen struct {
	w    *world
	cmd  *exec.Cmd
	file *os.File      // the terminal's own end
	done chan struct{} // closes when the program has ended and all that it wrote has been read

	mu      sync.Mutex
	vt      vt10x.Terminal
	raw     bytes.Buffer
	changed chan struct{}
}

// background is what the terminal answers when it is asked for the colour of its background.
const background = "\x1b]11;rgb:fafa/fafa/fafa\x1b\\"

// terminal starts the program on a terminal of that size, on the test's cluster and namespace.
func (w *world) terminal(kubeconfig string, cols, rows int, args ...string) *screen {
	w.Helper()
	s := &screen{w: w, done: make(chan struct{}), vt: vt10x.New(vt10x.WithSize(cols, rows)), changed: make(chan struct{})}
	s.cmd = exec.Command(koncliPath, args...)
	s.cmd.Args[0] = "kubectl-konductor"
	s.cmd.Env = []string{"TERM=xterm-256color", "COLORTERM=truecolor", "LANG=C.UTF-8", "KUBECONFIG=" + kubeconfig, "HOME=" + w.TempDir(), "PATH=/nowhere"}
	file, tty, err := pty.Open()
	w.ok(err)
	w.ok(pty.Setsize(file, size(cols, rows)))
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = tty, tty, tty
	s.cmd.SysProcAttr = ownSession()
	w.ok(s.cmd.Start())
	w.ok(tty.Close())
	s.file = file
	go s.read()
	w.Cleanup(func() {
		_ = s.cmd.Process.Kill() // it has usually ended
		<-s.done
		_ = s.cmd.Wait()
		_ = file.Close()
	})
	return s
}

func size(cols, rows int) *pty.Winsize { return &pty.Winsize{Cols: uint16(cols), Rows: uint16(rows)} }

// read draws what the program writes, and answers what it asks.
func (s *screen) read() {
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

// picture returns what is on the screen, and what closes when that changes.
func (s *screen) picture() (string, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.vt.String(), s.changed
}

// written returns everything that the program has written.
func (s *screen) written() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.raw.String()
}

// sees waits until all texts are on the screen at the same time.
func (s *screen) sees(texts ...string) *screen {
	s.w.Helper()
	return s.waitsFor(fmt.Sprintf("%q", texts), func(picture string) bool {
		for _, text := range texts {
			if !strings.Contains(picture, text) {
				return false
			}
		}
		return true
	})
}

// loses waits until the text is not on the screen any more.
func (s *screen) loses(text string) *screen {
	s.w.Helper()
	return s.waitsFor("no "+text, func(picture string) bool { return !strings.Contains(picture, text) })
}

func (s *screen) waitsFor(what string, is func(picture string) bool) *screen {
	s.w.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		picture, changed := s.picture()
		if is(picture) {
			return s
		}
		select {
		case <-changed:
		case <-s.done:
			s.w.Fatalf("the program has ended; waited for %s:\n%s", what, picture)
		case <-timer.C:
			s.w.Fatalf("waited in vain for %s:\n%s", what, picture)
		}
	}
}

// types sends keys.
func (s *screen) types(keys string) *screen {
	s.w.Helper()
	_, err := s.file.WriteString(keys)
	s.w.ok(err)
	return s
}

func (s *screen) resize(cols, rows int) *screen {
	s.w.Helper()
	s.mu.Lock()
	s.vt.Resize(cols, rows)
	s.mu.Unlock()
	s.w.ok(pty.Setsize(s.file, size(cols, rows)))
	return s
}

// ends waits until the program has ended, with that exit code.
func (s *screen) ends(code int) {
	s.w.Helper()
	s.w.closes(s.done, "the end of the program")
	_ = s.cmd.Wait() // the exit code tells
	if got := s.cmd.ProcessState.ExitCode(); got != code {
		s.w.Errorf("exit code %d, want %d:\n%s", got, code, s.written())
	}
}

// restored fails the test unless the terminal has been left as it was found.
func (s *screen) restored() {
	s.w.Helper()
	written := s.written()
	for sequence, what := range map[string]string{"\x1b[?1049l": "the screen from before", "\x1b[?25h": "the cursor", "\x1b[?2004l": "plain pasting"} {
		on := strings.TrimSuffix(strings.TrimSuffix(sequence, "l"), "h")
		other := on + map[bool]string{true: "h", false: "l"}[strings.HasSuffix(sequence, "l")]
		if strings.LastIndex(written, sequence) <= strings.LastIndex(written, other) {
			s.w.Errorf("%s is not back", what)
		}
	}
}

func TestTheProgramAsksTheTerminalNothingUnlessItDraws(t *testing.T) {
	w := newWorld(t)
	s := w.terminal("/nowhere", 80, 24, "version", "--client")
	s.ends(0)
	if got := s.written(); strings.ContainsRune(got, '\x1b') || !strings.HasPrefix(got, "Client Version: ") {
		t.Errorf("it wrote %q", got)
	}
}

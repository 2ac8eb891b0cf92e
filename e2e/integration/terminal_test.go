package integration

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/LogicIQ/konductor/e2e/screen"
)

// terminal is a screen of a test.
type terminal struct {
	*screen.Screen
	w *world
}

// terminal starts the program on a terminal of that size, on the test's cluster and namespace.
func (w *world) terminal(kubeconfig string, cols, rows int, args ...string) *terminal {
	w.Helper()
	cmd := exec.Command(koncliPath, args...)
	cmd.Args[0] = "kubectl-konductor"
	cmd.Env = append(screen.Environment(), "KUBECONFIG="+kubeconfig, "HOME="+w.TempDir(), "PATH=/nowhere")
	s, err := screen.Start(cmd, cols, rows)
	w.ok(err)
	w.Cleanup(func() { _ = s.Close() })
	return &terminal{s, w}
}

// written returns everything that the program has written.
func (s *terminal) written() string { return s.Written() }

// sees waits until all texts are on the screen at the same time.
func (s *terminal) sees(texts ...string) *terminal {
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
func (s *terminal) loses(text string) *terminal {
	s.w.Helper()
	return s.waitsFor("no "+text, func(picture string) bool { return !strings.Contains(picture, text) })
}

func (s *terminal) waitsFor(what string, is func(picture string) bool) *terminal {
	s.w.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.w.ctx), patience)
	defer cancel()
	s.w.ok(s.Await(ctx, what, is))
	return s
}

// types sends keys.
func (s *terminal) types(keys string) *terminal {
	s.w.Helper()
	s.w.ok(s.Type(keys))
	return s
}

func (s *terminal) resize(cols, rows int) *terminal {
	s.w.Helper()
	s.w.ok(s.Resize(cols, rows))
	return s
}

// ends waits until the program has ended, with that exit code.
func (s *terminal) ends(code int) {
	s.w.Helper()
	s.w.closes(s.Done(), "the end of the program")
	if got := s.ExitCode(); got != code {
		s.w.Errorf("exit code %d, want %d:\n%s", got, code, s.written())
	}
}

// restored fails the test unless the terminal has been left as it was found.
func (s *terminal) restored() {
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

package integration

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/LogicIQ/konductor/e2e/screen"
)

// testTerminal is a screen of a test.
type testTerminal struct {
	*screen.Screen
	env *testEnv
}

// startTerminal starts the program on a terminal of that size, on the test's cluster and namespace.
func (w *testEnv) startTerminal(kubeconfig string, cols, rows int, args ...string) *testTerminal {
	w.Helper()
	cmd := exec.Command(koncliPath, args...)
	cmd.Args[0] = "kubectl-konductor"
	cmd.Env = append(screen.Env(), "KUBECONFIG="+kubeconfig, "HOME="+w.TempDir(), "PATH=/nowhere")
	s, err := screen.Start(cmd, cols, rows)
	w.must(err)
	w.Cleanup(func() { _ = s.Close() })
	return &testTerminal{s, w}
}

func (s *testTerminal) output() string { return s.Output() }

// waitForText waits until all texts are on the screen at the same time.
func (s *testTerminal) waitForText(texts ...string) *testTerminal {
	s.env.Helper()
	return s.waitForScreen(fmt.Sprintf("%q", texts), func(picture string) bool {
		for _, text := range texts {
			if !strings.Contains(picture, text) {
				return false
			}
		}
		return true
	})
}

// waitForTextGone waits until the text is not on the screen any more.
func (s *testTerminal) waitForTextGone(text string) *testTerminal {
	s.env.Helper()
	return s.waitForScreen("no "+text, func(picture string) bool { return !strings.Contains(picture, text) })
}

func (s *testTerminal) waitForScreen(what string, is func(picture string) bool) *testTerminal {
	s.env.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.env.ctx), waitTimeout)
	defer cancel()
	s.env.must(s.Await(ctx, what, is))
	return s
}

func (s *testTerminal) typeKeys(keys string) *testTerminal {
	s.env.Helper()
	s.env.must(s.Type(keys))
	return s
}

func (s *testTerminal) resize(cols, rows int) *testTerminal {
	s.env.Helper()
	s.env.must(s.Resize(cols, rows))
	return s
}

// expectExit waits until the program has ended, with that exit code.
func (s *testTerminal) expectExit(code int) {
	s.env.Helper()
	s.env.waitClosed(s.Done(), "the end of the program")
	if got := s.ExitCode(); got != code {
		s.env.Errorf("exit code %d, want %d:\n%s", got, code, s.output())
	}
}

// expectRestored fails the test unless the terminal's state is restored.
func (s *testTerminal) expectRestored() {
	s.env.Helper()
	written := s.output()
	for sequence, what := range map[string]string{"\x1b[?1049l": "the screen from before", "\x1b[?25h": "the cursor", "\x1b[?2004l": "plain pasting"} {
		on := strings.TrimSuffix(strings.TrimSuffix(sequence, "l"), "h")
		other := on + map[bool]string{true: "h", false: "l"}[strings.HasSuffix(sequence, "l")]
		if strings.LastIndex(written, sequence) <= strings.LastIndex(written, other) {
			s.env.Errorf("%s is not back", what)
		}
	}
}

func TestNoTerminalQueriesWithoutDrawing(t *testing.T) {
	w := newTestEnv(t)
	s := w.startTerminal("/nowhere", 80, 24, "version", "--client")
	s.expectExit(0)
	if got := s.output(); strings.ContainsRune(got, '\x1b') || !strings.HasPrefix(got, "Client Version: ") {
		t.Errorf("it wrote %q", got)
	}
}

package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// build builds the program once; images have links to it in /bin.
func build(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "shell")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return binary
}

func TestScripts(t *testing.T) {
	binary := build(t)
	hostname, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		args   []string
		stdin  string
		want   string
		status int
	}{
		"parameters":              {args: []string{"sh", "-c", `echo $0 $1 $#`, "zero", "one"}, want: "zero one 1\n"},
		"the host name is known":  {args: []string{"sh", "-c", `echo $HOSTNAME`}, want: hostname + "\n"},
		"-e ends at a failure":    {args: []string{"sh", "-ec", `false; echo not`}, status: 1},
		"-u knows unset names":    {args: []string{"sh", "-uc", `echo $unset_name`}, status: 1},
		"exit status":             {args: []string{"sh", "-c", `exit 7`}, status: 7},
		"script from the input":   {args: []string{"sh"}, stdin: "x=1\necho $x\nexit 4\n", want: "1\n", status: 4},
		"pipes and utilities":     {args: []string{"sh", "-c", `printf 'b\na\n' | cat | xargs echo; cat /no-such-file; echo $?`}, want: "b a\n1\n"},
		"times to wait":           {args: []string{"sh", "-c", `sleep 0; sleep 0.01; sleep 1ms; sleep 0s; echo $?`}, want: "0\n"},
		"loops and arithmetic":    {args: []string{"sh", "-c", `i=0; until [ $i -ge 3 ]; do i=$((i+1)); done; echo $i`}, want: "3\n"},
		"background and wait":     {args: []string{"sh", "-c", `(echo in) & wait; echo out`}, want: "in\nout\n"},
		"programs of others":      {args: []string{"sh", "-c", `A=b ` + lookPath(t, "sh") + ` -c 'echo $A; exit 3'; echo $?; command ` + lookPath(t, "echo") + ` $(echo y)`}, want: "b\n3\ny\n"},
		"a missing program":       {args: []string{"sh", "-c", `no-such-program`}, status: 127},
		"a utility by its name":   {args: []string{"echo", "a  b", "$x"}, want: "a  b $x\n"},
		"a builtin by its name":   {args: []string{"test", "1", "=", "2"}, status: 1},
		"a trap at the end":       {args: []string{"sh", "-c", `trap 'echo bye' EXIT; echo hi`}, want: "hi\nbye\n"},
		"a syntax error":          {args: []string{"sh", "-c", `if`}, status: 2},
		"a command for -c":        {args: []string{"sh", "-c"}, status: 2},
		"an unknown time to wait": {args: []string{"sleep", "soon"}, status: 1},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), binary, tc.args...)
			cmd.Stdin = strings.NewReader(tc.stdin)
			out, err := cmd.Output()
			status := 0
			if exit, ok := errors.AsType[*exec.ExitError](err); ok {
				status = exit.ExitCode()
			}
			if string(out) != tc.want || status != tc.status {
				t.Errorf("%q, status %d (%v); want %q, %d", out, status, err, tc.want, tc.status)
			}
		})
	}
}

func TestNameOfTheLinkIsTheUtility(t *testing.T) {
	link := filepath.Join(t.TempDir(), "echo")
	if err := os.Symlink(build(t), link); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), link, "/a/b").Output(); err != nil || string(out) != "/a/b\n" {
		t.Errorf("%q, %v", out, err)
	}
}

func TestSignalEndsTheScript(t *testing.T) {
	binary := build(t)
	for name, tc := range map[string]struct {
		script, want string
		status       int
	}{
		"while a utility runs":       {`echo ready; sleep 600; echo not`, "ready\n", 143},
		"while another program runs": {`echo ready; ` + lookPath(t, "sleep") + ` 600; echo not`, "ready\n", 143},
		"with a trap":                {`trap 'echo bye; exit 3' TERM; echo ready; sleep 600; echo not`, "ready\nbye\n", 3},
		"with a trap that exits":     {`trap 'echo bye; exit 0' TERM; echo ready; sleep 600; echo not`, "ready\nbye\n", 0},
		"with a trap that goes on":   {`trap 'echo bye' TERM; echo ready; sleep 600; echo not`, "ready\nbye\n", 143},
		"with a trap taken back":     {`trap 'echo bye' TERM; trap - TERM; echo ready; sleep 600`, "ready\n", 143},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), binary, "sh", "-c", tc.script)
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			buf := make([]byte, 64)
			for signalled := false; ; {
				n, err := stdout.Read(buf)
				out.Write(buf[:n])
				if strings.Contains(out.String(), "ready\n") && !signalled {
					signalled = true
					if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
						t.Fatal(err)
					}
				}
				if err != nil {
					break
				}
			}
			_ = cmd.Wait()
			if got := cmd.ProcessState.ExitCode(); out.String() != tc.want || got != tc.status {
				t.Errorf("%q, status %d; want %q, %d", out.String(), got, tc.want, tc.status)
			}
		})
	}
}

func lookPath(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

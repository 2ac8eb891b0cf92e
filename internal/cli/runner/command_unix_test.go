//go:build unix

package runner

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestCommandWithInvalidUTF8(t *testing.T) {
	r := startTestRun(t, func(c *Command) {
		c.Args = append(c.Args, "\xff\xfe")
		c.Env = append(c.Env, "NAME=\xc3\x28")
	}, `printf '%s %s\n' "$0" "$NAME" >$DIR/got`)
	r.expectResult(Result{})
	if got, want := waitForFile(t, r.dir, "got"), "\xff\xfe \xc3\x28"; got != want {
		t.Errorf("it got %q, want %q", got, want)
	}
}

func TestCommandWithManyArguments(t *testing.T) {
	many := slices.Repeat([]string{strings.Repeat("x", 99)}, 10000)
	r := startTestRun(t, func(c *Command) { c.Args = append(append(c.Args, "sh"), many...) }, `echo $# >$DIR/got`)
	r.expectResult(Result{})
	if got := waitForFile(t, r.dir, "got"); got != "10000" {
		t.Errorf("it got %s arguments", got)
	}
}

func TestLookPath(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	plain := write("plain", "", 0o600)
	cases := map[string]struct {
		path string
		code int
	}{
		"a program":                              {"/bin/sh", 0},
		"one that PATH has":                      {"sh", 0},
		"a script":                               {write("script", "#!/bin/sh\n", 0o700), 0},
		"a script whose interpreter has options": {write("options", "#! /bin/sh -e\n", 0o700), 0},
		"a script without an interpreter":        {write("bare", "exit 7\n", 0o700), 0},
		"an empty file":                          {write("empty", "", 0o700), 0},
		"a file that may not be executed":        {plain, ExitCodeNotExecutable},
		"a directory":                            {dir, ExitCodeNotExecutable},
		"nothing":                                {filepath.Join(dir, "none"), ExitCodeNotFound},
		"a script without its interpreter":       {write("lost", "#!/no/such/thing\n", 0o700), ExitCodeNotFound},
		"a script with a bad interpreter":        {write("bad", "#!"+plain+"\n", 0o700), ExitCodeNotExecutable},
	}
	for what, c := range cases {
		t.Run(what, func(t *testing.T) {
			var failed *StartError
			_, err := LookPath(c.path)
			switch {
			case c.code == 0 && err != nil:
				t.Error(err)
			case c.code != 0 && (!errors.As(err, &failed) || failed.ExitCode != c.code):
				t.Errorf("%v, want exit code %d", err, c.code)
			}
		})
	}
}

func TestLookPathWithoutPATH(t *testing.T) {
	t.Setenv("PATH", "")
	if err := os.Unsetenv("PATH"); err != nil {
		t.Fatal(err)
	}
	if path, err := LookPath("sh"); err != nil {
		t.Errorf("%s, %v", path, err)
	}
}

func TestScriptWithoutInterpreter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(path, []byte("echo $0 $1 >$DIR/got\nexit 7\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	r := startTestRun(t, func(c *Command) { c.Path, c.Args = path, []string{"script", "it"} }, "")
	r.expectResult(Result{ExitCode: 7})
	if got, want := waitForFile(t, r.dir, "got"), path+" it"; got != want {
		t.Errorf("it got %q, want %q", got, want)
	}
}

func TestInheritedFiles(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	shared, err := os.CreateTemp(t.TempDir(), "shared")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = shared.Close() }()
	cmd := exec.Command(self, "call", "", "sh", "-c", "echo three >&3; echo nine >&9")
	cmd.ExtraFiles = []*os.File{shared, nil, nil, nil, nil, nil, shared}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if got, err := os.ReadFile(shared.Name()); err != nil || string(got) != "three\nnine\n" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestRunAfterExecutableRemoved(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	own := filepath.Join(dir, "own")
	content, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(own, content, 0o700); err != nil {
		t.Fatal(err)
	}
	// It removes its own file before anything else.
	cmd := exec.Command("sh", "-c", `exec "$0" call-after-removal "$0" sh -c 'exit 7'`, own)
	out, _ := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code != 7 {
		t.Errorf("exit code %d\n%s", code, out)
	}
	if _, err := os.Stat(own); err == nil {
		t.Error("the file is still there")
	}
}

func TestDuplicateEnvironmentVariables(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs /proc")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	pid, err := syscall.ForkExec(self, []string{self, "call", "", "sh", "-c", `tr '\0' '\n' </proc/$$/environ | grep -a ^V= | tr '\n' ' ' >$DIR/v; echo >>$DIR/v`},
		&syscall.ProcAttr{Env: append([]string{"V=1", "V=2", "DIR=" + dir}, os.Environ()...), Files: []uintptr{0, 1, 2}})
	if err != nil {
		t.Fatal(err)
	}
	if got := waitForFile(t, dir, "v"); got != "V=1 V=2" {
		t.Errorf("it has %q", got)
	}
	if _, err := unix.Wait4(pid, nil, 0, nil); err != nil {
		t.Error(err)
	}
}

// fakeClock is a clock that a test sets.
type fakeClock struct{ current monotonicTime }

func TestDeadlinePassesWhileSuspended(t *testing.T) {
	clock := &fakeClock{current: monotonicNow()}
	rings := make(chan struct{}, 1)
	var set monotonicTime
	k := &supervisor{now: func() monotonicTime { return clock.current }, setTimer: func(at monotonicTime) { set = at }, timerFired: rings, requests: make(chan request), callerPID: os.Getppid()}
	k.reports = make(chan report, reportBufferSize)
	child := exec.Command("sleep", "60")
	child.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = child.Process.Kill() }()
	k.tree = processTree{commandPID: child.Process.Pid, pgid: child.Process.Pid}
	k.command.Grace = time.Second
	k.deadline = clock.current.add(time.Minute)

	if !k.reconcile() || k.terminationReason != "" {
		t.Fatalf("it was stopped before its time: %q", k.terminationReason)
	}
	k.setTimer(k.deadline)
	if set != k.deadline {
		t.Errorf("the alarm is set to %d, want %d", set, k.deadline)
	}
	// The machine sleeps, and wakes up an hour later.
	clock.current = clock.current.add(time.Hour)
	k.reconcile()
	if k.terminationReason != reasonDeadlinePassed {
		t.Errorf("stopped because %q", k.terminationReason)
	}
	if k.killAt > clock.current {
		t.Error("it was given time that it doesn't have any more")
	}
	for k.reconcile() {
		<-time.After(time.Millisecond)
	}
	if !k.tree.commandExited {
		t.Error("the command has not ended")
	}
}

func TestDeadlineTimer(t *testing.T) {
	a, err := newDeadlineTimer()
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []monotonicTime{monotonicNow().add(20 * time.Millisecond), monotonicNow().add(-time.Hour)} {
		a.set(at)
		select {
		case <-a.fired:
		case <-time.After(testTimeout):
			t.Fatal("it doesn't ring")
		}
	}
	a.stop()
}

func TestDeadlineTrackerSubtractsSuspension(t *testing.T) {
	var asleep time.Duration
	d := newDeadlineTracker(func() time.Duration { return asleep })
	near := func(got monotonicTime, want time.Duration) {
		t.Helper()
		const tolerance = 10 * time.Second
		if left := got.remaining(); left > want || left < want-tolerance {
			t.Errorf("%s are left, want %s", left, want)
		}
	}
	start := time.Now()
	near(d.earliest([]time.Time{start.Add(time.Minute), start.Add(time.Hour)}), time.Minute)
	asleep += 20 * time.Second
	// Neither has changed: on the monotonic clock, which a test can't set, they are where they were.
	near(d.earliest([]time.Time{start.Add(time.Minute), start.Add(time.Hour)}), time.Minute)
	// The first was renewed, perhaps before the sleep.
	near(d.earliest([]time.Time{start.Add(2 * time.Minute), start.Add(time.Hour)}), 100*time.Second)
	// The next renewal was after it.
	near(d.earliest([]time.Time{start.Add(3 * time.Minute), start.Add(time.Hour)}), 3*time.Minute)
	// The second has not moved since the sleep.
	near(d.earliest([]time.Time{start.Add(3 * time.Hour), start.Add(2 * time.Hour)}), 2*time.Hour-20*time.Second)
}

func TestKillBackoff(t *testing.T) {
	clock := &fakeClock{current: monotonicNow()}
	child := exec.Command("sleep", "60")
	child.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = child.Wait() }()
	k := &supervisor{now: func() monotonicTime { return clock.current }, killAt: clock.current}
	k.tree = processTree{commandPID: child.Process.Pid, pgid: child.Process.Pid}
	var pauses []time.Duration
	for range 9 {
		k.killAll()
		pauses = append(pauses, k.killBackoff)
	}
	// From the second time on there are no new processes.
	for i, pause := range pauses[2:] {
		if want := min(2*pauses[i+1], maxPollInterval); pause != want {
			t.Errorf("pauses of %v", pauses)
		}
	}
	if pauses[0] != minPollInterval || pauses[len(pauses)-1] != maxPollInterval {
		t.Errorf("pauses of %v", pauses)
	}
}

func TestDeniedReportsAreLimited(t *testing.T) {
	k := &supervisor{reports: make(chan report, reportBufferSize)}
	for range 3 {
		for pid := range 1000 {
			k.reportDenied(process{pid: pid, name: "sh"}, unix.SIGKILL)
		}
	}
	close(k.reports)
	var got []bool
	for r := range k.reports {
		got = append(got, r.SignalDenied.MoreOmitted)
	}
	if want := append(make([]bool, maxDeniedReports), true); !slices.Equal(got, want) {
		t.Errorf("told %v, want %v", got, want)
	}
}

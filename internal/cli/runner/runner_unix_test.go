//go:build unix

package runner

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// testTimeout is how long a test waits for anything before it fails. It is far more than needed: the machine may be busy.
const testTimeout = 30 * time.Second

// TestMain also runs the internal processes, and a caller that can be stopped and killed.
func TestMain(m *testing.M) {
	switch {
	case len(os.Args) > 1 && os.Args[1] == "run-internal":
		if err := RunInternalProcess(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	case len(os.Args) == 2 && os.Args[1] == "first":
		if err := runAsInit(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	case len(os.Args) > 3 && os.Args[1] == "call":
		os.Exit(runCaller(os.Args[2], os.Args[3:]))
	case len(os.Args) > 3 && os.Args[1] == "call-after-removal":
		if err := os.Remove(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(runCaller("", os.Args[3:]))
	case len(os.Args) > 2 && os.Args[1] == "become-root":
		fmt.Fprintln(os.Stderr, becomeRoot(os.Args[2:]))
		os.Exit(1)
	default:
		goleak.VerifyTestMain(m)
	}
}

// runCaller runs a command with a deadline that long from now; empty: none. It handles signals as koncli does, and prints
// how the command has ended.
func runCaller(deadline string, args []string) int {
	PreserveIgnoredSignals()
	CatchSIGPIPE()
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, ForwardedSignals()...)
	command := shellCommand("")
	path, err := LookPath(args[0])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		var failed *StartError
		if !errors.As(err, &failed) {
			return -1
		}
		return failed.ExitCode
	}
	command.Path, command.Args, command.Env = path, args, Environment()
	c, err := Prepare([]string{"run-internal"})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := waitForTurn(c, os.Getenv("DIR")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	signal.Notify(signals, c.SignalsToForward()...)
	var deadlines []time.Time
	if d, err := time.ParseDuration(deadline); err == nil {
		deadlines = append(deadlines, time.Now().Add(d))
	}
	err = c.Start(command, deadlines, Callbacks{
		OnTermination: func(why string) { fmt.Fprintln(os.Stderr, "stopping:", why) },
		OnSignalDenied: func(d SignalDenial) {
			fmt.Fprintf(os.Stderr, "can't send %s to %s\n", d.Signal, d.Program)
		},
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if dir := os.Getenv("DIR"); dir != "" {
		if err := os.WriteFile(filepath.Join(dir, "called"), []byte("yes\n"), 0o600); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	for range len(signals) {
		c.ForwardEarlySignal(<-signals)
	}
	for {
		select {
		case s := <-signals:
			c.ForwardSignal(s)
		case result := <-c.Result():
			fmt.Fprintf(os.Stderr, "%+v\n", result)
			ReraiseInterrupt(result.Signal)
			return result.ExitCode
		}
	}
}

// waitForTurn waits until somebody writes to the pipe "turn", if there is one. The signal detector listens by then.
func waitForTurn(c *Runner, dir string) error {
	turn := filepath.Join(dir, "turn")
	if _, err := os.Stat(turn); dir == "" || err != nil {
		return nil //nolint:nilerr // There is nothing to wait for.
	}
	if w := c.currentDetector(); w != nil {
		w.reset()
	}
	if err := os.WriteFile(filepath.Join(dir, "waits"), []byte("yes\n"), 0o600); err != nil {
		return err
	}
	_, err := os.ReadFile(turn)
	return err
}

// prepareAndStart is Prepare and Start.
func prepareAndStart(c Command, l Callbacks) (*Runner, error) {
	k, err := Prepare([]string{"run-internal"})
	if err != nil {
		return nil, err
	}
	return k, k.Start(c, nil, l)
}

// shellCommand is a shell command line with a short grace period.
func shellCommand(line string) Command {
	return Command{Path: "/bin/sh", Args: []string{"sh", "-c", line}, Env: os.Environ(), Grace: 300 * time.Millisecond}
}

// testRun is a command under test.
type testRun struct {
	*testing.T
	*Runner
	dir                string
	terminationReasons chan string
}

// startTestRun starts a command line. It finds a directory of its own in $DIR.
func startTestRun(t *testing.T, change func(*Command), line string) *testRun {
	t.Helper()
	r := &testRun{T: t, dir: t.TempDir(), terminationReasons: make(chan string, 1)}
	c := shellCommand(line)
	c.Env = append(c.Env, "DIR="+r.dir)
	if change != nil {
		change(&c)
	}
	var err error
	l := Callbacks{OnTermination: func(why string) { r.terminationReasons <- why }, OnSignalDenied: func(SignalDenial) {}}
	if r.Runner, err = prepareAndStart(c, l); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *testRun) expectResult(want Result) {
	r.Helper()
	select {
	case got := <-r.Result():
		if got != want {
			r.Errorf("ended as %+v, want %+v", got, want)
		}
	case <-time.After(testTimeout):
		r.Fatal("the command has not ended")
	}
}

// waitForFile waits until the command has written that file, and returns what is in it.
func waitForFile(t *testing.T, dir, name string) string {
	t.Helper()
	for end := time.Now().Add(testTimeout); time.Now().Before(end); <-time.After(5 * time.Millisecond) {
		if b, err := os.ReadFile(filepath.Join(dir, name)); err == nil && strings.HasSuffix(string(b), "\n") {
			return strings.TrimSpace(string(b))
		}
	}
	t.Fatalf("nobody has written %s", name)
	return ""
}

// waitForPID is waitForFile for a process ID.
func waitForPID(t *testing.T, dir, name string) int {
	t.Helper()
	n, err := strconv.Atoi(waitForFile(t, dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// waitUntilGone waits until a process is gone.
func waitUntilGone(t *testing.T, pid int) {
	t.Helper()
	for end := time.Now().Add(testTimeout); time.Now().Before(end); <-time.After(5 * time.Millisecond) {
		if isGone(pid) {
			return
		}
	}
	t.Fatalf("process %d is still there", pid)
}

// isGone reports whether a process has ended. A zombie has.
func isGone(pid int) bool {
	if errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
		return true
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return runtime.GOOS == "linux" && (err != nil || strings.Contains(string(stat), ") Z "))
}

// startStubbornChild are the lines that start a process which ignores SIGTERM, and write its PID to $DIR/stubborn.
const startStubbornChild = `(trap "" TERM; echo ready >$DIR/deaf; while :; do sleep 0.05; done) & echo $! >$DIR/stubborn; `

func TestResult(t *testing.T) {
	for line, want := range map[string]Result{
		"true":            {},
		"exit 7":          {ExitCode: 7},
		"kill -KILL $$":   {ExitCode: 128 + 9, Signal: 9},
		"kill -TERM $$":   {ExitCode: 128 + 15, Signal: 15},
		"sleep 0.1; :":    {},
		"exec sleep 0.05": {},
	} {
		startTestRun(t, nil, line).expectResult(want)
	}
}

func TestStartError(t *testing.T) {
	file := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(file, []byte("just text\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int{"no-such-command": ExitCodeNotFound, file: ExitCodeNotExecutable} {
		var failed *StartError
		if _, err := LookPath(name); !errors.As(err, &failed) || failed.ExitCode != want {
			t.Errorf("finding %s: %v, want exit code %d", name, err, want)
		}
		c := shellCommand("")
		c.Path = filepath.Join("/", name)
		if _, err := prepareAndStart(c, Callbacks{}); !errors.As(err, &failed) || failed.ExitCode != want {
			t.Errorf("starting %s: %v, want exit code %d", name, err, want)
		}
	}
}

func TestForwardSignalToProcessGroup(t *testing.T) {
	r := startTestRun(t, nil, `(trap 'echo usr1 >$DIR/child; exit' USR1; echo ready >$DIR/ready; while :; do sleep 0.02; done) &
		trap 'echo usr1 >$DIR/leader; wait; exit 3' USR1; wait; wait`)
	waitForFile(t, r.dir, "ready")
	r.ForwardSignal(unix.SIGUSR1)
	waitForFile(t, r.dir, "child")
	waitForFile(t, r.dir, "leader")
	r.expectResult(Result{ExitCode: 3})
}

func TestTerminateKillsAfterGracePeriod(t *testing.T) {
	r := startTestRun(t, nil, startStubbornChild+`trap "" TERM; while :; do sleep 0.05; done`)
	stubborn := waitForPID(t, r.dir, "stubborn")
	waitForFile(t, r.dir, "deaf")
	r.Terminate("lost")
	if why := <-r.terminationReasons; why != "lost" {
		t.Errorf("stopped because %q", why)
	}
	r.expectResult(Result{ExitCode: 128 + 9, Signal: 9, TerminationReason: "lost", Killed: true})
	waitUntilGone(t, stubborn)
}

func TestTerminateWithinGracePeriod(t *testing.T) {
	r := startTestRun(t, func(c *Command) { c.Grace = testTimeout }, `trap 'echo cleaned >$DIR/cleaned; exit 9' TERM; echo ready >$DIR/ready; while :; do sleep 0.02; done`)
	waitForFile(t, r.dir, "ready")
	r.Terminate("lost")
	r.expectResult(Result{ExitCode: 9, TerminationReason: "lost"})
	waitForFile(t, r.dir, "cleaned")
}

func TestDeadlineContinuesStoppedCommand(t *testing.T) {
	cmd, dir := startCaller(t, "3s", `trap 'exit 9' TERM; echo $$ >$DIR/pid; while :; do sleep 0.02; done`)
	if err := unix.Kill(waitForPID(t, dir, "pid"), unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	expectExitCode(t, cmd, 9)
}

func TestLeftoverProcessesAreKilled(t *testing.T) {
	r := startTestRun(t, nil, startStubbornChild+`while ! [ -e $DIR/deaf ]; do sleep 0.02; done; exit 5`)
	r.expectResult(Result{ExitCode: 5, LeftProcesses: true, Killed: true})
	if p := waitForPID(t, r.dir, "stubborn"); !isGone(p) {
		t.Errorf("process %d is still there when the end was reported", p)
	}
}

func TestDaemonizedProcessIsKilled(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux lets a process adopt its descendants")
	}
	if _, err := exec.LookPath("setsid"); err != nil {
		t.Skip("needs setsid")
	}
	r := startTestRun(t, nil, `setsid sh -c 'trap "" TERM; echo $$ >$DIR/daemon; while :; do sleep 0.05; done' & while ! [ -s $DIR/daemon ]; do sleep 0.02; done; exit 4`)
	r.expectResult(Result{ExitCode: 4, LeftProcesses: true, Killed: true})
	if p := waitForPID(t, r.dir, "daemon"); !isGone(p) {
		t.Errorf("process %d is still there when the end was reported", p)
	}
}

func TestSetDeadlines(t *testing.T) {
	r := startTestRun(t, nil, "sleep 60")
	r.SetDeadlines([]time.Time{time.Now().Add(time.Hour)})
	r.SetDeadlines([]time.Time{time.Now().Add(50 * time.Millisecond)})
	r.expectResult(Result{ExitCode: 128 + 15, Signal: 15, TerminationReason: reasonDeadlinePassed})

	r = startTestRun(t, nil, "sleep 0.5; exit 3")
	r.SetDeadlines([]time.Time{time.Now().Add(100 * time.Millisecond)})
	r.SetDeadlines([]time.Time{time.Now().Add(time.Hour)})
	r.expectResult(Result{ExitCode: 3})
}

func TestStartAfterDeadline(t *testing.T) {
	dir := t.TempDir()
	c := shellCommand("echo yes >$DIR/started")
	c.Env = append(c.Env, "DIR="+dir)
	k, err := Prepare([]string{"run-internal"})
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Start(c, []time.Time{time.Now().Add(time.Hour), time.Now()}, Callbacks{}); !errors.Is(err, ErrDeadlinePassed) {
		t.Errorf("it is said that %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "started")); err == nil {
		t.Error("it was started")
	}
}

func TestLongExpiredDeadlineLeavesNoGracePeriod(t *testing.T) {
	r := startTestRun(t, func(c *Command) { c.Grace = time.Minute }, `trap "" TERM; echo ready >$DIR/ready; while :; do sleep 0.05; done`)
	waitForFile(t, r.dir, "ready")
	r.SetDeadlines([]time.Time{time.Now().Add(-2 * time.Minute)})
	r.expectResult(Result{ExitCode: 128 + 9, Signal: 9, TerminationReason: reasonDeadlinePassed, Killed: true})
}

func TestOnLost(t *testing.T) {
	r := startTestRun(t, func(c *Command) {
		c.OnLost = `echo "$KONDUCTOR_LOST_REASON" >$DIR/lost`
		c.Grace = testTimeout
	}, "sleep 60")
	r.Terminate("somebody took it")
	r.expectResult(Result{ExitCode: 128 + 15, Signal: 15, TerminationReason: "somebody took it"})
	if got := waitForFile(t, r.dir, "lost"); got != "somebody took it" {
		t.Errorf("it was told %q", got)
	}

	r = startTestRun(t, func(c *Command) { c.OnLost = "echo $$ >$DIR/lost; exec sleep 60" }, "sleep 60")
	r.Terminate("lost")
	r.expectResult(Result{ExitCode: 128 + 15, Signal: 15, TerminationReason: "lost", Killed: true})
	waitUntilGone(t, waitForPID(t, r.dir, "lost"))
}

// startCaller starts this program as the caller of a command line.
func startCaller(t *testing.T, deadline, line string) (*exec.Cmd, string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cmd := exec.Command(self, "call", deadline, "sh", "-c", line)
	cmd.Env = append(os.Environ(), "DIR="+dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	waitForFile(t, dir, "called")
	return cmd, dir
}

// expectExitCode waits until a program has ended, and checks its exit code.
func expectExitCode(t *testing.T, cmd *exec.Cmd, code int) {
	t.Helper()
	timer := time.AfterFunc(testTimeout, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	_ = cmd.Wait()
	if got := cmd.ProcessState.ExitCode(); got != code {
		t.Errorf("exit code %d, want %d", got, code)
	}
}

func TestCallerKilled(t *testing.T) {
	cmd, dir := startCaller(t, "", startStubbornChild+`echo $$ >$DIR/leader; while :; do sleep 0.05; done`)
	stubborn, leader := waitForPID(t, dir, "stubborn"), waitForPID(t, dir, "leader")
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	waitUntilGone(t, leader)
	waitUntilGone(t, stubborn)
}

func TestDeadlineWhileCallerStopped(t *testing.T) {
	cmd, dir := startCaller(t, "3s", startStubbornChild+`echo $$ >$DIR/leader; while :; do sleep 0.05; done`)
	if err := cmd.Process.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	stubborn, leader := waitForPID(t, dir, "stubborn"), waitForPID(t, dir, "leader")
	waitUntilGone(t, leader)
	waitUntilGone(t, stubborn)
	if err := cmd.Process.Signal(unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	expectExitCode(t, cmd, 128+int(unix.SIGTERM))
}

func TestSupervisorKilled(t *testing.T) {
	r := startTestRun(t, nil, startStubbornChild+`echo $$ >$DIR/leader; while :; do sleep 0.05; done`)
	stubborn, leader := waitForPID(t, r.dir, "stubborn"), waitForPID(t, r.dir, "leader")
	if err := unix.Kill(r.supervisor.pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	select {
	case result := <-r.Result():
		if result.TerminationReason == "" {
			t.Errorf("ended as %+v", result)
		}
	case <-time.After(testTimeout):
		t.Fatal("the command has not ended")
	}
	waitUntilGone(t, leader)
	waitUntilGone(t, stubborn)
}

func TestCommandFilesAndSignalMask(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs /proc")
	}
	r := startTestRun(t, nil, `ls /proc/$$/fd >$DIR/fds; grep SigIgn /proc/$$/status | awk '{print $2}' >$DIR/ignored; exit 0`)
	r.expectResult(Result{})
	for _, fd := range strings.Fields(waitForFile(t, r.dir, "fds")) {
		if fd == "3" || fd == "4" {
			t.Errorf("file descriptor %s is open: its end would not be noticed", fd)
		}
	}
	ignored, err := strconv.ParseUint(waitForFile(t, r.dir, "ignored"), 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range ForwardedSignals() {
		if sig := s.(unix.Signal); ignored&(1<<(sig-1)) != 0 {
			t.Errorf("signal %v is ignored", sig)
		}
	}
}

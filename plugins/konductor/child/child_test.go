//go:build unix

package child

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// patience is how long a test waits for anything before it fails. Far more than needed: the machine may be busy.
const patience = 30 * time.Second

// TestMain is also the keeper, and a caller that can be stopped and killed.
func TestMain(m *testing.M) {
	switch {
	case len(os.Args) == 2 && os.Args[1] == "keep":
		if err := Keep(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	case len(os.Args) == 2 && os.Args[1] == "first":
		if err := beFirst(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	case len(os.Args) == 4 && os.Args[1] == "call":
		os.Exit(call(os.Args[2], os.Args[3]))
	default:
		goleak.VerifyTestMain(m)
	}
}

// call runs a command line with a deadline as long from now as it says; empty: none.
func call(deadline, line string) int {
	c, err := Start(shell(line), func(string) {})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if d, err := time.ParseDuration(deadline); err == nil {
		c.Until(time.Now().Add(d))
	}
	if err := os.WriteFile(filepath.Join(os.Getenv("DIR"), "called"), []byte("yes\n"), 0o600); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	result := <-c.Result()
	_ = json.NewEncoder(os.Stdout).Encode(result)
	return 0
}

// shell is a command line for the shell, with a short grace period.
func shell(line string) Command {
	return Command{Path: "/bin/sh", Args: []string{"sh", "-c", line}, Env: os.Environ(), Grace: 300 * time.Millisecond, Keeper: []string{"keep"}}
}

// running is a command under test.
type running struct {
	*testing.T
	*Child
	dir     string
	stopped chan string
}

// run starts a command line, which finds a directory of its own in $DIR.
func run(t *testing.T, change func(*Command), line string) *running {
	t.Helper()
	r := &running{T: t, dir: t.TempDir(), stopped: make(chan string, 1)}
	c := shell(line)
	c.Env = append(c.Env, "DIR="+r.dir)
	if change != nil {
		change(&c)
	}
	var err error
	if r.Child, err = Start(c, func(why string) { r.stopped <- why }); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *running) ends(want Result) {
	r.Helper()
	select {
	case got := <-r.Result():
		if got != want {
			r.Errorf("ended as %+v, want %+v", got, want)
		}
	case <-time.After(patience):
		r.Fatal("the command has not ended")
	}
}

// file waits until the command has written that file, and returns what is in it.
func file(t *testing.T, dir, name string) string {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); <-time.After(5 * time.Millisecond) {
		if b, err := os.ReadFile(filepath.Join(dir, name)); err == nil && strings.HasSuffix(string(b), "\n") {
			return strings.TrimSpace(string(b))
		}
	}
	t.Fatalf("nobody has written %s", name)
	return ""
}

// pid is file for a process ID.
func pid(t *testing.T, dir, name string) int {
	t.Helper()
	n, err := strconv.Atoi(file(t, dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// gone waits until a process is gone.
func gone(t *testing.T, pid int) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); <-time.After(5 * time.Millisecond) {
		if isGone(pid) {
			return
		}
	}
	t.Fatalf("process %d is still there", pid)
}

// isGone reports whether a process has ended. One that waits to be reaped by whoever adopted it has.
func isGone(pid int) bool {
	if errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
		return true
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return runtime.GOOS == "linux" && (err != nil || strings.Contains(string(stat), ") Z "))
}

// forks are the lines that start a process which ignores SIGTERM, and write its number to $DIR/stubborn.
const forks = `(trap "" TERM; echo ready >$DIR/deaf; while :; do sleep 0.05; done) & echo $! >$DIR/stubborn; `

func TestACommandEndsWithItsExitCode(t *testing.T) {
	for line, want := range map[string]Result{
		"true":            {},
		"exit 7":          {Code: 7},
		"kill -KILL $$":   {Code: 128 + 9},
		"kill -TERM $$":   {Code: 128 + 15},
		"sleep 0.1; :":    {},
		"exec sleep 0.05": {},
	} {
		run(t, nil, line).ends(want)
	}
}

func TestACommandThatCantBeRunIsSaidSo(t *testing.T) {
	file := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(file, []byte("just text\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int{"no-such-command": CodeNotFound, file: CodeNotExecutable} {
		var failed *StartError
		if _, err := Find(name); !errors.As(err, &failed) || failed.Code != want {
			t.Errorf("finding %s: %v, want exit code %d", name, err, want)
		}
		c := shell("")
		c.Path = filepath.Join("/", name)
		if _, err := Start(c, func(string) {}); !errors.As(err, &failed) || failed.Code != want {
			t.Errorf("starting %s: %v, want exit code %d", name, err, want)
		}
	}
}

func TestSignalsReachTheWholeGroup(t *testing.T) {
	r := run(t, nil, `(trap 'echo usr1 >$DIR/child; exit' USR1; echo ready >$DIR/ready; while :; do sleep 0.02; done) &
		trap 'echo usr1 >$DIR/leader; wait; exit 3' USR1; wait; wait`)
	file(t, r.dir, "ready")
	r.Signal(unix.SIGUSR1)
	file(t, r.dir, "child")
	file(t, r.dir, "leader")
	r.ends(Result{Code: 3})
}

func TestStoppingEndsThoseWhoDontListen(t *testing.T) {
	r := run(t, nil, forks+`trap "" TERM; while :; do sleep 0.05; done`)
	stubborn := pid(t, r.dir, "stubborn")
	file(t, r.dir, "deaf")
	r.Stop("lost")
	if why := <-r.stopped; why != "lost" {
		t.Errorf("stopped because %q", why)
	}
	r.ends(Result{Code: 128 + 9, Stopped: "lost", Killed: true})
	gone(t, stubborn)
}

func TestStoppingLetsThoseWhoListenCleanUp(t *testing.T) {
	r := run(t, func(c *Command) { c.Grace = patience }, `trap 'echo cleaned >$DIR/cleaned; exit 9' TERM; echo ready >$DIR/ready; while :; do sleep 0.02; done`)
	file(t, r.dir, "ready")
	r.Stop("lost")
	r.ends(Result{Code: 9, Stopped: "lost"})
	file(t, r.dir, "cleaned")
}

func TestAStoppedCommandIsWokenUpToEnd(t *testing.T) {
	r := run(t, func(c *Command) { c.Grace = patience }, `trap 'exit 9' TERM; echo $$ >$DIR/pid; while :; do sleep 0.02; done`)
	if err := unix.Kill(pid(t, r.dir, "pid"), unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	r.Stop("lost")
	r.ends(Result{Code: 9, Stopped: "lost"})
}

func TestWhatACommandLeavesBehindEndsWithIt(t *testing.T) {
	r := run(t, nil, forks+`while ! [ -e $DIR/deaf ]; do sleep 0.02; done; exit 5`)
	r.ends(Result{Code: 5, Left: true, Killed: true})
	if p := pid(t, r.dir, "stubborn"); !isGone(p) {
		t.Errorf("process %d is still there when the end was reported", p)
	}
}

func TestWhatLeavesTheProcessGroupEndsToo(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux lets a process adopt its descendants")
	}
	if _, err := exec.LookPath("setsid"); err != nil {
		t.Skip("needs setsid")
	}
	r := run(t, nil, `setsid sh -c 'trap "" TERM; echo $$ >$DIR/daemon; while :; do sleep 0.05; done' & while ! [ -s $DIR/daemon ]; do sleep 0.02; done; exit 4`)
	r.ends(Result{Code: 4, Left: true, Killed: true})
	if p := pid(t, r.dir, "daemon"); !isGone(p) {
		t.Errorf("process %d is still there when the end was reported", p)
	}
}

func TestADeadlineEndsTheCommandUnlessItMoves(t *testing.T) {
	r := run(t, nil, "sleep 60")
	r.Until(time.Now().Add(time.Hour))
	r.Until(time.Now().Add(50 * time.Millisecond))
	r.ends(Result{Code: 128 + 15, Stopped: whyDeadline})

	r = run(t, nil, "sleep 0.5; exit 3")
	r.Until(time.Now().Add(100 * time.Millisecond))
	r.Until(time.Now().Add(time.Hour))
	r.ends(Result{Code: 3})
}

func TestADeadlineThatPassedLongAgoLeavesNoGrace(t *testing.T) {
	r := run(t, func(c *Command) { c.Grace = time.Minute }, `trap "" TERM; echo ready >$DIR/ready; while :; do sleep 0.05; done`)
	file(t, r.dir, "ready")
	r.Until(time.Now().Add(-2 * time.Minute))
	r.ends(Result{Code: 128 + 9, Stopped: whyDeadline, Killed: true})
}

func TestALossRunsWhatIsToBeRunThen(t *testing.T) {
	r := run(t, func(c *Command) {
		c.OnLost = `echo "$KONDUCTOR_LOST_REASON" >$DIR/lost`
		c.Grace = patience
	}, "sleep 60")
	r.Stop("somebody took it")
	r.ends(Result{Code: 128 + 15, Stopped: "somebody took it"})
	if got := file(t, r.dir, "lost"); got != "somebody took it" {
		t.Errorf("it was told %q", got)
	}

	r = run(t, func(c *Command) { c.OnLost = "echo $$ >$DIR/lost; exec sleep 60" }, "sleep 60")
	r.Stop("lost")
	r.ends(Result{Code: 128 + 15, Stopped: "lost", Killed: true})
	gone(t, pid(t, r.dir, "lost"))
}

// caller starts this program as one that runs a command line.
func caller(t *testing.T, deadline, line string) (*exec.Cmd, string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cmd := exec.Command(self, "call", deadline, line)
	cmd.Env = append(os.Environ(), "DIR="+dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	file(t, dir, "called")
	return cmd, dir
}

func TestACommandDoesNotOutliveItsCaller(t *testing.T) {
	cmd, dir := caller(t, "", forks+`echo $$ >$DIR/leader; while :; do sleep 0.05; done`)
	stubborn, leader := pid(t, dir, "stubborn"), pid(t, dir, "leader")
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	gone(t, leader)
	gone(t, stubborn)
}

func TestACommandDoesNotOutliveItsDeadlineWhenItsCallerIsStopped(t *testing.T) {
	cmd, dir := caller(t, "500ms", forks+`echo $$ >$DIR/leader; while :; do sleep 0.05; done`)
	if err := cmd.Process.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	stubborn, leader := pid(t, dir, "stubborn"), pid(t, dir, "leader")
	gone(t, leader)
	gone(t, stubborn)
	if err := cmd.Process.Signal(unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the caller, awake again: %v", err)
	}
}

func TestACommandDoesNotOutliveItsKeeper(t *testing.T) {
	r := run(t, nil, forks+`echo $$ >$DIR/leader; while :; do sleep 0.05; done`)
	stubborn, leader := pid(t, r.dir, "stubborn"), pid(t, r.dir, "leader")
	if err := r.keeper.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	select {
	case result := <-r.Result():
		if result.Stopped == "" {
			t.Errorf("ended as %+v", result)
		}
	case <-time.After(patience):
		t.Fatal("the command has not ended")
	}
	gone(t, leader)
	gone(t, stubborn)
}

func TestTheCommandInheritsNothingButItsStreams(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs /proc")
	}
	r := run(t, nil, `ls /proc/$$/fd >$DIR/fds; grep SigIgn /proc/$$/status | awk '{print $2}' >$DIR/ignored; exit 0`)
	r.ends(Result{})
	for _, fd := range strings.Fields(file(t, r.dir, "fds")) {
		if fd == "3" || fd == "4" {
			t.Errorf("file descriptor %s is open: its end would not be noticed", fd)
		}
	}
	ignored, err := strconv.ParseUint(file(t, r.dir, "ignored"), 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range Forwarded() {
		if sig := s.(unix.Signal); ignored&(1<<(sig-1)) != 0 {
			t.Errorf("signal %v is ignored", sig)
		}
	}
}

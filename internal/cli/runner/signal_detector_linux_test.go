package runner

import (
	"bytes"
	"encoding/binary"
	"encoding/gob"
	"errors"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// startOnTerminal starts a program as the session leader of a new terminal, with $DIR set.
func startOnTerminal(t *testing.T, dir string, args ...string) *exec.Cmd {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("needs pseudo-terminals:", err)
	}
	n, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	if err := errors.Join(err, unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0)); err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "DIR="+dir)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := errors.Join(cmd.Start(), tty.Close()); err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(io.Discard, screen) // It ends when no process has the terminal open.
	}()
	t.Cleanup(func() {
		_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
		_ = cmd.Wait()
		<-read
		_ = screen.Close()
	})
	return cmd
}

// startWaitingCaller starts this program on a terminal as the caller of a command line, which it starts when turn is
// called.
func startWaitingCaller(t *testing.T, line string) (cmd *exec.Cmd, dir string, turn func()) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	pipe := filepath.Join(dir, "turn")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd = startOnTerminal(t, dir, self, "call", "", "sh", "-c", line)
	waitForFile(t, dir, "waits")
	return cmd, dir, func() {
		t.Helper()
		if err := os.WriteFile(pipe, nil, 0); err != nil {
			t.Fatal(err)
		}
	}
}

func sendSignal(t *testing.T, pid int, sig unix.Signal) {
	t.Helper()
	if err := unix.Kill(pid, sig); err != nil {
		t.Fatal(err)
	}
}

func TestGroupSignalBeforeStartIsForgotten(t *testing.T) {
	cmd, dir, turn := startWaitingCaller(t, `trap 'echo cont >$DIR/got; exit 7' CONT; echo ready >$DIR/ready; while :; do sleep 0.02; done`)
	sendSignal(t, -cmd.Process.Pid, unix.SIGCONT)
	turn()
	waitForFile(t, dir, "ready")
	waitForFile(t, dir, "called")
	sendSignal(t, cmd.Process.Pid, unix.SIGCONT)
	waitForFile(t, dir, "got")
	expectExitCode(t, cmd, 7)
}

func TestTerminationSignalBeforeStart(t *testing.T) {
	cmd, _, turn := startWaitingCaller(t, `while :; do sleep 0.02; done`)
	sendSignal(t, -cmd.Process.Pid, unix.SIGTERM)
	turn()
	expectExitCode(t, cmd, 128+int(unix.SIGTERM))
}

// newFakeDetector returns a signal detector that answers the next query with the signals given to receive.
func newFakeDetector(t *testing.T) (w *groupSignalDetector, receive func(signals ...unix.Signal)) {
	t.Helper()
	questions, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	from, answers, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	received, answered := make(chan unix.Signal, 8), make(chan error, 1)
	go func() {
		answered <- func() error {
			for {
				if _, err := questions.Read(make([]byte, 1)); err != nil {
					return nil //nolint:nilerr // The caller has closed the pipe.
				}
				var reports []signalReport
				for range len(received) {
					reports = append(reports, newSignalReport(<-received))
				}
				if err := binary.Write(answers, binary.NativeEndian, append(reports, signalReport{})); err != nil {
					return err
				}
			}
		}()
	}()
	t.Cleanup(func() {
		if err := errors.Join(to.Close(), <-answered, questions.Close(), from.Close(), answers.Close()); err != nil {
			t.Error(err)
		}
	})
	return &groupSignalDetector{reexecProcess: &reexecProcess{toProcess: to, fromProcess: from}, seen: seenSignals{}}, func(signals ...unix.Signal) {
		for _, sig := range signals {
			received <- sig
		}
	}
}

func TestConsumeGroupSignal(t *testing.T) {
	w, receive := newFakeDetector(t)
	receive(unix.SIGINT, unix.SIGINT)
	for i, want := range []bool{true, true, false} {
		if got := w.consumeGroupSignal(unix.SIGINT) != 0; got != want {
			t.Errorf("SIGINT number %d was seen: %t, want %t", i+1, got, want)
		}
	}
	// A signal that has expired.
	w.seen[unix.SIGINT] = []monotonicTime{monotonicNow().add(-2 * seenSignalTTL)}
	if w.consumeGroupSignal(unix.SIGINT) != 0 {
		t.Error("it was seen too long ago")
	}
	receive(unix.SIGTERM)
	w.reset()
	if w.consumeGroupSignal(unix.SIGTERM) != 0 {
		t.Error("it was to be forgotten")
	}
	// A signal that is late.
	time.AfterFunc(signalPropagationTimeout/4, func() { receive(unix.SIGHUP) })
	if w.consumeGroupSignal(unix.SIGHUP) == 0 {
		t.Error("a late signal was not seen")
	}
}

func TestGroupSignalDetector(t *testing.T) {
	w, err := startDetector([]string{"run-internal"})
	if err != nil {
		t.Fatal(err)
	}
	defer w.stop()
	w.reset() // it listens by then
	for i, sig := range []unix.Signal{unix.SIGINT, unix.SIGTSTP, unix.SIGCONT, unix.SIGHUP, unix.SIGUSR1, unix.SIGINT} {
		if signal.Ignored(sig) {
			continue // nohup, or a shell that has started the tests in the background: such a signal isn't forwarded
		}
		if err := unix.Kill(w.pid, sig); err != nil {
			t.Fatal(err)
		}
		if w.consumeGroupSignal(sig) == 0 {
			t.Errorf("signal %d, %s, was not seen", i+1, unix.SignalName(sig))
		}
		if w.consumeGroupSignal(sig) != 0 {
			t.Errorf("signal %d, %s, was seen twice", i+1, unix.SignalName(sig))
		}
	}
}

func TestForwardEarlySignal(t *testing.T) {
	w, receive := newFakeDetector(t)
	var told bytes.Buffer
	k := &Runner{detector: w, requestEncoder: gob.NewEncoder(&told), startTime: monotonicNow()}
	receive(unix.SIGTERM, unix.SIGTTIN)
	k.ForwardEarlySignal(unix.SIGTERM)
	k.startTime = monotonicNow().add(-time.Second)
	receive(unix.SIGINT)
	k.ForwardEarlySignal(unix.SIGINT) // long after the start, of which this process has just heard
	k.ForwardEarlySignal(unix.SIGTTIN)
	k.ForwardSignal(unix.SIGTERM) // another one, to this process alone
	from := gob.NewDecoder(&told)
	for _, want := range []forwardedSignal{{int(unix.SIGTERM), false}, {int(unix.SIGINT), true}, {int(unix.SIGTTIN), true}, {int(unix.SIGTERM), false}} {
		var got request
		if err := from.Decode(&got); err != nil || got.Signal == nil || *got.Signal != want {
			t.Errorf("%+v, %v, want %+v", got.Signal, err, want)
		}
	}
}

func TestExitCodeWithSIGINTIgnored(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("env", "--default-signal=INT", "true").CombinedOutput(); err != nil {
		t.Skipf("needs env --default-signal: %s", out)
	}
	dir := t.TempDir()
	startOnTerminal(t, dir, "sh", "-c", `trap "" INT; "$0" call "" env --default-signal=INT sh -c 'kill -INT $$'; echo $? >$DIR/code`, self)
	if got := waitForPID(t, dir, "code"); got != 128+int(unix.SIGINT) {
		t.Errorf("exit code %d", got)
	}
}

// TestDeadlineOfCommandThatStopsItsCaller has a background command read from its terminal first.
func TestDeadlineOfCommandThatStopsItsCaller(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	startOnTerminal(t, dir, "bash", "-mc", `"$0" call 3s sh -c 'echo $$ >$DIR/pid; exec cat' & sleep 60`, self)
	waitUntilGone(t, waitForPID(t, dir, "pid"))
}

func TestInternalProcessNames(t *testing.T) {
	cmd, _, turn := startWaitingCaller(t, "exit 7")
	// The supervisor may not have set its name yet.
	want := []string{detectorProcessName, supervisorProcessName}
	var got []string
	for end := time.Now().Add(testTimeout); !slices.Equal(got, want) && time.Now().Before(end); <-time.After(5 * time.Millisecond) {
		got = nil
		for _, p := range listProcesses() {
			if p.ppid == cmd.Process.Pid {
				got = append(got, p.name)
			}
		}
		slices.Sort(got)
	}
	if !slices.Equal(got, want) {
		t.Errorf("it has started %v", got)
	}
	turn()
	expectExitCode(t, cmd, 7)
}

// TestSignalSentToAllProcesses is about what systemd does to a service by default: the command gets the signal without this
// program.
func TestSignalSentToAllProcesses(t *testing.T) {
	const command = `trap 'echo term >>$DIR/got' TERM; trap 'ended=yes' USR1; echo $$ >$DIR/pid; until [ "$ended" ]; do sleep 0.02; done; echo end >>$DIR/got; exit 7`
	for what, c := range map[string]struct {
		all  bool
		want string
	}{
		"to everybody":        {true, "end"},
		"to the caller alone": {false, "term\nend"},
	} {
		t.Run(what, func(t *testing.T) {
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			cmd := exec.Command(self, "call", "", "sh", "-c", command)
			cmd.Env = append(os.Environ(), "DIR="+dir)
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			waitForPID(t, dir, "pid")
			waitForFile(t, dir, "called")
			receivers := []int{cmd.Process.Pid}
			if c.all {
				for _, p := range listProcesses() {
					if p.ppid == cmd.Process.Pid {
						receivers = append(receivers, p.pid)
					}
				}
			}
			for _, pid := range receivers {
				sendSignal(t, pid, unix.SIGTERM)
			}
			if !c.all {
				waitForFile(t, dir, "got")
			}
			// It comes after anything else that might be forwarded.
			sendSignal(t, cmd.Process.Pid, unix.SIGUSR1)
			expectExitCode(t, cmd, 7)
			if got := waitForFile(t, dir, "got"); got != c.want {
				t.Errorf("it got %q, want %q", got, c.want)
			}
		})
	}
}

package runner

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// runAsInit is the first process of a container in which processes are left behind.
func runAsInit() error {
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	defer StartZombieReaper(func(int) bool { return false })()
	// As kubectl exec does: a session of its own, whose processes nothing here waits for.
	_, err := syscall.ForkExec("/bin/sh", []string{"sh", "-c", "(sleep 0.1; exit 3) & (sleep 0.2) & exit 0"},
		&syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}, Sys: &syscall.SysProcAttr{Setsid: true}})
	if err != nil {
		return err
	}
	for end := time.Now().Add(testTimeout); time.Now().Before(end); <-time.After(5 * time.Millisecond) {
		if len(listProcesses()) == 1 {
			return nil
		}
	}
	return fmt.Errorf("somebody is left: %+v", listProcesses())
}

// becomeRoot becomes root, as its setuid bit allows, and executes another program.
func becomeRoot(args []string) error {
	if err := syscall.Setresuid(0, 0, 0); err != nil {
		return err
	}
	path, err := LookPath(args[0])
	if err != nil {
		return err
	}
	return syscall.Exec(path, args, os.Environ())
}

func TestZombieReaper(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can make a container's namespaces")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	first := exec.Command(self, "first")
	first.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS, Unshareflags: unix.CLONE_NEWNS}
	if out, err := first.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestSignalDeniedBySetuidCommand runs a command that becomes root, as an ordinary user.
func TestSignalDeniedBySetuidCommand(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can allow it")
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for path := dir; path != os.TempDir() && path != "/"; path = filepath.Dir(path) {
		if err := os.Chmod(path, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	caller, becomes := filepath.Join(dir, "caller"), filepath.Join(dir, "becomes")
	for path, mode := range map[string]os.FileMode{caller: 0o755, becomes: 0o755 | os.ModeSetuid} {
		if err := os.WriteFile(path, self, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	const nobody = 65534
	cmd := exec.Command(caller, "call", "3s", becomes, "become-root", "sh", "-c", `trap "" TERM; echo $$ >$DIR/pid; read x <$DIR/end; exit 7`)
	said, err := os.Create(filepath.Join(dir, "said"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = said.Close() }()
	cmd.Stderr = said
	cmd.Env = append(os.Environ(), "DIR="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	end := filepath.Join(dir, "end")
	if err := unix.Mkfifo(end, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	command := waitForPID(t, dir, "pid")
	defer func() { _ = unix.Kill(command, unix.SIGKILL) }()
	for _, want := range []string{"can't send SIGTERM to sh\n", "can't send SIGKILL to sh\n"} {
		waitForText(t, said.Name(), want)
	}
	select {
	case <-ended:
		t.Fatal("the caller has ended before the command")
	default:
	}
	pipe, err := os.OpenFile(end, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(writeLine(pipe), pipe.Close()); err != nil {
		t.Error(err)
	}
	<-ended
	if code := cmd.ProcessState.ExitCode(); code != 7 {
		t.Errorf("exit code %d", code)
	}
}

// waitForText waits until a file contains a text.
func waitForText(t *testing.T, name, text string) {
	t.Helper()
	for end := time.Now().Add(testTimeout); time.Now().Before(end); <-time.After(5 * time.Millisecond) {
		if said, err := os.ReadFile(name); err == nil && strings.Contains(string(said), text) {
			return
		}
	}
	t.Fatalf("nobody has said %q", text)
}

func writeLine(to *os.File) error {
	_, err := to.WriteString("now\n")
	return err
}

// TestProcOfAnotherPIDNamespace runs a container's first process with the /proc of the machine.
func TestProcOfAnotherPIDNamespace(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can make a container's namespaces")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cmd := exec.Command(self, "call", "3s", "sh", "-c", `setsid sh -c 'trap "" TERM; echo daemon >$DIR/daemon; while :; do sleep 0.05; done' & trap "exit 9" TERM; while :; do sleep 0.02; done`)
	cmd.Env = append(os.Environ(), "DIR="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID}
	said, err := os.Create(filepath.Join(dir, "said"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = said.Close() }()
	cmd.Stderr = said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	expectExitCode(t, cmd, 9)
	waitForText(t, said.Name(), "Killed:true") // and so was the daemon
}

func TestSetsidCommand(t *testing.T) {
	path, err := exec.LookPath("setsid")
	if err != nil {
		t.Skip("needs setsid")
	}
	if hasControllingTerminal() {
		t.Skip("on a terminal the command leads no group")
	}
	for _, c := range []struct {
		args []string
		want Result
	}{
		{[]string{"setsid", "-w", "sh", "-c", "exit 7"}, Result{ExitCode: 7}},
		{[]string{"setsid", "sleep", "60"}, Result{LeftProcesses: true}},
	} {
		startTestRun(t, func(r *Command) { r.Path, r.Args, r.Grace = path, c.args, testTimeout }, "").expectResult(c.want)
	}
}

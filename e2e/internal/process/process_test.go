package process

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func newShellSpec(t *testing.T, script string) Spec {
	t.Helper()
	return Spec{Name: "test", Path: "/bin/sh", Args: []string{"-c", script}, Env: []string{"PATH=" + os.Getenv("PATH"), "GIVEN=yes"}, Log: filepath.Join(t.TempDir(), "log")}
}

func TestStartLogAndEnvironment(t *testing.T) {
	t.Setenv("INHERITED", "yes")
	group := NewGroup()
	defer group.Close()
	s := newShellSpec(t, `echo "given=$GIVEN inherited=$INHERITED"; echo oops >&2; exit 3`)
	p, err := group.Start(s)
	if err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	if exit, ok := errors.AsType[*exec.ExitError](p.Err()); !ok || exit.ExitCode() != 3 {
		t.Errorf("Err = %v, want exit status 3", p.Err())
	}
	data, err := os.ReadFile(s.Log)
	if want := "given=yes inherited=\noops\n"; err != nil || string(data) != want {
		t.Errorf("log %q, %v; want %q", data, err, want)
	}
}

func TestStopKillsAfterGrace(t *testing.T) {
	group := NewGroup()
	defer group.Close()
	s := newShellSpec(t, `trap "" TERM; echo ready; while :; do sleep 600; done`)
	p, err := group.Start(s)
	if err != nil {
		t.Fatal(err)
	}
	for { // until the signal would be ignored
		if data, _ := os.ReadFile(s.Log); strings.Contains(string(data), "ready") {
			break
		}
	}
	if err := p.Stop(t.Context(), syscall.SIGTERM, time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if p.Err() == nil || p.Err().Error() != "signal: killed" {
		t.Errorf("Err = %v", p.Err())
	}
	if err := p.Stop(t.Context(), syscall.SIGTERM, time.Second); err != nil {
		t.Errorf("Stop of an ended process: %v", err)
	}
}

func TestCloseKillsAllMembers(t *testing.T) {
	group := NewGroup()
	var processes []*Process
	for range 3 {
		p, err := group.Start(newShellSpec(t, "exec sleep 600"))
		if err != nil {
			t.Fatal(err)
		}
		processes = append(processes, p)
	}
	group.Close()
	for _, p := range processes {
		if err := syscall.Kill(p.PID(), 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("process %d is left: %v", p.PID(), err)
		}
	}
}

func TestRunContextCancelled(t *testing.T) {
	group := NewGroup()
	defer group.Close()
	if err := group.Run(t.Context(), exec.Command("/bin/sh", "-c", "exit 0")); err != nil {
		t.Errorf("Run = %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := group.Run(ctx, exec.Command("sleep", "600")); !errors.Is(err, context.Canceled) {
		t.Errorf("Run = %v, want %v", err, context.Canceled)
	}
	if _, err := group.Start(Spec{Name: "none", Path: "/does/not/exist", Log: filepath.Join(t.TempDir(), "log")}); err == nil || !strings.HasPrefix(err.Error(), "start none: ") {
		t.Errorf("error for a program that isn't there: %v", err)
	}
}

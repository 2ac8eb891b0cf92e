package state

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestIdentifyAnyName has a program whose name, a field of the process's state, contains what separates the fields.
func TestIdentifyAnyName(t *testing.T) {
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(sleep)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "sleep) b (c")
	if err := os.WriteFile(path, program, 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "600")
	cmd.Args[0] = "sleep" // busybox goes by it
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p, err := Identify(cmd.Process.Pid)
	if err != nil || !p.IsAlive() {
		t.Errorf("it runs, and is %+v, %v", p, err)
	}
	// It has ended but was not waited for.
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for p.IsAlive() {
		select {
		case <-look.C:
		case <-t.Context().Done():
			t.Fatal("a zombie is alive")
		}
	}
	_ = cmd.Wait()
	if p, err := Identify(cmd.Process.Pid); err == nil {
		t.Errorf("a process that has ended is %+v", p)
	}
}

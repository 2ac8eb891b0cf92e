package state

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestProcessID(t *testing.T) {
	cmd := exec.Command("sleep", "600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waited := make(chan struct{})
	go func() {
		defer close(waited)
		_ = cmd.Wait()
	}()
	p, err := Identify(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if !p.IsAlive() {
		t.Error("not alive although it runs")
	}
	// As if the pid had been reused.
	other := ProcessID{PID: p.PID, StartTime: "1"}
	if other.IsAlive() {
		t.Error("another process passes for the one that had its pid before")
	}
	if err := other.Kill(t.Context()); err != nil || !p.IsAlive() {
		t.Errorf("Kill of an earlier process with the same pid: %v, alive %v", err, p.IsAlive())
	}
	if err := p.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p.IsAlive() {
		t.Error("alive after Kill")
	}
	<-waited
	if err := p.Kill(t.Context()); err != nil {
		t.Errorf("Kill of a process that is gone: %v", err)
	}
	if (ProcessID{}).IsAlive() {
		t.Error("no process at all is alive")
	}
}

func TestFindMarkedProcesses(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux shows the environment of a process")
	}
	dir := t.TempDir()
	for _, env := range [][]string{MarkerEnv(dir, "etcd"), MarkerEnv(dir+"/other", "etcd"), MarkerEnv(dir, "etcd")[:1]} {
		cmd := exec.Command("sleep", "600")
		cmd.Env = env
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
	}
	marked, err := FindMarkedProcesses(dir)
	if err != nil || len(marked) != 1 {
		t.Fatalf("Marked = %v, %v; want one process", marked, err)
	}
	for _, component := range marked {
		if component != "etcd" {
			t.Errorf("component %q, want etcd", component)
		}
	}
}

func TestMarkerEnv(t *testing.T) {
	if marks := MarkerEnv("", "etcd"); len(marks) != 0 {
		t.Errorf("marks without a folder: %v", marks)
	}
	for name, tc := range map[string]struct {
		environ   []string
		component string
		ok        bool
	}{
		"a component":                   {[]string{"A=b", "KONDUCTOR_CLUSTER=/c", "KONDUCTOR_CLUSTER_COMPONENT=etcd"}, "etcd", true},
		"a shell of somebody":           {[]string{"KONDUCTOR_CLUSTER=/c"}, "", false},
		"a component of another":        {[]string{"KONDUCTOR_CLUSTER=/c2", "KONDUCTOR_CLUSTER_COMPONENT=etcd"}, "etcd", false},
		"no environment":                {nil, "", false},
		"a folder that is only in part": {[]string{"KONDUCTOR_CLUSTER=/c/d", "KONDUCTOR_CLUSTER_COMPONENT=etcd"}, "etcd", false},
	} {
		t.Run(name, func(t *testing.T) {
			component, ok := componentFromEnviron(tc.environ, "/c")
			if component != tc.component || ok != tc.ok {
				t.Errorf("markedComponent = %q, %v; want %q, %v", component, ok, tc.component, tc.ok)
			}
		})
	}
}

func TestWriteJSON(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.json")
	for _, want := range []ProcessID{{PID: 1, StartTime: "a"}, {PID: 2, StartTime: "b"}} {
		if err := WriteJSON(path, want); err != nil {
			t.Fatal(err)
		}
		var got ProcessID
		if err := ReadJSON(path, &got); err != nil || got != want {
			t.Errorf("ReadJSON = %v, %v; want %v", got, err, want)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want only the owner to read it", info.Mode(), err)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := ReadJSON(path, new(ProcessID)); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("error for a broken file: %v, want its path in it", err)
	}
}

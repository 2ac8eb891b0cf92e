package componentset

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/LogicIQ/konductor/e2e/cluster/internal/component"
	"github.com/LogicIQ/konductor/e2e/internal/process"
)

// newShellComponent returns a component that runs a script; it is healthy once the script has created the file $1.
func newShellComponent(t *testing.T, name, script string) component.Component {
	t.Helper()
	dir := t.TempDir()
	ready := filepath.Join(dir, "ready")
	return component.Component{
		Spec: process.Spec{
			Name: name,
			Path: "/bin/sh",
			Args: []string{"-c", script, "sh", ready},
			Env:  []string{"PATH=" + os.Getenv("PATH")},
			Log:  filepath.Join(dir, "log"),
		},
		Probe: func(context.Context) error {
			_, err := os.Stat(ready)
			return err
		},
	}
}

const longRunningScript = `: > "$1"; exec sleep 600`

func newTestSet(t *testing.T, options Options, components ...component.Component) *Set {
	t.Helper()
	group := process.NewGroup()
	set := NewSet(group, options)
	for _, c := range components {
		set.Add(c)
	}
	t.Cleanup(func() {
		if err := set.Close(context.Background()); err != nil {
			t.Error(err)
		}
		group.Close()
	})
	return set
}

func TestStopAndStart(t *testing.T) {
	set := newTestSet(t, Options{Restart: true}, newShellComponent(t, "a", longRunningScript))
	if err := set.Start(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	first := set.States(t.Context())[0]
	if first.Problem != "" || first.Stopped || first.PID == 0 {
		t.Errorf("after the start: %+v", first)
	}
	if err := set.Start(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if again := set.States(t.Context())[0]; again.PID != first.PID {
		t.Error("a second start made a second process")
	}
	for range 2 { // the second time there is nothing to stop
		if err := set.Stop(t.Context(), "a", syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	if stopped := set.States(t.Context())[0]; !stopped.Stopped || stopped.PID != 0 || stopped.Restarts != 0 {
		t.Errorf("after the stop: %+v", stopped)
	}
	if err := syscall.Kill(first.PID, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("the process is still there: %v", err)
	}
	if err := set.Start(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
}

func TestRestartAfterCrash(t *testing.T) {
	ended := make(chan string, 10)
	set := newTestSet(t, Options{Restart: true, Log: func(format string, args ...any) { ended <- fmt.Sprintf(format, args...) }}, newShellComponent(t, "a", longRunningScript))
	if err := set.Start(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	first := set.States(t.Context())[0]
	if err := syscall.Kill(first.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if line := <-ended; line != "a ended by itself (signal: killed)" {
		t.Errorf("log line %q", line)
	}
	for {
		state := set.States(t.Context())[0]
		if state.PID != 0 && state.PID != first.PID && state.Restarts == 1 {
			break
		}
		if t.Context().Err() != nil {
			t.Fatal("not started again")
		}
	}
}

func TestStartFailureIncludesLogTail(t *testing.T) {
	for name, restart := range map[string]bool{"started once": false, "started again and again": true} {
		t.Run(name, func(t *testing.T) {
			set := newTestSet(t, Options{Restart: restart}, newShellComponent(t, "a", `echo port taken; exit 3`))
			err := set.Start(t.Context(), "a")
			if err == nil || !strings.HasPrefix(err.Error(), "a ended before it was ready") || !strings.Contains(err.Error(), "port taken") {
				t.Errorf("error: %v", err)
			}
		})
	}
}

func TestStartUnknownComponent(t *testing.T) {
	set := newTestSet(t, Options{}, newShellComponent(t, "a", longRunningScript), newShellComponent(t, "b", longRunningScript))
	want := `no component "c" here; there are: a, b`
	if err := set.Start(t.Context(), "c"); err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

func TestServerAndClient(t *testing.T) {
	set := newTestSet(t, Options{Restart: true}, newShellComponent(t, "a", longRunningScript))
	var imported atomic.Value
	server := NewServer(set, func(_ context.Context, tar io.Reader) error {
		data, err := io.ReadAll(tar)
		imported.Store(string(data))
		return err
	})
	// The directory has a short name: t.TempDir's may be too long for a socket.
	dir, err := os.MkdirTemp("/tmp", "supervise-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error)
	go func() { served <- server.Serve(ctx, listener) }()
	client := NewClient(socket)

	status, err := client.Status(ctx)
	if err != nil || status.Started || status.Problem() != "still starting" {
		t.Errorf("before the start: %+v, %v", status, err)
	}
	if err := client.Start(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	server.ReportStarted(nil, false)
	if status, err = client.WaitStarted(ctx); err != nil || !status.Started || status.Error != "" {
		t.Errorf("after the start: %+v, %v", status, err)
	}
	if status, err = client.Status(ctx); err != nil || status.Problem() != "" {
		t.Errorf("after the start: %+v, %v", status, err)
	}
	if err := client.Stop(ctx, "a", syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if status, err = client.Status(ctx); err != nil || status.Problem() != "a: not running" {
		t.Errorf("after the stop: %+v, %v", status, err)
	}
	if err := client.ImportImage(ctx, strings.NewReader("tar")); err != nil || imported.Load() != "tar" {
		t.Errorf("import: %v, got %v", err, imported.Load())
	}
	if err := client.Stop(ctx, "b", syscall.SIGKILL); err == nil || err.Error() != `no component "b" here; there are: a` {
		t.Errorf("error for an unknown component: %v", err)
	}
	cancel()
	if err := <-served; err != nil {
		t.Errorf("Serve = %v", err)
	}
}

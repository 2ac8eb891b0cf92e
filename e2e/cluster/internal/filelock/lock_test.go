//go:build unix

package filelock

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestAcquireWaitsForRelease(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	release, err := Acquire(t.Context(), path, func() { t.Error("busy although nobody has it") })
	if err != nil {
		t.Fatal(err)
	}
	busy, acquired := make(chan struct{}), make(chan error)
	go func() {
		release, err := Acquire(t.Context(), path, func() { close(busy) })
		if err == nil {
			release()
		}
		acquired <- err
	}()
	<-busy
	// The first removes the file, as "down" does: the second must not end up with a lock on a file that no other process can find.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	release()
	if err := <-acquired; err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the lock that was taken has no file: %v", err)
	}
}

func TestAcquireContextCancelled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	release, err := Acquire(t.Context(), path, func() {})
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := Acquire(ctx, path, cancel); !errors.Is(err, context.Canceled) {
		t.Errorf("Acquire = %v, want %v", err, context.Canceled)
	}
}

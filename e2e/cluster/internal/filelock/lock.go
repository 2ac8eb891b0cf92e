//go:build unix

// Package filelock is a lock between processes. The kernel releases a lock when its holder ends, however it ends.
package filelock

import (
	"context"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Acquire acquires the lock at path and returns the function that releases it. If another process holds it, busy is called once,
// and Acquire waits until the lock is free or ctx is done.
func Acquire(ctx context.Context, path string, busy func()) (release func(), err error) {
	for {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
		if err != nil {
			return nil, err
		}
		if err := flock(f, unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
			busy()
			busy = func() {}
			if err := waitForLock(ctx, f); err != nil {
				return nil, err
			}
		} else if err != nil {
			_ = f.Close()
			return nil, err
		}
		// The previous holder may have removed the file: then this is a lock on a deleted file, and the next process would get another.
		if isSameFile(f, path) {
			return func() { _ = f.Close() }, nil
		}
		_ = f.Close()
	}
}

// waitForLock blocks until f is locked; on failure it closes f.
func waitForLock(ctx context.Context, f *os.File) error {
	locked := make(chan error, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		locked <- flock(f, unix.LOCK_EX)
	}()
	select {
	case err := <-locked:
		if err != nil {
			_ = f.Close()
		}
		return err
	case <-ctx.Done():
		// flock can't be interrupted: release the lock if it is still acquired.
		go func() {
			<-done
			_ = f.Close()
		}()
		return ctx.Err()
	}
}

func flock(f *os.File, how int) error {
	for {
		if err := unix.Flock(int(f.Fd()), how); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func isSameFile(f *os.File, path string) bool {
	opened, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(path)
	return err == nil && os.SameFile(opened, named)
}

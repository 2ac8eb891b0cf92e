//go:build unix

// Package filelock is a lock between processes. The kernel releases a lock when its holder ends, however it ends.
package filelock

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/gofrs/flock"
)

// retryInterval is the interval of attempts at a lock that another process holds.
const retryInterval = 100 * time.Millisecond

// Acquire acquires the lock at path and returns the function that releases it. If another process holds it, busy is called once,
// and Acquire waits until the lock is free or ctx is done.
func Acquire(ctx context.Context, path string, busy func()) (release func(), err error) {
	for {
		lock := flock.New(path, flock.SetPermissions(0o644))
		locked, err := lock.TryLock()
		if err == nil && !locked {
			busy()
			busy = func() {}
			_, err = lock.TryLockContext(ctx, retryInterval)
		}
		if err != nil {
			return nil, errors.Join(err, lock.Close())
		}
		// The previous holder may have removed the file: then this is a lock on a deleted file, and the next process would get another.
		opened, openedErr := lock.Stat()
		named, err := os.Stat(path)
		if openedErr == nil && err == nil && os.SameFile(opened, named) {
			return func() { _ = lock.Close() }, nil
		}
		if err := lock.Close(); err != nil {
			return nil, err
		}
	}
}

//go:build unix

package terminal

import (
	"context"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// BrokenPipeContext returns a context that ends with ctx, or when out is a pipe and its read end is closed. Without it, a
// program that rarely writes would notice that only at its next write, and seem to hang until then.
func BrokenPipeContext(ctx context.Context, out any) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	file, ok := out.(*os.File)
	if !ok {
		return ctx, cancel
	}
	state, err := file.Stat()
	if err != nil || state.Mode()&fs.ModeNamedPipe == 0 {
		return ctx, cancel
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		const pollInterval = 200 * time.Millisecond // how long it may take to notice that ctx has ended
		for ctx.Err() == nil {
			fds := []unix.PollFd{{Fd: int32(file.Fd())}}
			n, err := unix.Poll(fds, int(pollInterval.Milliseconds()))
			if err == nil && n > 0 && fds[0].Revents&(unix.POLLERR|unix.POLLHUP|unix.POLLNVAL) != 0 {
				cancel()
			}
		}
	}()
	return ctx, func() { cancel(); <-done }
}

//go:build unix

package terminal

import (
	"context"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// ReaderGone returns a context that ends with ctx, or when nobody can read from a pipe any more that out is. A program that
// writes now and then would learn of it only at its next line, and until then seem to hang.
func ReaderGone(ctx context.Context, out any) (context.Context, context.CancelFunc) {
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
		const look = 200 * time.Millisecond // how long it may take to notice that ctx has ended
		for ctx.Err() == nil {
			fds := []unix.PollFd{{Fd: int32(file.Fd())}}
			n, err := unix.Poll(fds, int(look.Milliseconds()))
			if err == nil && n > 0 && fds[0].Revents&(unix.POLLERR|unix.POLLHUP|unix.POLLNVAL) != 0 {
				cancel()
			}
		}
	}()
	return ctx, func() { cancel(); <-done }
}

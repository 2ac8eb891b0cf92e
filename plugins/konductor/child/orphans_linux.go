package child

import (
	"os"
	"os/signal"
	"sync"

	"golang.org/x/sys/unix"
)

// ReapOrphans reaps, when this process is the first of its container, those that come to it because their parent has
// ended: what kubectl exec has left behind, say. Nobody else would. The returned function ends that.
func ReapOrphans() (stop func()) {
	if os.Getpid() != 1 {
		return func() {}
	}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, unix.SIGCHLD)
	done := make(chan struct{})
	var reaping sync.WaitGroup
	reaping.Go(func() {
		for {
			select {
			case <-ended:
				reapForeign()
			case <-done:
				return
			}
		}
	})
	return func() {
		signal.Stop(ended)
		close(done)
		reaping.Wait()
	}
}

// reapForeign reaps the children that have ended and that this process has not started, as their session tells: who has
// started a process waits for it.
func reapForeign() {
	session, err := unix.Getsid(0)
	if err != nil {
		return
	}
	for _, p := range processes() {
		if p.zombie && p.parent == os.Getpid() && p.session != session {
			_, _ = unix.Wait4(p.pid, nil, unix.WNOHANG, nil)
		}
	}
}

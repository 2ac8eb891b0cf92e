package process

import (
	"errors"
	"os"
	"os/signal"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ReapOrphans does the second task of process 1: it waits for processes whose parents died. Members of the group are left to
// Start, which needs their exit status. It returns when done is closed.
func (g *Group) ReapOrphans(done <-chan struct{}) {
	signals := make(chan os.Signal, 1) // a full channel loses nothing: one pass reaps all zombies
	signal.Notify(signals, unix.SIGCHLD)
	defer signal.Stop(signals)
	for {
		g.reapPending()
		select {
		case <-signals:
		case <-done:
			return
		}
	}
}

func (g *Group) reapPending() {
	for {
		// Don't reap yet: only processes that are not members may be reaped here.
		var info unix.Siginfo
		err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		pid := siginfoPID(&info)
		if err != nil || pid == 0 {
			return
		}
		g.mu.Lock()
		member := g.members[pid]
		g.mu.Unlock()
		if member != nil {
			<-member.done // its own goroutine is about to reap it
			continue
		}
		_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil)
	}
}

// siginfoPID reads si_pid, which the unix package does not name. It follows the
// three ints of the common part, padded to eight bytes on 64-bit systems.
func siginfoPID(info *unix.Siginfo) int {
	const common = (3*4 + unsafe.Sizeof(uintptr(0)) - 1) / unsafe.Sizeof(uintptr(0)) * unsafe.Sizeof(uintptr(0))
	return int(*(*int32)(unsafe.Add(unsafe.Pointer(info), common)))
}

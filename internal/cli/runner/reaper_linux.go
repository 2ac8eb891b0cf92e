package runner

import (
	"os"
	"os/signal"
	"sync"

	"golang.org/x/sys/unix"
)

// StartZombieReaper reaps orphans if this process is the first of its container: processes left behind by kubectl exec, for
// example. Nothing else would. It leaves out those for which isInternal returns true: their starter waits for them. The
// returned function stops it.
func StartZombieReaper(isInternal func(pid int) bool) (stop func()) {
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
				reapAdopted(isInternal)
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

// reapAdopted reaps the zombies that this process has not started, as their session shows: the code that has started a
// process waits for it.
func reapAdopted(isInternal func(pid int) bool) {
	session, err := unix.Getsid(0)
	if err != nil {
		return
	}
	for _, p := range listProcesses() {
		if p.zombie && p.ppid == os.Getpid() && p.sid != session && !isInternal(p.pid) {
			_, _ = unix.Wait4(p.pid, nil, unix.WNOHANG, nil)
		}
	}
}

package integration

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

func TestSignalWhileWaiting(t *testing.T) {
	for name, args := range map[string][]string{
		"run":               {"run", "--lease", "db", "--", "true"},
		"hold":              {"hold", "--lease", "db"},
		"lease acquire":     {"lease", "acquire", "db"},
		"semaphore acquire": {"semaphore", "acquire", "api"},
		"barrier wait":      {"barrier", "wait", "none"},
		"gate wait":         {"gate", "wait", "none"},
		"arrive and wait":   {"barrier", "arrive", "stage", "--wait"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTestEnv(t)
			w.startOperator()
			w.createLease("db")
			w.createSemaphore("api", 1)
			createBarrier(w, "stage", 2)
			other := w.newParticipant("other")
			other.mustAcquire(konductorv1.KindLease, "db")
			other.mustAcquire(konductorv1.KindSemaphore, "api")
			for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT} {
				p := w.startKoncli(args...)
				switch {
				case strings.Contains(name, "acquire"), name == "run", name == "hold":
					w.waitUntil("a claim", func() bool { return w.countClaims() == 3 })
				case name == "arrive and wait":
					p.waitForOutput("arrived")
				default:
					p.waitForOutput("to be created")
				}
				p.signal(sig)
				p.expectExit(128 + int(sig))
				w.waitUntil("the claim to be taken back", func() bool { return w.countClaims() == 2 })
			}
		})
	}
}

// countClaims returns the number of claims.
func (w *testEnv) countClaims() int {
	w.Helper()
	var list konductorv1.ClaimList
	w.must(w.client.List(w.ctx, &list, client.InNamespace(w.namespace)))
	return len(list.Items)
}

func TestRunWithUnreadableStderr(t *testing.T) {
	closed, toClosed, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	unread, toUnread, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := fillPipe(toUnread); err != nil {
		t.Fatal(err)
	}
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() {
		for _, f := range []io.Closer{toClosed, unread, toUnread, full} {
			_ = f.Close()
		}
	})
	for name, stderr := range map[string]*os.File{"a closed pipe": toClosed, "a full pipe": toUnread, "a full disk": full} {
		t.Run(name, func(t *testing.T) {
			w := newTestEnv(t)
			w.startOperator()
			w.createLease("db")
			p := w.startProgram(koncliPath, nil, w.adminKubeconfig, stderr, "run", "--lease", "db", "--ttl", "12s", "--", "sh", "-c", "echo ran >$DIR/ran; while ! [ -e $DIR/end ]; do sleep 0.02; done; exit 7")
			p.waitForFile("ran")
			l := getObject[*konductorv1.Lease](w, "db")
			waitFor(w, l.Status.Claim, "renewed on", func(c *konductorv1.Claim) bool { return c.Spec.Renewals >= 3 })
			p.writeFile("end")
			p.expectExit(7)
			w.waitLeaseFree("db")

			// A token that can't be printed is of no use.
			if stderr != toUnread {
				w.startProgram(koncliPath, nil, w.adminKubeconfig, stderr, "lease", "acquire", "db").expectExit(1)
				w.waitLeaseFree("db")
			}

			// A waiter prints messages too.
			other := w.newParticipant("other").mustAcquire(konductorv1.KindLease, "db")
			w.createLease("free")
			p = w.startProgram(koncliPath, nil, w.adminKubeconfig, stderr, "run", "--lease", "free", "--lease", "missing", "--", "true")
			q := w.startProgram(koncliPath, nil, w.adminKubeconfig, stderr, "run", "--lease", "missing-too", "--lease", "db", "--", "true")
			w.waitUntil("their claims", func() bool { return w.countClaims() == 3 })
			p.signal(syscall.SIGTERM)
			p.expectExit(128 + 15)
			q.signal(syscall.SIGTERM)
			q.expectExit(128 + 15)
			w.mustRelease(other)
			w.waitLeaseFree("db")
		})
	}
}

// fillPipe writes to a pipe until it is full.
func fillPipe(pipe *os.File) error {
	fd := int(pipe.Fd())
	if err := syscall.SetNonblock(fd, true); err != nil {
		return err
	}
	for {
		if _, err := syscall.Write(fd, make([]byte, 1)); errors.Is(err, syscall.EAGAIN) {
			return syscall.SetNonblock(fd, false)
		} else if err != nil {
			return err
		}
	}
}

func TestKoncliReplacedWhileWaiting(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	w.createLease("db")
	own := filepath.Join(t.TempDir(), "koncli")
	w.must(os.Link(koncliPath, own))
	other := w.newParticipant("other").mustAcquire(konductorv1.KindLease, "db")
	p := w.startProgram(own, nil, w.adminKubeconfig, nil, "run", "--lease", "db", "--", "sh", "-c", longRunningScript)
	waitFor(w, "db", "waited for", func(l *konductorv1.Lease) bool { return l.Status.Waiting == 1 })
	w.must(os.Remove(own))
	w.must(os.WriteFile(own, []byte("#!/bin/sh\necho another version >&2\nexit 1\n"), 0o700))
	w.mustRelease(other)
	p.waitForPID("leader")
	p.writeFile("end")
	p.expectExit(7)
	w.waitLeaseFree("db")
}

func TestRunRejectsUnrunnableCommandAtOnce(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	w.createLease("db")
	w.newParticipant("other").mustAcquire(konductorv1.KindLease, "db")
	dir := t.TempDir()
	file := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		w.must(os.WriteFile(path, []byte(text), mode))
		return path
	}
	for command, code := range map[string]int{
		"no-such-command": 127,
		dir:               126,
		file("not-executable", "#!/bin/sh\n", 0o600):               126,
		file("no-program", "\x00\x01\x02\x03\n", 0o700):            126,
		file("no-interpreter", "#!/no/such/interpreter\n", 0o700):  127,
		file("bad-interpreter", "#!"+dir+"/not-executable\n", 0o7): 126,
	} {
		w.startKoncli("run", "--lease", "db", "--", command).expectExit(code)
	}
	if n := w.countClaims(); n != 1 {
		t.Errorf("%d claims, want only that of who holds", n)
	}
}

package integration

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// longRunningScript is a command that runs until $DIR/end exists, with a child that ignores signals. Both write their PIDs.
const longRunningScript = `(trap "" TERM INT; while :; do sleep 0.05; done) & echo $! >$DIR/child
trap "" TERM; echo $$ >$DIR/leader; while ! [ -e $DIR/end ]; do sleep 0.02; done; exit 7`

// koncliRun is koncli run with that command.
type koncliRun struct {
	*koncliProcess
	leaderPID, childPID int
}

// startKoncliRun starts koncli run with the command, and waits until that runs.
func (w *testEnv) startKoncliRun(kubeconfig string, args ...string) *koncliRun {
	w.Helper()
	p := w.startKoncliWithKubeconfig(kubeconfig, append(append([]string{"run"}, args...), "--", "sh", "-c", longRunningScript)...)
	return &koncliRun{koncliProcess: p, leaderPID: p.waitForPID("leader"), childPID: p.waitForPID("child")}
}

// expectEnded fails the test unless all processes of the command have ended by now.
func (k *koncliRun) expectEnded() {
	k.env.Helper()
	if !hasProcessEnded(k.leaderPID) || !hasProcessEnded(k.childPID) {
		k.env.Error("the command still runs although another holds")
	}
}

func (w *testEnv) waitLeaseFree(lease string) {
	w.Helper()
	waitFor(w, lease, "free", func(l *konductorv1.Lease) bool {
		return l.Status.Phase == konductorv1.LeaseAvailable && l.Status.Waiting == 0
	})
}

func TestRunHoldsUntilAllProcessesEnded(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	w.createLease("db")
	w.createSemaphore("api", 3)
	p := w.startKoncli("run", "--semaphore", "api:2", "--lease", "db", "--grace", "1s", "--", "sh", "-c",
		`echo $KONDUCTOR_TOKEN $KONDUCTOR_TOKEN_LEASE_DB $KONDUCTOR_TOKEN_SEMAPHORE_API $KONDUCTOR_HOLDER >$DIR/env; `+longRunningScript)
	child := p.waitForPID("child")
	l := waitFor(w, "db", "held", func(l *konductorv1.Lease) bool { return l.Status.Phase == konductorv1.LeaseHeld })
	s := waitFor(w, "api", "held", func(s *konductorv1.Semaphore) bool { return s.Status.InUse == 2 })
	want := fmt.Sprint(l.Status.FencingToken, l.Status.FencingToken, s.Status.Holders[0].FencingToken, " ", l.Status.Holder)
	if got := p.waitForFile("env"); got != want {
		t.Errorf("the command was told %q, want %q", got, want)
	}
	next := w.newParticipant("next").enqueue(konductorv1.KindLease, l)
	next.mustBePending()
	p.writeFile("end")
	next.mustSucceed()
	if !hasProcessEnded(child) {
		t.Error("a child of the command still runs although another holds")
	}
	p.expectExit(7)
	waitFor(w, "api", "given back", func(s *konductorv1.Semaphore) bool { return s.Status.InUse == 0 })
}

func TestRunAcquiresAllOrNothing(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	w.createLease("a")
	w.createLease("b")
	other := w.newParticipant("other").mustAcquire(konductorv1.KindLease, "b")
	p := w.startKoncli("run", "--lease", "b", "--lease", "a", "--timeout", "2s", "--", "sh", "-c", "echo ran >$DIR/ran")
	waitFor(w, "a", "held", func(l *konductorv1.Lease) bool { return l.Status.Phase == konductorv1.LeaseHeld })
	p.expectExit(64 + 3)
	w.waitLeaseFree("a")
	for code, args := range map[int][]string{
		64 + 5: {"--timeout", "0"},
		0:      {"--timeout", "0", "--conflict-exit-code", "0"},
		42:     {"--timeout", "100ms", "--conflict-exit-code", "42"},
	} {
		w.startKoncli(append(append([]string{"run", "--lease", "b", "--lease", "a"}, args...), "--", "false")...).expectExit(code)
	}
	w.waitLeaseFree("a")
	w.mustRelease(other)
}

func TestRunAcquireOrderAvoidsDeadlock(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	w.createLease("a")
	w.createLease("b")
	w.createSemaphore("s", 2)
	var all []*koncliProcess
	room := w.TempDir() + "/in"
	for i := range 8 {
		args := []string{"run", "--lease", "a", "--lease", "b", "--semaphore", "s:2"}
		if i%2 == 0 {
			args = []string{"run", "--semaphore", "s:2", "--lease", "b", "--lease", "a"}
		}
		// If two were in here at the same time, mkdir would fail.
		all = append(all, w.startKoncli(append(args, "--", "sh", "-c", "mkdir "+room+" && sleep 0.05 && rmdir "+room)...))
	}
	for _, p := range all {
		p.expectExit(0)
	}
}

func TestRunForwardsSignals(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	w.createLease("db")
	p := w.startKoncli("run", "--lease", "db", "--", "sh", "-c", `trap "echo int >$DIR/int; exit 42" INT; echo up >$DIR/up; while :; do sleep 0.02; done`)
	p.waitForFile("up")
	p.signal(syscall.SIGINT)
	p.expectExit(42)
	w.waitLeaseFree("db")

	waits := w.startKoncli("run", "--lease", "missing", "--", "true")
	waits.waitForOutput("to be created")
	waits.signal(syscall.SIGTERM)
	waits.expectExit(128 + 15)
}

func TestRunEndsCommandOnLostHold(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	w.createLease("db")
	k := w.startKoncliRun(w.adminKubeconfig, "--lease", "db", "--grace", "500ms", "--on-lost", "echo $KONDUCTOR_LOST_REASON >$DIR/lost")
	holder, err := w.newParticipant("admin").BreakLease(w.ctx, "db")
	w.must(err)
	if !strings.Contains(holder, "/") {
		t.Errorf("the holder outside of a Pod was %s, which another run on this host would be too", holder)
	}
	k.expectExit(64 + 7)
	k.expectEnded()
	if reason := k.waitForFile("lost"); !strings.Contains(reason, "claim was deleted") {
		t.Errorf("it was lost because %q", reason)
	}
	w.waitLeaseFree("db")
}

func TestRunCommandEndsWhenRunnerStopped(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	l := w.createLease("db")
	k := w.startKoncliRun(w.adminKubeconfig, "--lease", "db", "--ttl", "3s", "--grace", "300ms")
	next := w.newParticipant("next").enqueue(konductorv1.KindLease, l)
	k.signal(syscall.SIGSTOP)
	next.mustSucceed()
	k.expectEnded()
	k.signal(syscall.SIGCONT)
	k.expectExit(64 + 7)
	if h := getObject[*konductorv1.Lease](w, "db").Status.Holder; h != "next" {
		t.Errorf("the runner that woke up took the lease from next: %s holds it", h)
	}
}

func TestRunCommandEndsWhenRunnerKilled(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	l := w.createLease("db")
	k := w.startKoncliRun(w.adminKubeconfig, "--lease", "db", "--ttl", "3s", "--grace", "300ms")
	next := w.newParticipant("next").enqueue(konductorv1.KindLease, l)
	k.signal(syscall.SIGKILL)
	next.mustSucceed()
	k.expectEnded()
}

func TestRunCommandEndsAfterLongAPIServerOutage(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	l := w.createLease("db")
	kubeconfig, tunnel := w.newTCPProxy()
	k := w.startKoncliRun(kubeconfig, "--lease", "db", "--ttl", "3s", "--grace", "300ms")
	next := w.newParticipant("next").enqueue(konductorv1.KindLease, l)
	tunnel.disconnect()
	next.mustSucceed()
	k.expectEnded()
	k.expectExit(64 + 7)
}

func TestRunSurvivesShortAPIServerOutage(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	w.createLease("db")
	kubeconfig, tunnel := w.newTCPProxy()
	// The TTL leaves time for a test that is slower than the outage.
	k := w.startKoncliRun(kubeconfig, "--lease", "db", "--ttl", "30s", "--grace", "300ms")
	before := getObject[*konductorv1.Lease](w, "db").Status
	tunnel.disconnect()
	k.waitForOutput("the API server can't be reached, trying again")
	tunnel.reconnect()
	waitFor(w, before.Claim, "renewed", func(c *konductorv1.Claim) bool { return c.Spec.Renewals > before.Renewals+1 })
	if after := getObject[*konductorv1.Lease](w, "db").Status; after.FencingToken != before.FencingToken {
		t.Errorf("the token was %d and is %d", before.FencingToken, after.FencingToken)
	}
	k.writeFile("end")
	k.expectExit(7)
	w.waitLeaseFree("db")
}

func TestRunSurvivesOperatorOutage(t *testing.T) {
	w := newTestEnv(t)
	op := w.startOperator()
	l := w.createLease("db")
	k := w.startKoncliRun(w.adminKubeconfig, "--lease", "db", "--ttl", "3s", "--grace", "300ms")
	claim := getObject[*konductorv1.Lease](w, "db").Status.Claim
	next := w.newParticipant("next").enqueue(konductorv1.KindLease, l)
	op.stop()
	// Each renewal is sent after a third of the remaining TTL, so four take longer than the TTL.
	waitFor(w, claim, "renewed four times", func(c *konductorv1.Claim) bool { return c.Spec.Renewals >= 4 })
	next.mustBePending()
	w.startOperator()
	waitFor(w, claim, "renewed on", func(c *konductorv1.Claim) bool { return c.Spec.Renewals >= 6 })
	next.mustBePending()
	k.writeFile("end")
	next.mustSucceed()
	k.expectEnded()
	k.expectExit(7)
}

func TestRunArrive(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	createBarrier(w, "stage", 2, konductor.WithQuorum(1))
	arrivals := func(failed bool) int {
		var list konductorv1.ArrivalList
		w.must(w.client.List(w.ctx, &list, client.InNamespace(w.namespace)))
		n := 0
		for i := range list.Items {
			if list.Items[i].Spec.Failed == failed {
				n++
			}
		}
		return n
	}
	w.startKoncli("run", "--arrive", "stage", "--arrive-on", "success", "--holder", "a", "--", "false").expectExit(1)
	if n := arrivals(true); n != 0 {
		t.Errorf("%d arrived failed who should not have arrived", n)
	}
	w.startKoncli("run", "--arrive", "stage", "--holder", "b", "--", "sh", "-c", "exit 3").expectExit(3)
	if n := arrivals(true); n != 1 {
		t.Errorf("%d arrived failed, want 1", n)
	}
	w.startKoncli("run", "--arrive", "stage", "--holder", "a", "--", "true").expectExit(0)
	waitBarrierPhase(w, "stage", konductorv1.BarrierOpen)
	// The command isn't run: its own exit code would show.
	w.startKoncli("run", "--arrive", "none", "--fail-if-missing", "--", "sh", "-c", "exit 9").expectExit(64 + 2)
}

func TestHoldReadinessAndSIGTERM(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	w.createLease("db")
	first := w.newParticipant("first").mustAcquire(konductorv1.KindLease, "db")
	address := w.freeAddress()
	p := w.startKoncli("hold", "--lease", "db", "--listen", address)
	held := func() (int, string) {
		ctx, cancel := context.WithTimeout(w.ctx, time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/held", nil)
		w.must(err)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return 0, err.Error()
		}
		defer resp.Body.Close()
		body := make([]byte, 200)
		n, _ := resp.Body.Read(body)
		return resp.StatusCode, string(body[:n])
	}
	w.waitUntil("an answer", func() bool { code, _ := held(); return code == http.StatusServiceUnavailable })
	waitFor(w, "db", "waited for", func(l *konductorv1.Lease) bool { return l.Status.Waiting == 1 })
	w.mustRelease(first)
	w.waitUntil("the hold", func() bool { code, _ := held(); return code == http.StatusOK })
	token := strconv.FormatInt(getObject[*konductorv1.Lease](w, "db").Status.FencingToken, 10)
	if _, body := held(); !strings.Contains(body, `"lease/db":`+token) {
		t.Errorf("the page says %s, want token %s", body, token)
	}
	p.signal(syscall.SIGTERM)
	p.expectExit(0)
	w.waitLeaseFree("db")

	p = w.startKoncli("hold", "--lease", "db")
	p.waitForOutput("acquired")
	_, err := w.newParticipant("admin").BreakLease(w.ctx, "db")
	w.must(err)
	p.expectExit(7)
}

// freeAddress returns an address with a free port.
func (w *testEnv) freeAddress() string {
	w.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	w.must(err)
	defer l.Close()
	return l.Addr().String()
}

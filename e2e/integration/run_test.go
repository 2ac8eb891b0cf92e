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

// work is a command that goes on until $DIR/end is there, with a child that listens to nobody. Both write down who they
// are.
const work = `(trap "" TERM INT; while :; do sleep 0.05; done) & echo $! >$DIR/child
trap "" TERM; echo $$ >$DIR/leader; while ! [ -e $DIR/end ]; do sleep 0.02; done; exit 7`

// runner is koncli run with such a command.
type runner struct {
	*program
	leader, child int
}

// runner starts koncli run with work, and waits until that works.
func (w *world) runner(kubeconfig string, args ...string) *runner {
	w.Helper()
	p := w.koncliWith(kubeconfig, append(append([]string{"run"}, args...), "--", "sh", "-c", work)...)
	return &runner{program: p, leader: p.process("leader"), child: p.process("child")}
}

// isGone ends the test unless nobody of the worker's command is left, now.
func (k *runner) isGone() {
	k.w.Helper()
	if !processGone(k.leader) || !processGone(k.child) {
		k.w.Error("the command still runs although another holds")
	}
}

func (w *world) isFree(lease string) {
	w.Helper()
	is(w, lease, "free", func(l *konductorv1.Lease) bool {
		return l.Status.Phase == konductorv1.LeaseAvailable && l.Status.Waiting == 0
	})
}

func TestRunHoldsUntilItsCommandAndAllItStartedHaveEnded(t *testing.T) {
	w := newWorld(t)
	w.operator()
	w.lease("db")
	w.semaphore("api", 3)
	p := w.koncli("run", "--semaphore", "api:2", "--lease", "db", "--grace", "1s", "--", "sh", "-c",
		`echo $KONDUCTOR_TOKEN $KONDUCTOR_TOKEN_LEASE_DB $KONDUCTOR_TOKEN_SEMAPHORE_API $KONDUCTOR_HOLDER >$DIR/env; `+work)
	child := p.process("child")
	l := is(w, "db", "held", func(l *konductorv1.Lease) bool { return l.Status.Phase == konductorv1.LeaseHeld })
	s := is(w, "api", "held", func(s *konductorv1.Semaphore) bool { return s.Status.InUse == 2 })
	want := fmt.Sprint(l.Status.FencingToken, l.Status.FencingToken, s.Status.Holders[0].FencingToken, " ", l.Status.Holder)
	if got := p.wrote("env"); got != want {
		t.Errorf("the command was told %q, want %q", got, want)
	}
	next := w.someone("next").queue(konductorv1.KindLease, l)
	next.pending()
	p.write("end")
	next.must()
	if !processGone(child) {
		t.Error("a child of the command still runs although another holds")
	}
	p.exits(7)
	is(w, "api", "given back", func(s *konductorv1.Semaphore) bool { return s.Status.InUse == 0 })
}

func TestRunHoldsAllOrNothing(t *testing.T) {
	w := newWorld(t)
	w.operator()
	w.lease("a")
	w.lease("b")
	other := w.someone("other").acquire(konductorv1.KindLease, "b")
	p := w.koncli("run", "--lease", "b", "--lease", "a", "--timeout", "2s", "--", "sh", "-c", "echo ran >$DIR/ran")
	is(w, "a", "held", func(l *konductorv1.Lease) bool { return l.Status.Phase == konductorv1.LeaseHeld })
	p.exits(64 + 3)
	w.isFree("a")
	for code, args := range map[int][]string{
		64 + 5: {"--timeout", "0"},
		0:      {"--timeout", "0", "--conflict-exit-code", "0"},
		42:     {"--timeout", "100ms", "--conflict-exit-code", "42"},
	} {
		w.koncli(append(append([]string{"run", "--lease", "b", "--lease", "a"}, args...), "--", "false")...).exits(code)
	}
	w.isFree("a")
	w.release(other)
}

func TestRunsThatWantTheSameInAnotherOrderDontWaitForEachOther(t *testing.T) {
	w := newWorld(t)
	w.operator()
	w.lease("a")
	w.lease("b")
	w.semaphore("s", 2)
	var all []*program
	room := w.TempDir() + "/in"
	for i := range 8 {
		args := []string{"run", "--lease", "a", "--lease", "b", "--semaphore", "s:2"}
		if i%2 == 0 {
			args = []string{"run", "--semaphore", "s:2", "--lease", "b", "--lease", "a"}
		}
		// Were two in here at the same time, mkdir would fail.
		all = append(all, w.koncli(append(args, "--", "sh", "-c", "mkdir "+room+" && sleep 0.05 && rmdir "+room)...))
	}
	for _, p := range all {
		p.exits(0)
	}
}

func TestSignalsReachTheCommandThatRuns(t *testing.T) {
	w := newWorld(t)
	w.operator()
	w.lease("db")
	p := w.koncli("run", "--lease", "db", "--", "sh", "-c", `trap "echo int >$DIR/int; exit 42" INT; echo up >$DIR/up; while :; do sleep 0.02; done`)
	p.wrote("up")
	p.signal(syscall.SIGINT)
	p.exits(42)
	w.isFree("db")

	waits := w.koncli("run", "--lease", "missing", "--", "true")
	waits.says("to be created")
	waits.signal(syscall.SIGTERM)
	waits.exits(64 + 1)
}

func TestACommandThatLosesItsHoldIsEnded(t *testing.T) {
	w := newWorld(t)
	w.operator()
	w.lease("db")
	k := w.runner(w.kubeconfig, "--lease", "db", "--grace", "500ms", "--on-lost", "echo $KONDUCTOR_LOST_REASON >$DIR/lost")
	holder, err := w.someone("admin").BreakLease(w.ctx, "db")
	w.ok(err)
	if !strings.Contains(holder, "/") {
		t.Errorf("the holder outside of a Pod was %s, which another run on this host would be too", holder)
	}
	k.exits(64 + 7)
	k.isGone()
	if reason := k.wrote("lost"); !strings.Contains(reason, "claim was deleted") {
		t.Errorf("it was lost because %q", reason)
	}
	w.isFree("db")
}

func TestACommandHasEndedBeforeAnotherHoldsWhenItsRunnerIsStopped(t *testing.T) {
	w := newWorld(t)
	w.operator()
	l := w.lease("db")
	k := w.runner(w.kubeconfig, "--lease", "db", "--ttl", "3s", "--grace", "300ms")
	next := w.someone("next").queue(konductorv1.KindLease, l)
	k.signal(syscall.SIGSTOP)
	next.must()
	k.isGone()
	k.signal(syscall.SIGCONT)
	k.exits(64 + 7)
	if h := get[*konductorv1.Lease](w, "db").Status.Holder; h != "next" {
		t.Errorf("the runner that woke up took the lease from next: %s holds it", h)
	}
}

func TestACommandHasEndedBeforeAnotherHoldsWhenItsRunnerIsKilled(t *testing.T) {
	w := newWorld(t)
	w.operator()
	l := w.lease("db")
	k := w.runner(w.kubeconfig, "--lease", "db", "--ttl", "3s", "--grace", "300ms")
	next := w.someone("next").queue(konductorv1.KindLease, l)
	k.signal(syscall.SIGKILL)
	next.must()
	k.isGone()
}

func TestACommandHasEndedBeforeAnotherHoldsWhenTheAPIServerIsOutOfReachForLongerThanTheTTL(t *testing.T) {
	w := newWorld(t)
	w.operator()
	l := w.lease("db")
	kubeconfig, tunnel := w.tunnelled()
	k := w.runner(kubeconfig, "--lease", "db", "--ttl", "3s", "--grace", "300ms")
	next := w.someone("next").queue(konductorv1.KindLease, l)
	tunnel.cut()
	next.must()
	k.isGone()
	k.exits(64 + 7)
}

func TestACommandGoesOnWhenTheAPIServerIsOutOfReachForLessThanTheTTL(t *testing.T) {
	w := newWorld(t)
	w.operator()
	w.lease("db")
	kubeconfig, tunnel := w.tunnelled()
	k := w.runner(kubeconfig, "--lease", "db", "--ttl", "12s", "--grace", "300ms")
	before := get[*konductorv1.Lease](w, "db").Status
	tunnel.cut()
	k.says("renewing the hold on lease/db")
	tunnel.mend()
	is(w, before.Claim, "renewed", func(c *konductorv1.Claim) bool { return c.Spec.Renewals > before.Renewals+1 })
	if after := get[*konductorv1.Lease](w, "db").Status; after.FencingToken != before.FencingToken {
		t.Errorf("the token was %d and is %d", before.FencingToken, after.FencingToken)
	}
	k.write("end")
	k.exits(7)
	w.isFree("db")
}

func TestACommandGoesOnWhileNoOperatorIsThere(t *testing.T) {
	w := newWorld(t)
	op := w.operator()
	l := w.lease("db")
	k := w.runner(w.kubeconfig, "--lease", "db", "--ttl", "3s", "--grace", "300ms")
	claim := get[*konductorv1.Lease](w, "db").Status.Claim
	next := w.someone("next").queue(konductorv1.KindLease, l)
	op.stop()
	// Each renewal is a third of what is left of the TTL, so four are longer than it.
	is(w, claim, "renewed four times", func(c *konductorv1.Claim) bool { return c.Spec.Renewals >= 4 })
	next.pending()
	w.operator()
	is(w, claim, "renewed on", func(c *konductorv1.Claim) bool { return c.Spec.Renewals >= 6 })
	next.pending()
	k.write("end")
	next.must()
	k.isGone()
	k.exits(7)
}

func TestRunArrivesAsItsCommandHasEnded(t *testing.T) {
	w := newWorld(t)
	w.operator()
	barrierOf(w, "stage", 2, konductor.WithQuorum(1))
	arrivals := func(failed bool) int {
		var list konductorv1.ArrivalList
		w.ok(w.objects.List(w.ctx, &list, client.InNamespace(w.namespace)))
		n := 0
		for i := range list.Items {
			if list.Items[i].Spec.Failed == failed {
				n++
			}
		}
		return n
	}
	w.koncli("run", "--arrive", "stage", "--arrive-on", "success", "--holder", "a", "--", "false").exits(1)
	if n := arrivals(true); n != 0 {
		t.Errorf("%d arrived failed who should not have arrived", n)
	}
	w.koncli("run", "--arrive", "stage", "--holder", "b", "--", "sh", "-c", "exit 3").exits(3)
	if n := arrivals(true); n != 1 {
		t.Errorf("%d arrived failed, want 1", n)
	}
	w.koncli("run", "--arrive", "stage", "--holder", "a", "--", "true").exits(0)
	isBarrier(w, "stage", konductorv1.BarrierOpen)
	w.koncli("run", "--arrive", "none", "--fail-if-missing", "--", "true").exits(64 + 2)
	w.koncli("run", "--arrive", "none", "--fail-if-missing", "--", "sh", "-c", "exit 9").exits(9)
}

func TestHoldIsReadyWhenItHoldsAndGivesBackWhenToldToEnd(t *testing.T) {
	w := newWorld(t)
	w.operator()
	w.lease("db")
	first := w.someone("first").acquire(konductorv1.KindLease, "db")
	address := w.freeAddress()
	p := w.koncli("hold", "--lease", "db", "--listen", address)
	held := func() (int, string) {
		ctx, cancel := context.WithTimeout(w.ctx, time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/held", nil)
		w.ok(err)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return 0, err.Error()
		}
		defer resp.Body.Close()
		body := make([]byte, 200)
		n, _ := resp.Body.Read(body)
		return resp.StatusCode, string(body[:n])
	}
	w.await("an answer", func() bool { code, _ := held(); return code == http.StatusServiceUnavailable })
	is(w, "db", "waited for", func(l *konductorv1.Lease) bool { return l.Status.Waiting == 1 })
	w.release(first)
	w.await("the hold", func() bool { code, _ := held(); return code == http.StatusOK })
	token := strconv.FormatInt(get[*konductorv1.Lease](w, "db").Status.FencingToken, 10)
	if _, body := held(); !strings.Contains(body, `"lease/db":`+token) {
		t.Errorf("the page says %s, want token %s", body, token)
	}
	p.signal(syscall.SIGTERM)
	p.exits(0)
	w.isFree("db")

	p = w.koncli("hold", "--lease", "db")
	p.says("acquired")
	_, err := w.someone("admin").BreakLease(w.ctx, "db")
	w.ok(err)
	p.exits(7)
}

// freeAddress returns an address at which nobody listens.
func (w *world) freeAddress() string {
	w.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	w.ok(err)
	defer l.Close()
	return l.Addr().String()
}

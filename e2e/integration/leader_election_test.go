package integration

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/leaderelection"
	clientresourcelock "k8s.io/client-go/tools/leaderelection/resourcelock"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	konductor "github.com/LogicIQ/konductor/sdk/go"
	"github.com/LogicIQ/konductor/sdk/go/resourcelock"
)

// electionLease is the lease of all elections.
const electionLease = "controller"

// electionCandidate is a candidate of an election: a lock on electionLease, with client-go's elector.
type electionCandidate struct {
	*pausableLock
	env     *testEnv
	stop    context.CancelFunc
	stopped chan struct{} // closed when the elector has ended

	mu      sync.Mutex
	leads   bool
	changed chan struct{} // closed and replaced when leads changes
	working context.Context
}

// pausableLock is a lock of an elector that a test can pause. To the API server the candidate is then a paused process.
type pausableLock struct {
	*resourcelock.Lock
	gate sync.RWMutex // write-locked: paused
}

func (l *pausableLock) Update(ctx context.Context, record clientresourcelock.LeaderElectionRecord) error {
	l.gate.RLock()
	defer l.gate.RUnlock()
	return l.Lock.Update(ctx, record)
}

// startCandidate starts an elector of the participant. It ends with the test, and then releases the lease.
func (w *testEnv) startCandidate(a *testParticipant, leaseDuration, renewDeadline time.Duration, opts ...resourcelock.Option) *electionCandidate {
	w.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.ctx))
	c := &electionCandidate{env: w, stop: cancel, stopped: make(chan struct{}), changed: make(chan struct{})}
	opts = append(opts, resourcelock.OnLost(func(error) { cancel() }))
	if a.name != "" {
		opts = append(opts, resourcelock.WithIdentity(a.name))
	}
	c.pausableLock = &pausableLock{Lock: resourcelock.New(a.Client, electionLease, opts...)}
	le, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: c, LeaseDuration: leaseDuration, RenewDeadline: renewDeadline, RetryPeriod: 500 * time.Millisecond, ReleaseOnCancel: true, Name: c.Identity(),
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(ctx context.Context) { c.setLeads(ctx, true) },
			OnStoppedLeading: func() { c.setLeads(context.Background(), false) },
		},
	})
	w.must(err)
	go func() {
		defer close(c.stopped)
		le.Run(ctx)
	}()
	w.Cleanup(func() {
		cancel()
		<-c.stopped
	})
	return c
}

func (c *electionCandidate) setLeads(working context.Context, leads bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leads, c.working = leads, working
	close(c.changed)
	c.changed = make(chan struct{})
}

// waitLeads waits until the candidate leads, and returns its fencing token and the context of its work.
func (c *electionCandidate) waitLeads() (token int64, working context.Context) {
	c.env.Helper()
	timer := time.NewTimer(waitTimeout)
	defer timer.Stop()
	for {
		c.mu.Lock()
		leads, working, changed := c.leads, c.working, c.changed
		c.mu.Unlock()
		if token, ok := c.Token(); ok && leads {
			return token, working
		}
		select {
		case <-changed:
		case <-timer.C:
			c.env.Fatalf("%s doesn't lead", c.Identity())
		}
	}
}

func electionHolder(w *testEnv) string {
	w.Helper()
	return getObject[*konductorv1.Lease](w, electionLease).Status.Holder
}

func TestLeaderElection(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	// Nobody has created the lease.
	a := w.startCandidate(w.newParticipant("a"), time.Minute, 40*time.Second)
	first, _ := a.waitLeads()
	lease := getObject[*konductorv1.Lease](w, electionLease)
	if lease.Spec.TTL.Or(0) != time.Minute || lease.Status.Holder != "a" || lease.Status.FencingToken != first {
		t.Errorf("the lease is %+v, %+v; the leader has token %d", lease.Spec, lease.Status, first)
	}
	checker := w.checkRevisions(konductorv1.KindLease, electionLease)
	b := w.startCandidate(w.newParticipant("b"), time.Minute, 40*time.Second)

	// A leader that ends by itself hands over long before its term would end.
	begin := time.Now()
	a.stop()
	w.waitClosed(a.stopped, "the end of the first leader")
	second, _ := b.waitLeads()
	if second <= first {
		t.Errorf("the second leader has token %d, after %d", second, first)
	}
	if took := time.Since(begin); took > 45*time.Second {
		t.Errorf("the handover took %s", took)
	}
	b.stop()
	w.waitClosed(b.stopped, "the end of the second leader")
	checker.waitIdle()
	if got, want := checker.grantedHolders(), []string{"a", "b"}; !slices.Equal(got, want) {
		t.Errorf("granted to %v, want %v", got, want)
	}
}

func TestPausedLeader(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	w.createLease(electionLease)
	checker := w.checkRevisions(konductorv1.KindLease, electionLease)
	const leaseDuration, renewDeadline = 10 * time.Second, 7 * time.Second
	a := w.startCandidate(w.newParticipant("a"), leaseDuration, renewDeadline)
	first, working := a.waitLeads()
	b := w.startCandidate(w.newParticipant("b"), leaseDuration, renewDeadline)

	a.gate.Lock()
	begin := time.Now()
	second, _ := b.waitLeads()
	if took := time.Since(begin); took < leaseDuration/2 {
		t.Errorf("the second leads %s after the first was paused", took)
	}
	if second <= first {
		t.Errorf("the second leader has token %d, after %d", second, first)
	}
	if token, ok := a.Token(); ok && token != first {
		t.Errorf("the paused leader has token %d, and had %d", token, first)
	}
	a.gate.Unlock()

	w.waitClosed(a.stopped, "the end of the paused leader")
	w.waitClosed(working.Done(), "the end of its work")
	if token, ok := a.Token(); ok {
		t.Errorf("it has token %d", token)
	}
	if holder := electionHolder(w); holder != "b" {
		t.Errorf("the lease is held by %q", holder)
	}
	b.stop()
	w.waitClosed(b.stopped, "the end of the second leader")
	checker.waitIdle()
	if got, want := checker.grantedHolders(), []string{"a", "b"}; !slices.Equal(got, want) {
		t.Errorf("granted to %v, want %v", got, want)
	}
}

// TestLeaderInPod: a leader in a Pod needs only the rights of a participant, and its term ends with its Pod. A leader whose
// hold is broken stops.
func TestLeaderInPod(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	w.createWorkerAccount()
	w.createLease(electionLease, konductor.WithTTL(time.Hour))
	checker := w.checkRevisions(konductorv1.KindLease, electionLease)
	a := w.startCandidate(w.newPodParticipant(w.createPod("controller-0")), time.Hour, time.Minute)
	first, _ := a.waitLeads()
	b := w.startCandidate(w.newParticipant("b"), time.Hour, time.Minute)
	w.setPodPhase("controller-0", corev1.PodFailed)
	second, working := b.waitLeads()
	if second <= first || electionHolder(w) != "b" {
		t.Errorf("the second leader has token %d, after %d, and the lease is held by %q", second, first, electionHolder(w))
	}
	w.waitClosed(a.stopped, "the end of the leader whose pod has failed")

	if _, err := w.newParticipant("admin").BreakLease(w.ctx, electionLease); err != nil {
		t.Fatal(err)
	}
	w.waitClosed(b.stopped, "the end of the leader whose hold was broken")
	w.waitClosed(working.Done(), "the end of its work")
	checker.waitIdle()
	if got, want := checker.grantedHolders(), []string{"controller-0", "b"}; !slices.Equal(got, want) {
		t.Errorf("granted to %v, want %v", got, want)
	}
}

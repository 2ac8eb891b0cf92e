package resourcelock

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	konductor "github.com/LogicIQ/konductor/sdk/go"
	"github.com/LogicIQ/konductor/sdk/go/internal/apitest"
)

// waitTimeout is how long a test waits for anything before it fails.
const waitTimeout = time.Minute

const leaseName = "leader"

// candidateRecord is the record with which an elector makes a candidate the leader.
func candidateRecord(identity string) resourcelock.LeaderElectionRecord {
	return resourcelock.LeaderElectionRecord{HolderIdentity: identity, LeaseDurationSeconds: 15}
}

func newServer(t *testing.T) *apitest.Server {
	t.Helper()
	server := apitest.NewServer(t)
	server.CreateLease(&konductorv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: leaseName}})
	return server
}

func newLock(t *testing.T, server *apitest.Server, identity string, opts ...Option) *Lock {
	t.Helper()
	client, err := konductor.New(server.Config(), konductor.InNamespace(apitest.Namespace))
	if err != nil {
		t.Fatal(err)
	}
	return New(client, leaseName, append(opts, WithIdentity(identity))...)
}

func mustUpdate(t *testing.T, l *Lock) {
	t.Helper()
	if err := l.Update(t.Context(), candidateRecord(l.Identity())); err != nil {
		t.Fatal(err)
	}
}

func mustToken(t *testing.T, l *Lock) int64 {
	t.Helper()
	token, ok := l.Token()
	if !ok {
		t.Fatalf("%s doesn't lead", l.Identity())
	}
	return token
}

func mustGet(t *testing.T, l *Lock) (*resourcelock.LeaderElectionRecord, string) {
	t.Helper()
	record, raw, err := l.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return record, string(raw)
}

func TestGet(t *testing.T) {
	server := newServer(t)
	a, b := newLock(t, server, "a"), newLock(t, server, "b")
	record, free := mustGet(t, b)
	if record.HolderIdentity != "" {
		t.Errorf("nobody leads, but the record is %+v", record)
	}
	mustUpdate(t, a)
	record, first := mustGet(t, a)
	if record.HolderIdentity != "a" || record.LeaseDurationSeconds != 15 || record.AcquireTime.IsZero() || record.RenewTime.IsZero() {
		t.Errorf("the leader's record is %+v", record)
	}
	if record, _ := mustGet(t, b); record.HolderIdentity != "a" || record.LeaseDurationSeconds != int(konductorv1.DefaultTTL/time.Second) {
		t.Errorf("the record of another, who can't know the ttl, is %+v", record)
	}
	mustUpdate(t, a)
	_, renewed := mustGet(t, a)
	if free == first || first == renewed {
		t.Errorf("the elector can't tell these apart:\n%s\n%s\n%s", free, first, renewed)
	}
	server.DeleteLease(leaseName)
	if _, _, err := a.Get(t.Context()); !apierrors.IsNotFound(err) {
		t.Errorf("without a lease: got error %v", err)
	}
}

func TestCreate(t *testing.T) {
	server := apitest.NewServer(t)
	a, b := newLock(t, server, "a"), newLock(t, server, "b")
	if err := a.Create(t.Context(), candidateRecord("a")); err != nil {
		t.Fatal(err)
	}
	lease := server.Lease(leaseName)
	if lease.Spec.TTL.Or(0) != 15*time.Second || lease.Status.Holder != "a" || lease.Status.FencingToken != mustToken(t, a) {
		t.Errorf("the lease is %+v", lease)
	}
	if record, _ := mustGet(t, b); record.LeaseDurationSeconds != 15 {
		t.Errorf("the record of another is %+v", record)
	}
	// Another created it first, and leads.
	var busy *konductor.BusyError
	if err := b.Create(t.Context(), candidateRecord("b")); !errors.As(err, &busy) {
		t.Errorf("got error %v", err)
	}
}

func TestUpdate(t *testing.T) {
	server := newServer(t)
	a, b := newLock(t, server, "a"), newLock(t, server, "b")
	if err := a.Update(t.Context(), candidateRecord("b")); err == nil {
		t.Error("a candidate has made another the leader")
	}
	if err := a.Update(t.Context(), resourcelock.LeaderElectionRecord{HolderIdentity: "a"}); err == nil {
		t.Error("it leads for no time")
	}
	mustUpdate(t, a)
	first := mustToken(t, a)
	mustUpdate(t, a)
	if mustToken(t, a) != first || server.Lease(leaseName).Status.Renewals < 2 {
		t.Errorf("the term was not renewed: %+v", server.Lease(leaseName).Status.Holder)
	}

	// A candidate that has seen the leader creates no claim.
	mustGet(t, b)
	before := len(server.Writes())
	if err := b.Update(t.Context(), candidateRecord("b")); err == nil || err.Error() != "lease/leader is held by a" {
		t.Errorf("got error %v", err)
	}
	if writes := server.Writes()[before:]; len(writes) > 0 {
		t.Errorf("it has written %v", writes)
	}
	if err := b.Update(t.Context(), resourcelock.LeaderElectionRecord{}); err != nil || server.Lease(leaseName).Status.Holder != "a" {
		t.Errorf("the release of a candidate that doesn't lead returns %v, and the leader is %q", err, server.Lease(leaseName).Status.Holder)
	}

	if err := a.Update(t.Context(), resourcelock.LeaderElectionRecord{LeaseDurationSeconds: 1}); err != nil {
		t.Error(err)
	}
	if _, ok := a.Token(); ok || server.Lease(leaseName).Status.Holder != "" {
		t.Errorf("after the release: %+v", server.Lease(leaseName).Status.Holder)
	}
	mustGet(t, b)
	mustUpdate(t, b)
	if token := mustToken(t, b); token <= first {
		t.Errorf("the next term has token %d, after %d", token, first)
	}
}

// TestLostTerm: a leader whose term has ended gets no other term before it has stopped, even if the lease is free.
func TestLostTerm(t *testing.T) {
	server := newServer(t)
	var reported []error
	a := newLock(t, server, "a", OnLost(func(err error) { reported = append(reported, err) }))
	mustUpdate(t, a)
	first := mustToken(t, a)
	server.Expire(leaseName)
	for i, err := range []error{
		a.Update(t.Context(), candidateRecord("a")), a.Update(t.Context(), candidateRecord("a")),
		a.Create(t.Context(), candidateRecord("a")), a.Update(t.Context(), resourcelock.LeaderElectionRecord{}),
	} {
		var lost *konductor.LostError
		if !errors.As(err, &lost) {
			t.Errorf("call %d: got error %v", i, err)
		}
	}
	if _, ok := a.Token(); ok || server.Lease(leaseName).Status.Holder != "" {
		t.Errorf("it leads on: %+v", server.Lease(leaseName).Status.Holder)
	}
	if len(reported) != 1 || reported[0].Error() != "the hold on lease/leader was lost: it was not renewed in time" {
		t.Errorf("reported as lost: %v", reported)
	}
	a.RecordEvent("became leader")
	if err := a.Update(t.Context(), candidateRecord("a")); err == nil {
		t.Error("it leads again, and has not stopped")
	}
	a.RecordEvent(stoppedLeading)
	mustUpdate(t, a)
	if token := mustToken(t, a); token <= first {
		t.Errorf("the next term has token %d, after %d", token, first)
	}
}

// TestRestart: a process that was restarted finds its term again, if it has the same identity.
func TestRestart(t *testing.T) {
	server := newServer(t)
	before, after := newLock(t, server, "a"), newLock(t, server, "a")
	mustUpdate(t, before)
	if record, _ := mustGet(t, after); record.HolderIdentity != "a" {
		t.Fatalf("the record is %+v", record)
	}
	mustUpdate(t, after)
	if mustToken(t, before) != mustToken(t, after) {
		t.Error("it has another token")
	}
}

// TestSlowRenewal: a renewal that is answered late would let the elector lead until after the end of the term.
func TestSlowRenewal(t *testing.T) {
	server := newServer(t)
	a := newLock(t, server, "a")
	mustUpdate(t, a)
	const late = 1500*time.Millisecond + 100*time.Millisecond // more than a tenth of 15 s
	server.BeforeRequest(func(req *http.Request) {
		if req.Method == http.MethodPatch {
			<-time.After(late)
		}
	})
	if err := a.Update(t.Context(), candidateRecord("a")); err == nil || !strings.Contains(err.Error(), "took too long") {
		t.Errorf("got error %v", err)
	}
	server.BeforeRequest(nil)
	mustUpdate(t, a)
	mustToken(t, a)
}

func TestIdentity(t *testing.T) {
	server := newServer(t)
	a, b := newLock(t, server, ""), newLock(t, server, "")
	if a.Identity() == "" || a.Identity() == b.Identity() {
		t.Errorf("two candidates are %q and %q", a.Identity(), b.Identity())
	}
	if got, want := a.Describe(), "lease.konductor.io etl/leader"; got != want {
		t.Errorf("the lock is %q, want %q", got, want)
	}
}

// elector is a candidate with client-go's elector.
type elector struct {
	*pausableLock
	stop    context.CancelFunc
	stopped chan struct{}

	mu      sync.Mutex
	leads   bool
	changed chan struct{} // closed when leads changes
}

// pausableLock blocks Update while it is paused, as if the process were.
type pausableLock struct {
	*Lock
	gate sync.RWMutex // write-locked: paused
}

func (l *pausableLock) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	l.gate.RLock()
	defer l.gate.RUnlock()
	return l.Lock.Update(ctx, record)
}

// startElector starts a candidate. Its elector stops with the test, and releases the lease.
func startElector(t *testing.T, server *apitest.Server, identity string, renewDeadline time.Duration, opts ...Option) *elector {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	e := &elector{pausableLock: &pausableLock{Lock: newLock(t, server, identity, opts...)}, stop: cancel, stopped: make(chan struct{}), changed: make(chan struct{})}
	set := func(leads bool) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.leads = leads
		close(e.changed)
		e.changed = make(chan struct{})
	}
	le, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: e, LeaseDuration: 15 * time.Second, RenewDeadline: renewDeadline, RetryPeriod: 20 * time.Millisecond, ReleaseOnCancel: true, Name: identity,
		Callbacks: leaderelection.LeaderCallbacks{OnStartedLeading: func(context.Context) { set(true) }, OnStoppedLeading: func() { set(false) }},
	})
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(e.stopped)
		le.Run(ctx)
	}()
	t.Cleanup(func() {
		e.stop()
		<-e.stopped
	})
	return e
}

// waitLeads waits until the candidate leads or, if not leads, until it doesn't.
func (e *elector) waitLeads(t *testing.T, leads bool) {
	t.Helper()
	timer := time.NewTimer(waitTimeout)
	defer timer.Stop()
	for {
		e.mu.Lock()
		now, changed := e.leads, e.changed
		e.mu.Unlock()
		if now == leads {
			return
		}
		select {
		case <-changed:
		case <-timer.C:
			t.Fatalf("%s leads: %t", e.Identity(), now)
		}
	}
}

func TestElectorsHandOver(t *testing.T) {
	server := apitest.NewServer(t) // without a lease
	a := startElector(t, server, "a", 10*time.Second)
	a.waitLeads(t, true)
	first := mustToken(t, a.Lock)
	b := startElector(t, server, "b", 10*time.Second)
	a.stop()
	b.waitLeads(t, true)
	if token := mustToken(t, b.Lock); token <= first || server.Lease(leaseName).Status.Holder != "b" {
		t.Errorf("the second leader has token %d, after %d, and the lease has holder %q", token, first, server.Lease(leaseName).Status.Holder)
	}
	a.waitLeads(t, false)
}

// TestPausedLeader: a leader is paused until its term has ended and another leads. It stops when it resumes, and doesn't take
// the lease back.
func TestPausedLeader(t *testing.T) {
	server := newServer(t)
	lost := make(chan error, 1)
	var a *elector
	a = startElector(t, server, "a", 10*time.Second, OnLost(func(err error) { lost <- err; a.stop() }))
	a.waitLeads(t, true)
	first := mustToken(t, a.Lock)
	b := startElector(t, server, "b", 10*time.Second)
	a.gate.Lock()
	server.Expire(leaseName)
	b.waitLeads(t, true)
	second := mustToken(t, b.Lock)
	if second <= first {
		t.Errorf("the second leader has token %d, after %d", second, first)
	}
	a.gate.Unlock()
	a.waitLeads(t, false)
	<-a.stopped
	var lostErr *konductor.LostError
	if err := <-lost; !errors.As(err, &lostErr) {
		t.Errorf("reported as lost: %v", err)
	}
	if _, ok := a.Token(); ok || server.Lease(leaseName).Status.FencingToken != second {
		t.Errorf("it leads again: %+v", server.Lease(leaseName).Status)
	}
}

// TestFreeLeaseDoesNotKeepElector: the term of a leader has ended, and nobody else wants to lead. The elector stops even
// though it could acquire the lease.
func TestFreeLeaseDoesNotKeepElector(t *testing.T) {
	server := newServer(t)
	a := startElector(t, server, "a", 2*time.Second)
	a.waitLeads(t, true)
	server.Expire(leaseName)
	<-a.stopped
	a.waitLeads(t, false)
	if server.Lease(leaseName).Status.Holder != "" {
		t.Errorf("it leads again: %+v", server.Lease(leaseName).Status)
	}
	if slices.Contains(server.Writes(), "DELETE leases/"+leaseName) {
		t.Error("the lease was deleted")
	}
}

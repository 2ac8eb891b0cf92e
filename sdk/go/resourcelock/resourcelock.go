// Package resourcelock elects a leader with a Lease of Konductor, for client-go's leader election and for controllers that
// use controller-runtime.
//
//	ctx, cancel := context.WithCancel(ctrl.SetupSignalHandler())
//	defer cancel()
//	lock := resourcelock.New(client, "my-controller", resourcelock.OnLost(func(error) { cancel() }))
//	manager, err := ctrl.NewManager(config, ctrl.Options{
//		LeaderElection: true, LeaderElectionResourceLockInterface: lock, LeaderElectionReleaseOnCancel: true,
//	})
//	err = manager.Start(ctx)
//
// Unlike with a Lease of coordination.k8s.io, the operator decides when a term has ended, and no candidate compares its
// clock with the times that another has written. Each term has a fencing token that is larger than those of all terms before
// it. A leader that was paused can't renew its term once it has ended, so it stops leading when it resumes. Until it notices,
// only a check of the token at the resource stops it: pass Token along with what the leader writes.
//
// The leader must have stopped before its term ends. An elector that can't renew stops RetryPeriod and RenewDeadline after
// its last renewal, so both together must be at most eight tenths of LeaseDuration. The usual 2 s, 10 s and 15 s are.
package resourcelock

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// Lock is the lock of one candidate on a Lease. It implements the Interface of client-go's resourcelock, whose methods only
// the elector calls. Use one Lock for one elector.
type Lock struct {
	client         *konductor.Client
	name, identity string
	onLost         func(error)

	term atomic.Pointer[konductor.Hold] // nil: this candidate doesn't lead

	mu sync.Mutex
	// leading says that the elector leads: it has acquired, and has not yet recorded that it has stopped.
	leading bool
	// lost is why the term has ended, while the elector leads on. It is nil once the elector has stopped.
	lost error
	// observedHolder is the holder that the elector has seen last; empty: none.
	observedHolder string
}

var _ resourcelock.Interface = (*Lock)(nil)

// Option configures a Lock.
type Option func(*Lock)

// WithIdentity sets the name of the candidate. No two processes may have the same name, unless they are in different Pods:
// they would be one holder, and both lead. By default it is the client's Holder: in a Pod the Pod's name, so that a restarted
// container finds its term again; elsewhere the host's name, with a random suffix.
func WithIdentity(name string) Option {
	return func(l *Lock) { l.identity = name }
}

// OnLost makes the Lock call lost when it finds out that the term of this leader has ended, for example because the leader
// was paused or the lease was broken. An elector by itself goes on until RenewDeadline has passed, and stops at once if lost
// cancels its context. The error is a *konductor.LostError.
func OnLost(lost func(error)) Option {
	return func(l *Lock) { l.onLost = lost }
}

// New returns the lock of a candidate on the Lease of that name. The TTL of a term is the LeaseDuration of the elector, in
// whole seconds.
//
// If the Lease doesn't exist, the elector creates it, which needs the right to create leases.konductor.io. Otherwise the
// rights of a participant are enough.
func New(client *konductor.Client, name string, opts ...Option) *Lock {
	l := &Lock{client: client, name: name, onLost: func(error) {}}
	for _, o := range opts {
		o(l)
	}
	if l.identity == "" {
		l.identity = client.Holder()
		if client.Pod() == "" {
			const suffix = 6
			l.identity += "/" + strings.ToLower(rand.Text()[:suffix])
		}
	}
	return l
}

// Token returns the fencing token of this candidate's term. ok is false if it doesn't lead. It stays true until the elector
// finds out that the term has ended.
func (l *Lock) Token() (token int64, ok bool) {
	term := l.term.Load()
	if term == nil {
		return 0, false
	}
	return term.Token(), true
}

// Identity returns the name of this candidate.
func (l *Lock) Identity() string { return l.identity }

// Describe names the Lease for the elector's log.
func (l *Lock) Describe() string {
	return fmt.Sprintf("lease.%s %s/%s", konductorv1.GroupName, l.client.Namespace(), l.name)
}

// RecordEvent learns that the elector has stopped leading. The operator itself records Events of the Lease.
func (l *Lock) RecordEvent(event string) {
	if event != stoppedLeading {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leading, l.lost = false, nil
	l.term.Store(nil)
}

// stoppedLeading is the event that the elector records once it no longer leads.
const stoppedLeading = "stopped leading"

// record is what Get returns as raw bytes. They change with each term, and when a term is renewed.
type record struct {
	resourcelock.LeaderElectionRecord `json:",inline"`
	// FencingToken is the number of the term, and Renewals is how often it has been renewed.
	FencingToken int64 `json:"fencingToken"`
	Renewals     int64 `json:"renewals"`
}

// Get returns who leads, from the status of the Lease. HolderIdentity is empty if nobody does. For a Lease that doesn't
// exist, apierrors.IsNotFound is true. LeaderTransitions is always 0: the fencing token says more.
func (l *Lock) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	lease, err := l.client.GetLease(ctx, l.name)
	if err != nil {
		return nil, nil, err
	}
	r := record{FencingToken: lease.Status.FencingToken}
	for _, holder := range lease.Status.Holders() {
		ttl := l.ttlOf(lease)
		r.HolderIdentity, r.LeaseDurationSeconds, r.AcquireTime, r.Renewals = holder.Name, int(ttl/time.Second), toTime(holder.AcquiredAt), holder.Renewals
		if r.RenewTime = r.AcquireTime; holder.ExpiresAt != nil && holder.Renewals > 0 {
			r.RenewTime = metav1.NewTime(holder.ExpiresAt.Add(-ttl))
		}
	}
	l.mu.Lock()
	l.observedHolder = r.HolderIdentity
	l.mu.Unlock()
	raw, err := json.Marshal(r)
	return &r.LeaderElectionRecord, raw, err
}

// ttlOf returns the TTL of the current term. The status of the Lease doesn't have it. If the TTL is neither that of this
// candidate's own term nor in the spec, it is the longest that a hold has by default: the elector only measures with it how
// long the record may stay the same before it asks the operator.
func (l *Lock) ttlOf(lease *konductorv1.Lease) time.Duration {
	if term := l.term.Load(); term != nil && term.Token() == lease.Status.FencingToken && term.TTL() > 0 {
		return term.TTL()
	}
	return lease.Spec.TTL.Or(konductorv1.DefaultTTL)
}

func toTime(t metav1.MicroTime) metav1.Time { return metav1.NewTime(t.Time) }

// Create creates the Lease, unless it exists by now, and acquires it. The spec gets the duration of the record as its TTL.
func (l *Lock) Create(ctx context.Context, wanted resourcelock.LeaderElectionRecord) error {
	l.mu.Lock()
	lost := l.lost
	l.observedHolder = ""
	l.mu.Unlock()
	if lost != nil {
		return lost
	}
	if _, err := l.client.CreateLease(ctx, l.name, konductor.WithTTL(ttlOfRecord(wanted))); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	return l.Update(ctx, wanted)
}

// Update renews this candidate's term, or acquires the Lease if nobody holds it. If the record names no holder, Update
// releases the Lease.
//
// If the term of a leader has ended, Update returns an error until the elector has stopped leading. So an elector never
// leads on with another term: there may have been other leaders in between.
func (l *Lock) Update(ctx context.Context, wanted resourcelock.LeaderElectionRecord) error {
	l.mu.Lock()
	before := l.lost
	err := l.update(ctx, wanted)
	lost := l.lost
	l.mu.Unlock()
	if before == nil && lost != nil {
		l.onLost(lost)
	}
	return err
}

func (l *Lock) update(ctx context.Context, wanted resourcelock.LeaderElectionRecord) error {
	switch {
	case wanted.HolderIdentity == "":
		return l.release(ctx)
	case wanted.HolderIdentity != l.identity:
		return fmt.Errorf("%s can't make %s the leader", l.identity, wanted.HolderIdentity)
	case l.lost != nil:
		return l.lost
	}
	if l.term.Load() == nil {
		if err := l.acquire(ctx, ttlOfRecord(wanted)); err != nil {
			return err
		}
		if l.isFresh() {
			l.leading = true
			return nil
		}
	}
	if err := l.renew(ctx); err != nil {
		return err
	}
	l.leading = true
	return nil
}

func ttlOfRecord(r resourcelock.LeaderElectionRecord) time.Duration {
	return time.Duration(r.LeaseDurationSeconds) * time.Second
}

// acquire begins a term if the operator grants the Lease at once.
func (l *Lock) acquire(ctx context.Context, ttl time.Duration) error {
	if ttl < konductorv1.MinTTL {
		return fmt.Errorf("the LeaseDuration of the elector must be at least %s", konductorv1.MinTTL)
	}
	if l.observedHolder != "" && l.observedHolder != l.identity {
		// A claim would only be refused.
		return fmt.Errorf("lease/%s is held by %s", l.name, l.observedHolder)
	}
	// The elector renews, and nothing else does: one that hangs must not go on leading.
	term, err := l.client.AcquireLease(ctx, l.name, konductor.WithHolder(l.identity), konductor.WithTTL(ttl), konductor.WithTimeout(0), konductor.Detached())
	if err != nil {
		return err
	}
	l.term.Store(term)
	return nil
}

// renew renews the term.
func (l *Lock) renew(ctx context.Context) error {
	err := l.term.Load().Renew(ctx)
	if lost := (*konductor.LostError)(nil); errors.As(err, &lost) {
		l.term.Store(nil)
		if l.leading {
			l.lost = err
		}
	}
	if err == nil && !l.isFresh() {
		return fmt.Errorf("renewing lease/%s took too long to lead for another RenewDeadline", l.name)
	}
	return err
}

// isFresh reports whether the term was renewed so recently that an elector which counts from now on stops in time. Only a
// tenth of the TTL, besides the margin that a hold's deadline has, may have passed since the renewal was sent.
func (l *Lock) isFresh() bool {
	term := l.term.Load()
	deadline, ok := term.Deadline()
	return !ok || time.Until(deadline) >= term.TTL()*8/10
}

// release ends the term. For an elector that didn't know that the term has ended, it returns why.
func (l *Lock) release(ctx context.Context) error {
	term := l.term.Swap(nil)
	if term == nil {
		return l.lost
	}
	return term.Release(ctx)
}

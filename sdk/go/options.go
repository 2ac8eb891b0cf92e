package konductor

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// Option changes one call. A call ignores the options that it has no use for.
type Option func(*options)

type options struct {
	holder          string
	timeout         time.Duration
	hasTimeout      bool
	failIfMissing   bool
	ttl             time.Duration
	defaultTTL      time.Duration
	priority        int32
	permits         int32
	detached        bool
	stopWithin      time.Duration
	onRenewal       func(*Hold)
	arriveFailed    bool
	failedReason    string
	quorum          int32
	expireAfter     time.Duration
	timeOutAfter    time.Duration
	dryRun          []string
	onlyClaims      []types.UID
	onlyUID         types.UID
	unlessHeld      bool
	onlyFromPermits *int32
}

func applyOptions(opts []Option) options {
	o := options{permits: 1}
	for _, set := range opts {
		set(&o)
	}
	return o
}

// WithHolder sets the name under which to acquire or to arrive, instead of the Pod's, its Job's or the host's: 1 to 320
// bytes, without control characters and without <, > and &.
func WithHolder(name string) Option { return func(o *options) { o.holder = name } }

// WithTimeout limits the duration of the whole call, including the wait for an object that doesn't exist yet. As in kubectl
// wait, zero checks once and doesn't wait. A negative timeout is no limit, which is also the default.
func WithTimeout(d time.Duration) Option {
	return func(o *options) { o.timeout, o.hasTimeout = d, d >= 0 }
}

// FailIfMissing makes a call return a *NotFoundError if the object doesn't exist, instead of waiting for it.
func FailIfMissing() Option { return func(o *options) { o.failIfMissing = true } }

// WithTTL sets how long a hold lasts without renewal, at least 1 s. For a created Lease or Semaphore it is the default of
// its holds.
func WithTTL(d time.Duration) Option { return func(o *options) { o.ttl = d } }

// WithDefaultTTL sets the TTL, at least 1 s, of a hold that gets none from WithTTL or the object and is bound to no Pod.
// Without it such a hold lasts 10 minutes.
func WithDefaultTTL(d time.Duration) Option { return func(o *options) { o.defaultTTL = d } }

// WithPriority sets the priority in the queue, from -1 000 000 to 1 000 000; 0 by default. Claims of higher priority are
// served first.
func WithPriority(p int32) Option { return func(o *options) { o.priority = p } }

// WithPermits sets how many permits of a semaphore to acquire, all at the same time; 1 by default.
func WithPermits(n int32) Option { return func(o *options) { o.permits = n } }

// Detached leaves the hold in place when the process ends. Nothing renews or watches it in the background, so Hold.Lost
// stays open unless Hold.Renew finds it lost. The hold lasts until it is released, its TTL passes, or its Pod ends.
func Detached() Option { return func(o *options) { o.detached = true } }

// StopWithin sets how long the work takes to stop when the hold is lost. The hold counts as lost that much earlier, so that
// the work has stopped before another can hold. It is at most half of the TTL; otherwise the acquire returns a *TTLError.
// With or without it, a tenth of the TTL is left as a margin.
func StopWithin(d time.Duration) Option { return func(o *options) { o.stopWithin = d } }

// OnRenewal makes the hold call renewed each time its deadline has moved. The function must not block, since it runs in the
// goroutine that renews the hold.
func OnRenewal(renewed func(*Hold)) Option { return func(o *options) { o.onRenewal = renewed } }

// AsFailed makes ArriveBarrier report the participant as failed: it can't do its part. The reason is for people and may be
// empty.
func AsFailed(reason string) Option {
	return func(o *options) { o.arriveFailed, o.failedReason = true, reason }
}

// WithQuorum makes a created barrier open when n participants have arrived instead of all.
func WithQuorum(n int32) Option { return func(o *options) { o.quorum = n } }

// ExpireAfter makes the operator delete a created barrier or gate that long after it opened, failed or timed out.
func ExpireAfter(d time.Duration) Option { return func(o *options) { o.expireAfter = d } }

// TimeOutAfter makes a created barrier or gate time out that long after its creation.
func TimeOutAfter(d time.Duration) Option { return func(o *options) { o.timeOutAfter = d } }

// OnlyClaims limits a break to the holds of these Claims, so that it breaks only holds that the caller has seen. A client
// that has acquired the lease or a permit since then keeps it, even under the same name.
func OnlyClaims(uids ...types.UID) Option {
	return func(o *options) { o.onlyClaims = append([]types.UID{}, uids...) }
}

// OnlyUID limits a call to the object with that UID, so that it acts on the object that the caller has seen. If another
// object has the name by now, the call does nothing and returns a *NotFoundError.
func OnlyUID(uid types.UID) Option { return func(o *options) { o.onlyUID = uid } }

// UnlessHeld makes the deletion of a lease or semaphore return a *BusyError, and delete nothing, if it is held.
func UnlessHeld() Option { return func(o *options) { o.unlessHeld = true } }

// OnlyFromPermits makes ResizeSemaphore return an error, and change nothing, unless the semaphore has n permits.
func OnlyFromPermits(n int32) Option { return func(o *options) { o.onlyFromPermits = &n } }

// DryRun makes the API server check a write without persisting it.
func DryRun() Option { return func(o *options) { o.dryRun = []string{"All"} } }

// durationOrNil returns d as an API field, or nil for zero.
func durationOrNil(d time.Duration) *konductorv1.Duration {
	if d == 0 {
		return nil
	}
	return konductorv1.NewDuration(d)
}

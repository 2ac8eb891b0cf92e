package konductor

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// Option changes one call. An option that a call has no use for is ignored.
type Option func(*options)

type options struct {
	holder        string
	timeout       time.Duration
	hasTimeout    bool
	failIfMissing bool
	ttl           time.Duration
	defaultTTL    time.Duration
	priority      int32
	permits       int32
	detached      bool
	stopWithin    time.Duration
	renewed       func(*Hold)
	failed        bool
	reason        string
	quorum        int32
	expireAfter   time.Duration
	waitAtMost    time.Duration
	dryRun        []string
	claims        []types.UID
}

func collect(opts []Option) options {
	o := options{permits: 1}
	for _, set := range opts {
		set(&o)
	}
	return o
}

// WithHolder gives the name under which to acquire or to arrive, instead of the Pod's, its Job's or the host's. 1 to 320
// bytes, without control characters and without <, > and &.
func WithHolder(name string) Option { return func(o *options) { o.holder = name } }

// WithTimeout bounds the whole call, waiting for an object that doesn't exist yet included. As in kubectl wait, zero
// looks once and doesn't wait, and a negative timeout is no limit, which is also the default.
func WithTimeout(d time.Duration) Option {
	return func(o *options) { o.timeout, o.hasTimeout = d, d >= 0 }
}

// FailIfMissing makes a wait end with a *NotFoundError when the object doesn't exist, instead of waiting for it.
func FailIfMissing() Option { return func(o *options) { o.failIfMissing = true } }

// WithTTL sets how long a hold lasts without renewal. For a created Lease or Semaphore it is the default of its holds.
// Longer than zero.
func WithTTL(d time.Duration) Option { return func(o *options) { o.ttl = d } }

// WithDefaultTTL is WithTTL for a hold that nothing else gives a TTL: neither the object nor a Pod that it is bound to.
// Without it such a hold lasts 10 minutes.
func WithDefaultTTL(d time.Duration) Option { return func(o *options) { o.defaultTTL = d } }

// WithPriority puts the claim before all of lower priority; -1 000 000 to 1 000 000, 0 by default.
func WithPriority(p int32) Option { return func(o *options) { o.priority = p } }

// WithPermits asks for n permits of a semaphore, all at the same time; 1 by default.
func WithPermits(n int32) Option { return func(o *options) { o.permits = n } }

// Detached leaves the hold behind when the process ends: nothing renews it or watches over it, and Hold.Lost stays
// open. It lasts until it is released, its TTL runs out, or its Pod ends.
func Detached() Option { return func(o *options) { o.detached = true } }

// StopWithin says how long the work takes to end once it is told to. The hold then counts as lost that much earlier, so
// that the work has ended before another can hold. At most half of the TTL, else the acquire returns a *TTLError. Without
// it a tenth of the TTL is left.
func StopWithin(d time.Duration) Option { return func(o *options) { o.stopWithin = d } }

// OnRenewal makes the hold call renewed each time its deadline has moved. The call must not block: it is made by what
// renews the hold.
func OnRenewal(renewed func(*Hold)) Option { return func(o *options) { o.renewed = renewed } }

// AsFailed arrives at a barrier as one that can't do its part; the reason is for people and may be empty.
func AsFailed(reason string) Option {
	return func(o *options) { o.failed, o.reason = true, reason }
}

// WithQuorum makes a created barrier open when n participants have arrived instead of all.
func WithQuorum(n int32) Option { return func(o *options) { o.quorum = n } }

// ExpireAfter makes a created barrier or gate be deleted that long after it opened, failed or timed out.
func ExpireAfter(d time.Duration) Option { return func(o *options) { o.expireAfter = d } }

// TimeOutAfter makes a created barrier or gate stop waiting that long after its creation.
func TimeOutAfter(d time.Duration) Option { return func(o *options) { o.waitAtMost = d } }

// OnlyClaims makes a break take away only the holds of these Claims, so that what was looked at is what is broken. Whoever
// has got the lease or a permit since, even under the same name, keeps it.
func OnlyClaims(uids ...types.UID) Option {
	return func(o *options) { o.claims = append([]types.UID{}, uids...) }
}

// DryRun makes the API server check a write without keeping it.
func DryRun() Option { return func(o *options) { o.dryRun = []string{"All"} } }

// duration returns d as an API field, or nil for zero.
func duration(d time.Duration) *konductorv1.Duration {
	if d == 0 {
		return nil
	}
	return konductorv1.NewDuration(d)
}

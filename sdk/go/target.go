package konductor

import (
	"context"
	"maps"
	"sync"
	"time"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

const (
	// recallFor is for how long a Client goes by what it has read of a lease or semaphore: who acquires many times a second
	// need not ask each time what it is.
	recallFor = 5 * time.Second
	// glance is for how long a lease that seems to be free is watched itself.
	glance = 500 * time.Millisecond
)

// target is the Lease or Semaphore that a claim is on.
type target struct {
	kind, name string
	ttl        *konductorv1.Duration
	object     object
	free       bool // a lease that nobody held or waited for when it was last looked at
	recalled   bool // read some time ago
	readAt     time.Time
}

func (t target) ref() string { return ref(t.kind, t.name) }

func (t target) claimTarget() konductorv1.ClaimTarget {
	return konductorv1.ClaimTarget{Kind: t.kind, Name: t.name}
}

// findTarget waits until the Lease or Semaphore exists. It returns a *TTLError when its ttl leaves no time to work.
func (c *Client) findTarget(ctx context.Context, kind, name string, o options) (target, error) {
	t := target{kind: kind, name: name}
	err := waitFor(ctx, c, c.objects.targets[kind], kind, name, o, func(obj *targetObject) (bool, string, error) {
		t.object, t.ttl, t.readAt = obj, obj.Spec.TTL, time.Now()
		t.free = kind == konductorv1.KindLease && obj.Status.Phase == konductorv1.LeaseAvailable && obj.Status.Waiting == 0
		return true, "", nil
	})
	if err != nil {
		return t, err
	}
	return t, c.checkTTL(t, o)
}

// recallTarget does the same, but goes by what it has read a moment ago. When that is not true any more, the claim that is
// made by it ends at once, with a *NotFoundError.
func (c *Client) recallTarget(ctx context.Context, kind, name string, o options) (target, error) {
	if t, ok := c.targets.recall(kind, name); ok {
		return t, c.checkTTL(t, o)
	}
	return c.findTarget(ctx, kind, name, o)
}

func (c *Client) checkTTL(t target, o options) error {
	if ttl := c.ttl(t, o).Or(0); ttl > 0 && o.stopWithin > ttl/2 {
		return &TTLError{Object: t.ref(), TTL: ttl, StopWithin: o.stopWithin}
	}
	return nil
}

// targets is what a Client knows of leases and semaphores. The zero value knows nothing.
type targets struct {
	mu   sync.Mutex
	seen map[string]target // by ref
}

// recall returns what was read of an object if that is not long ago.
func (k *targets) recall(kind, name string) (target, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	t, ok := k.seen[ref(kind, name)]
	t.recalled = true
	return t, ok && t.young()
}

func (t target) young() bool { return time.Since(t.readAt) < recallFor }

// remember keeps t until it is too old.
func (k *targets) remember(t target) {
	k.mu.Lock()
	defer k.mu.Unlock()
	maps.DeleteFunc(k.seen, func(_ string, old target) bool { return !old.young() })
	if !t.young() {
		return
	}
	if k.seen == nil {
		k.seen = map[string]target{}
	}
	k.seen[t.ref()] = t
}

func (k *targets) forget(t target) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.seen, t.ref())
}

// awaitHolder watches a lease that seems to be free, until somebody holds it, and returns the claim as granted if that is
// ours; nil: only the operator's answer to the claim can tell. The lease is where the grant is made, and the answer is
// written after that, so that this saves the time of one write. It is no way to queue: a release would have to be
// told to everybody who waits. fresh says that the claim is new, so that whatever happens to the lease comes after it.
func (c *Client) awaitHolder(ctx context.Context, t *target, claim *konductorv1.Claim, fresh bool) *konductorv1.Claim {
	// Who is bound to no Pod has to acknowledge the grant, which takes an answer to the claim.
	if !t.free || !fresh || claim.Spec.BoundTo == nil || claim.Status.Phase != konductorv1.ClaimPending {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, glance)
	defer cancel()
	var granted *konductorv1.Claim
	t.free = false
	_ = followFrom(ctx, c, c.objects.targets[t.kind], t.name, claim.ResourceVersion, func(lease *targetObject) (bool, error) {
		if lease == nil || lease.UID != t.object.GetUID() || lease.Status.ClaimUID != claim.UID {
			return lease == nil || lease.Status.ClaimUID != "", nil
		}
		granted = claim.DeepCopy()
		granted.Status.Phase, granted.Status.FencingToken = konductorv1.ClaimGranted, lease.Status.FencingToken
		// It is being written to just now.
		granted.ResourceVersion = ""
		t.free = true
		return true, nil
	}) // whatever goes wrong here, the claim is asked next
	return granted
}

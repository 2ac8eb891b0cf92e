package rules

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// newHolderEntry returns the status entry of a grant to the claim.
func (c *Claim) newHolderEntry(token int64, defaultTTL time.Duration, now Instant) konductorv1.Holder {
	h := konductorv1.Holder{
		Name: c.Holder, Claim: c.Name, ClaimUID: c.UID, Permits: c.Permits,
		FencingToken: token, AcquiredAt: *newMicroTime(now.ServerTime), Job: c.Job,
	}
	if ttl := c.effectiveTTL(defaultTTL); ttl > 0 {
		h.ExpiresAt = newMicroTime(now.ServerTime.Add(ttl))
	}
	return h
}

// refreshHolderTimes updates ExpiresAt and Renewals of h, which people read, when they are off by more than a little:
// writing each small change would cost more than it is worth.
func (c *Claim) refreshHolderTimes(h konductorv1.Holder, defaultTTL time.Duration, now Instant) konductorv1.Holder {
	ttl := c.effectiveTTL(defaultTTL)
	if ttl == 0 {
		h.ExpiresAt, h.Renewals = nil, c.Renewals
		return h
	}
	expires := now.ServerTime.Add(c.LastObservedRenewal + ttl - now.Monotonic)
	off := expires.Sub(timeOrZero(h.ExpiresAt)).Abs()
	const clockNoise = 5 * time.Second
	if (c.Renewals != h.Renewals && off > ttl/10) || off > max(ttl/2, clockNoise) {
		h.ExpiresAt, h.Renewals = newMicroTime(expires), c.Renewals
	}
	return h
}

// effectiveTTL returns how long the hold lasts without renewal; zero: as long as the Pod or Job that it is bound to. Nobody
// renews the hold of a Job, or of a Pod that the operator holds.
func (c *Claim) effectiveTTL(defaultTTL time.Duration) time.Duration {
	switch {
	case c.Job != nil, c.NoTTL:
		return 0
	case c.TTL > 0:
		return max(c.TTL, konductorv1.MinTTL)
	case defaultTTL > 0:
		return max(defaultTTL, konductorv1.MinTTL)
	case c.BoundToPod:
		return 0
	default:
		return konductorv1.DefaultTTL
	}
}

// timeLeft returns how long the hold still lasts (zero: no limit) or, when it has run out, the reason.
func (c *Claim) timeLeft(defaultTTL time.Duration, now Instant) (left time.Duration, expiredReason string) {
	ttl := c.effectiveTTL(defaultTTL)
	unacknowledged := !c.BoundToPod && c.Job == nil && c.Renewals == 0 && ttl > konductorv1.AcknowledgeWithin
	if unacknowledged {
		ttl = konductorv1.AcknowledgeWithin
	}
	if ttl == 0 {
		return 0, ""
	}
	if left = c.LastObservedRenewal + ttl - now.Monotonic; left > 0 {
		return left, ""
	}
	if unacknowledged {
		return 0, fmt.Sprintf("the grant was not acknowledged within %s", ttl)
	}
	return 0, fmt.Sprintf("not renewed within its ttl of %s", ttl)
}

// withGrantAt returns the claim as it is right after a grant at now.
func (c *Claim) withGrantAt(now Instant) *Claim {
	granted := *c
	granted.LastObservedRenewal = now.Monotonic
	return &granted
}

// newMicroTime returns t as an API field, truncated to the precision that survives being written and read.
func newMicroTime(t time.Time) *metav1.MicroTime {
	m := metav1.NewMicroTime(t.Truncate(time.Microsecond))
	return &m
}

func timeOrZero(t *metav1.MicroTime) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.Time
}

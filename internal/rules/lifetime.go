package rules

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// lifetime is what Barrier and Gate have in common: a timeout that counts from creation, and a TTL that counts from when
// they have finished.
type lifetime struct {
	created          time.Time
	timeout          *konductorv1.Duration
	ttlAfterFinished *konductorv1.Duration
	openedAt         *metav1.Time
	endedAt          *metav1.Time
}

// deadline returns when waiting ends, or the zero time when it never does.
func (l lifetime) deadline() time.Time {
	if l.timeout == nil {
		return time.Time{}
	}
	return l.created.Add(l.timeout.Duration.Duration)
}

// timedOut reports whether the deadline has passed, and otherwise the time until then (zero: no deadline).
func (l lifetime) timedOut(now Instant) (bool, time.Duration) {
	deadline := l.deadline()
	if deadline.IsZero() {
		return false, 0
	}
	left := endOfSecond(deadline).Sub(now.ServerTime)
	return left <= 0, max(left, 0)
}

// ttlExpired reports whether the object has outlived its TTL, and otherwise the time until then (zero: no TTL, or not
// ended).
func (l lifetime) ttlExpired(now Instant) (bool, time.Duration) {
	ended := l.openedAt
	if ended == nil {
		ended = l.endedAt
	}
	if l.ttlAfterFinished == nil || ended == nil {
		return false, 0
	}
	left := endOfSecond(ended.Add(l.ttlAfterFinished.Duration.Duration)).Sub(now.ServerTime)
	return left <= 0, max(left, 0)
}

// endOfSecond returns the end of the second in which t falls. The API server truncates the times that it stores to the
// second. So a period that counts from one of them has surely passed only then, and no arrival that carries the second of
// the deadline can come after the decision.
func endOfSecond(t time.Time) time.Time {
	return t.Truncate(time.Second).Add(time.Second)
}

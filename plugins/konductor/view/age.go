package view

import (
	"time"

	"k8s.io/apimachinery/pkg/util/duration"
)

// Age returns how long ago t was, as kubectl writes ages. A time in the future, by clocks that differ a little, is 0s.
func Age(t, now time.Time) string { return duration.HumanDuration(max(now.Sub(t), 0)) }

func ago(t, now time.Time) string { return Age(t, now) + " ago" }

// in says when something will be that may be overdue.
func in(t, now time.Time) string {
	if !t.After(now) {
		return "now"
	}
	return "in " + duration.HumanDuration(t.Sub(now))
}

func expires(t, now time.Time) string {
	if !t.After(now) {
		// Expiry is judged by the operator's own clock, never by this time.
		return "expiring"
	}
	return "expires " + in(t, now)
}

// join puts a comma between what is not empty.
func join(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + ", " + b
}

package view

import (
	"time"

	"k8s.io/apimachinery/pkg/util/duration"
)

// FormatAge returns how long ago t was, as kubectl writes ages; 0s for a time in the future, since clocks differ a little.
func FormatAge(t, now time.Time) string { return duration.HumanDuration(max(now.Sub(t), 0)) }

func formatAgo(t, now time.Time) string { return FormatAge(t, now) + " ago" }

// formatUntil returns when t will be; "now" if it has passed.
func formatUntil(t, now time.Time) string {
	if !t.After(now) {
		return "now"
	}
	return "in " + duration.HumanDuration(t.Sub(now))
}

func formatExpiry(t, now time.Time) string {
	if !t.After(now) {
		// The operator's own clock decides about expiry, never this time.
		return "expiring"
	}
	return "expires " + formatUntil(t, now)
}

// joinNonEmpty joins a and b by a comma, unless one is empty.
func joinNonEmpty(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + ", " + b
}

package controller

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics counts what the operator does. No label names an object: their number is not bounded.
type Metrics struct {
	// Grants counts grants of leases and of semaphore permits.
	Grants *prometheus.CounterVec
	// Ended counts the holds that ended, by the reason of the Event that tells of it.
	Ended *prometheus.CounterVec
	// Opened counts barriers and gates by the phase they ended in.
	Opened *prometheus.CounterVec
	// Violations counts writes that the API server refused because they would have broken a promise. It must stay 0.
	Violations *prometheus.CounterVec
}

// NewMetrics returns Metrics that are registered with r.
func NewMetrics(r prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		Grants:     counter("konductor_grants_total", "Grants of leases and semaphore permits.", "kind"),
		Ended:      counter("konductor_holds_ended_total", "Holds that ended, by reason.", "kind", "reason"),
		Opened:     counter("konductor_ends_total", "Barriers and gates that stopped waiting, by the phase they came to.", "kind", "phase"),
		Violations: counter("konductor_invariant_violations_total", "Writes refused by the API server because they would have broken a promise. Must stay 0.", "kind"),
	}
	return m, errors.Join(r.Register(m.Grants), r.Register(m.Ended), r.Register(m.Opened), r.Register(m.Violations))
}

func counter(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

package controller

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/LogicIQ/konductor/apis/rules"
	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// Metrics counts what the operator does, each time after the write that made it true. No label names an object: their
// number is not bounded. docs/observability.md says what each is good for.
type Metrics struct {
	grants     *prometheus.CounterVec   // by kind
	handovers  *prometheus.CounterVec   // by kind
	ended      *prometheus.CounterVec   // by kind and the reason of the Event that tells of it
	refusals   *prometheus.CounterVec   // by kind
	conflicts  *prometheus.CounterVec   // by kind
	violations *prometheus.CounterVec   // by kind
	arrivals   *prometheus.CounterVec   // by result
	ends       *prometheus.CounterVec   // by kind and phase
	waits      *prometheus.HistogramVec // by kind, seconds
	held       *prometheus.HistogramVec // by kind, seconds
	opening    *prometheus.HistogramVec // by kind, seconds
	reconciles *prometheus.HistogramVec // by controller, seconds
}

// NewMetrics returns Metrics that are registered with r. Whatever can be counted is there from the start, as 0: what only
// appears with the first event can't be seen to rise by it.
func NewMetrics(r prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		grants:     counter("konductor_grants_total", "Grants of leases and semaphore permits.", "kind"),
		handovers:  counter("konductor_handovers_total", "Grants that took the place of a hold which ended, in the same write.", "kind"),
		ended:      counter("konductor_holds_ended_total", "Holds that ended, by reason.", "kind", "reason"),
		refusals:   counter("konductor_refusals_total", "Claims that were refused: they ask for more than there is, or were not to be kept waiting.", "kind"),
		conflicts:  counter("konductor_conflicts_total", "Writes of a status that failed because somebody else wrote first. They are tried again.", "kind"),
		violations: counter("konductor_invariant_violations_total", "Writes refused by the API server because they would have broken a promise. Must stay 0.", "kind"),
		arrivals:   counter("konductor_arrivals_total", "Participants that arrived at barriers which had not opened, by whether they had failed.", "result"),
		ends:       counter("konductor_ends_total", "Barriers and gates that stopped waiting, by the phase they came to.", "kind", "phase"),
		waits:      histogram("konductor_wait_seconds", "Time from when a claim was made, or first seen if that is not long after, to its grant.", uses(), "kind"),
		held:       histogram("konductor_hold_seconds", "Time from the grant of a hold to its end.", uses(), "kind"),
		opening:    histogram("konductor_time_to_open_seconds", "Time from the creation of a barrier or gate to its opening.", uses(), "kind"),
		reconciles: histogram("konductor_reconcile_seconds", "Time that a look at one object, or at one namespace for deadlocks, took with all its writes.", work(), "controller"),
	}
	for _, kind := range []string{konductorv1.KindLease, konductorv1.KindSemaphore} {
		for _, c := range []*prometheus.CounterVec{m.grants, m.handovers, m.refusals, m.conflicts, m.violations} {
			c.WithLabelValues(kind)
		}
		for _, reason := range []string{konductorv1.EventReleased, konductorv1.EventExpired, konductorv1.EventPodEnded, konductorv1.EventBroken} {
			m.ended.WithLabelValues(kind, reason)
		}
		m.waits.WithLabelValues(kind)
		m.held.WithLabelValues(kind)
	}
	for _, kind := range []string{konductorv1.KindBarrier, konductorv1.KindGate} {
		for _, phase := range []konductorv1.BarrierPhase{konductorv1.BarrierOpen, konductorv1.BarrierFailed, konductorv1.BarrierTimeout} {
			m.ends.WithLabelValues(kind, string(phase))
		}
		m.opening.WithLabelValues(kind)
	}
	m.arrivals.WithLabelValues(arrivedWell)
	m.arrivals.WithLabelValues(arrivedFailed)
	var err error
	for _, c := range []prometheus.Collector{
		m.grants, m.handovers, m.ended, m.refusals, m.conflicts, m.violations, m.arrivals, m.ends, m.waits, m.held, m.opening, m.reconciles,
	} {
		err = errors.Join(err, r.Register(c))
	}
	return m, err
}

// Results of an arrival.
const (
	arrivedWell   = "arrived"
	arrivedFailed = "failed"
)

// uses are bounds for what users do, in seconds: a handover takes milliseconds, a nightly job hours.
func uses() []float64 {
	return []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 24 * 3600}
}

// work are bounds for what the operator itself does, in seconds.
func work() []float64 {
	return []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}
}

func counter(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

func histogram(name, help string, bounds []float64, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: bounds}, labels)
}

// wrote counts what a written decision about a lease or semaphore has granted and ended.
func (m *Metrics) wrote(kind string, act *rules.HoldActions, now rules.Now) {
	m.grants.WithLabelValues(kind).Add(float64(len(act.Granted)))
	m.handovers.WithLabelValues(kind).Add(float64(min(len(act.Granted), len(act.Ended))))
	for _, c := range act.Granted {
		m.waits.WithLabelValues(kind).Observe(waited(c, now).Seconds())
	}
	for i := range act.Ended {
		m.ended.WithLabelValues(kind, act.Ended[i].Reason).Inc()
		m.held.WithLabelValues(kind).Observe(heldFor(&act.Ended[i], now).Seconds())
	}
}

// waited returns how long the claim, which is granted now, has waited: since it was first seen, which is exact to the
// millisecond; or since its creation, known to the second, if that was clearly earlier, as with a claim from before this
// operator started.
func waited(c *rules.Claim, now rules.Now) time.Duration {
	const inexact = 2 * time.Second
	return max(now.Elapsed-c.RenewedAt, now.Server.Sub(c.Created)-inexact, 0)
}

// heldFor returns how long a hold that ended now has lasted.
func heldFor(e *rules.Ended, now rules.Now) time.Duration {
	return max(now.Server.Sub(e.Holder.AcquiredAt.Time), 0)
}

// arrived counts the arrivals that a written status of a barrier has and the one before it had not.
func (m *Metrics) arrived(before, now *konductorv1.BarrierStatus) {
	m.arrivals.WithLabelValues(arrivedWell).Add(float64(max(now.Arrived-before.Arrived, 0)))
	m.arrivals.WithLabelValues(arrivedFailed).Add(float64(max(now.Failed-before.Failed, 0)))
}

// stoppedWaiting counts a barrier or gate that came to a phase, after that long.
func (m *Metrics) stoppedWaiting(kind, phase string, after time.Duration) {
	m.ends.WithLabelValues(kind, phase).Inc()
	if phase == string(konductorv1.BarrierOpen) {
		m.opening.WithLabelValues(kind).Observe(max(after, 0).Seconds())
	}
}

// timed returns r with each of its runs measured.
func (m *Metrics) timed(controller string, r reconcile.Reconciler) reconcile.Reconciler {
	took := m.reconciles.WithLabelValues(controller)
	return reconcile.Func(func(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
		began := time.Now()
		defer func() { took.Observe(time.Since(began).Seconds()) }()
		return r.Reconcile(ctx, req)
	})
}

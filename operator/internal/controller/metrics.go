package controller

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/rules"
)

// Metrics counts what the operator does, each time after the write that made it true. No label names an object: their number
// is unbounded. docs/observability.md says what each metric is good for.
type Metrics struct {
	grants              *prometheus.CounterVec   // by kind
	handovers           *prometheus.CounterVec   // by kind
	holdsEnded          *prometheus.CounterVec   // by kind and the reason of the Event
	refusals            *prometheus.CounterVec   // by kind
	conflicts           *prometheus.CounterVec   // by kind
	invariantViolations *prometheus.CounterVec   // by kind
	arrivals            *prometheus.CounterVec   // by result
	outcomes            *prometheus.CounterVec   // by kind and phase
	waitDuration        *prometheus.HistogramVec // by kind, seconds
	holdDuration        *prometheus.HistogramVec // by kind, seconds
	timeToOpen          *prometheus.HistogramVec // by kind, seconds
	reconcileDuration   *prometheus.HistogramVec // by controller, seconds
}

// NewMetrics returns Metrics that are registered with r. All counters exist from the start, with value 0: the first
// increment of one that appears later would not show up as a rate.
func NewMetrics(r prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		grants:              newCounterVec("konductor_grants_total", "Grants of leases and semaphore permits.", "kind"),
		handovers:           newCounterVec("konductor_handovers_total", "Grants made in the same status write that ended another hold.", "kind"),
		holdsEnded:          newCounterVec("konductor_holds_ended_total", "Holds that ended, by reason.", "kind", "reason"),
		refusals:            newCounterVec("konductor_refusals_total", "Claims refused because they asked for more than the limit, or because nothing was free and they don't wait.", "kind"),
		conflicts:           newCounterVec("konductor_conflicts_total", "Status writes that failed because of a concurrent write. They are retried.", "kind"),
		invariantViolations: newCounterVec("konductor_invariant_violations_total", "Status writes that the API server rejected because they violated an invariant. Must stay 0.", "kind"),
		arrivals:            newCounterVec("konductor_arrivals_total", "Participants counted at barriers before they opened, by result.", "result"),
		outcomes:            newCounterVec("konductor_ends_total", "Barriers and gates that stopped waiting, by their new phase.", "kind", "phase"),
		waitDuration:        newHistogramVec("konductor_wait_seconds", "Time from the creation of a claim, or its first observation if that was shortly after, to its grant.", userDurationBuckets(), "kind"),
		holdDuration:        newHistogramVec("konductor_hold_seconds", "Time from the grant of a hold to its end.", userDurationBuckets(), "kind"),
		timeToOpen:          newHistogramVec("konductor_time_to_open_seconds", "Time from the creation of a barrier or gate to its opening.", userDurationBuckets(), "kind"),
		reconcileDuration:   newHistogramVec("konductor_reconcile_seconds", "Duration of a reconciliation of one object, or of one namespace for deadlocks, including its writes.", reconcileDurationBuckets(), "controller"),
	}
	for _, kind := range []string{konductorv1.KindLease, konductorv1.KindSemaphore} {
		for _, c := range []*prometheus.CounterVec{m.grants, m.handovers, m.refusals, m.conflicts, m.invariantViolations} {
			c.WithLabelValues(kind)
		}
		for _, reason := range []string{konductorv1.EventReleased, konductorv1.EventExpired, konductorv1.EventPodEnded, konductorv1.EventBroken} {
			m.holdsEnded.WithLabelValues(kind, reason)
		}
		m.waitDuration.WithLabelValues(kind)
		m.holdDuration.WithLabelValues(kind)
	}
	for _, kind := range []string{konductorv1.KindBarrier, konductorv1.KindGate} {
		for _, phase := range []konductorv1.BarrierPhase{konductorv1.BarrierOpen, konductorv1.BarrierFailed, konductorv1.BarrierTimeout} {
			m.outcomes.WithLabelValues(kind, string(phase))
		}
		m.timeToOpen.WithLabelValues(kind)
	}
	m.arrivals.WithLabelValues(arrivalResultArrived)
	m.arrivals.WithLabelValues(arrivalResultFailed)
	var err error
	for _, c := range []prometheus.Collector{
		m.grants, m.handovers, m.holdsEnded, m.refusals, m.conflicts, m.invariantViolations, m.arrivals, m.outcomes, m.waitDuration, m.holdDuration, m.timeToOpen, m.reconcileDuration,
	} {
		err = errors.Join(err, r.Register(c))
	}
	return m, err
}

// Results of an arrival.
const (
	arrivalResultArrived = "arrived"
	arrivalResultFailed  = "failed"
)

// userDurationBuckets are the bounds for waits and holds, in seconds: a handover takes milliseconds, a nightly job hours.
func userDurationBuckets() []float64 {
	return []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 24 * 3600}
}

// reconcileDurationBuckets are the bounds for reconciliations, in seconds.
func reconcileDurationBuckets() []float64 {
	return []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}
}

func newCounterVec(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

func newHistogramVec(name, help string, bounds []float64, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: bounds}, labels)
}

// recordHoldDecision counts the grants and the ended holds of a written decision about a lease or semaphore.
func (m *Metrics) recordHoldDecision(kind string, act *rules.HoldDecision, now rules.Instant) {
	m.grants.WithLabelValues(kind).Add(float64(len(act.Granted)))
	m.handovers.WithLabelValues(kind).Add(float64(min(len(act.Granted), len(act.Ended))))
	for _, c := range act.Granted {
		m.waitDuration.WithLabelValues(kind).Observe(claimWaitTime(c, now).Seconds())
	}
	for i := range act.Ended {
		m.holdsEnded.WithLabelValues(kind, act.Ended[i].Reason).Inc()
		m.holdDuration.WithLabelValues(kind).Observe(endedHoldTime(&act.Ended[i], now).Seconds())
	}
}

// claimWaitTime returns how long a claim that is granted now has waited: since it was first observed, which is exact to the
// millisecond; or since its creation, known to the second, if that was clearly earlier, as with a claim from before this
// operator started.
func claimWaitTime(c *rules.Claim, now rules.Instant) time.Duration {
	const inexact = 2 * time.Second
	return max(now.Monotonic-c.LastObservedRenewal, now.ServerTime.Sub(c.Created)-inexact, 0)
}

// endedHoldTime returns how long a hold that ended now has lasted.
func endedHoldTime(e *rules.EndedHold, now rules.Instant) time.Duration {
	return max(now.ServerTime.Sub(e.Holder.AcquiredAt.Time), 0)
}

// recordNewArrivals counts the arrivals that a write of a barrier's status added.
func (m *Metrics) recordNewArrivals(before, after *konductorv1.BarrierStatus) {
	m.arrivals.WithLabelValues(arrivalResultArrived).Add(float64(max(after.Arrived-before.Arrived, 0)))
	m.arrivals.WithLabelValues(arrivalResultFailed).Add(float64(max(after.Failed-before.Failed, 0)))
}

// recordOutcome counts a barrier or gate that reached a final phase, after that long.
func (m *Metrics) recordOutcome(kind, phase string, after time.Duration) {
	m.outcomes.WithLabelValues(kind, phase).Inc()
	if phase == string(konductorv1.BarrierOpen) {
		m.timeToOpen.WithLabelValues(kind).Observe(max(after, 0).Seconds())
	}
}

// measureReconcile returns r with the duration of its reconciliations measured.
func (m *Metrics) measureReconcile(controller string, r reconcile.Reconciler) reconcile.Reconciler {
	durations := m.reconcileDuration.WithLabelValues(controller)
	return reconcile.Func(func(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
		start := time.Now()
		defer func() { durations.Observe(time.Since(start).Seconds()) }()
		return r.Reconcile(ctx, req)
	})
}

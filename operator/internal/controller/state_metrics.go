package controller

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// stateCollector collects gauges of the existing objects when metrics are scraped. It reads the caches and takes no lock of
// the controllers, so that it costs nothing between two scrapes and no grant waits for it. Only the leader reports objects,
// so that sums over replicas count each object once.
type stateCollector struct {
	reader  client.Reader
	clock   Clock
	elected <-chan struct{} // closed when this replica becomes the leader

	leader, objects, deadlocked, heldJobs, heldPods *prometheus.Desc
	holders, queueLength, longestQueueLength        *prometheus.Desc
	longestWait, longestHold, longestBlockingHold   *prometheus.Desc
}

// RegisterStateMetrics registers gauges of the objects that reader has in its cache. They are reported once elected is
// closed.
func RegisterStateMetrics(r prometheus.Registerer, reader client.Reader, clock Clock, elected <-chan struct{}) error {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return r.Register(&stateCollector{
		reader: reader, clock: clock, elected: elected,
		leader:              desc("konductor_leader", "1 on the leader, 0 on a standby replica."),
		objects:             desc("konductor_objects", "Number of barriers, gates, leases, semaphores and claims, by phase.", "kind", "phase"),
		deadlocked:          desc("konductor_deadlocked_objects", "Objects in a wait cycle (condition Deadlocked).", "kind"),
		heldJobs:            desc("konductor_held_jobs", "Held Jobs that have not finished, by state.", "state"),
		heldPods:            desc("konductor_held_pods", "Held Pods that have not finished, by state.", "state"),
		holders:             desc("konductor_holders", "Current holds.", "kind"),
		queueLength:         desc("konductor_queue_length", "Waiting claims in all queues.", "kind"),
		longestQueueLength:  desc("konductor_longest_queue_length", "Waiting claims in the longest queue.", "kind"),
		longestWait:         desc("konductor_longest_wait_seconds", "Age of the oldest waiting claim.", "kind"),
		longestHold:         desc("konductor_longest_hold_seconds", "Age of the oldest current hold.", "kind"),
		longestBlockingHold: desc("konductor_longest_blocking_hold_seconds", "Age of the oldest current hold on an object that others wait for.", "kind"),
	})
}

// Describe implements prometheus.Collector.
func (s *stateCollector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		s.leader, s.objects, s.deadlocked, s.heldJobs, s.heldPods, s.holders, s.queueLength, s.longestQueueLength, s.longestWait, s.longestHold, s.longestBlockingHold,
	} {
		to <- d
	}
}

// Collect implements prometheus.Collector. Until the caches are synced it reports only whether this replica is the leader.
func (s *stateCollector) Collect(to chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	select {
	case <-s.elected:
		gauge(s.leader, 1)
	default:
		gauge(s.leader, 0)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	totals, err := s.computeTotals(ctx)
	if err != nil {
		return
	}
	for labelValues, n := range totals.objects {
		gauge(s.objects, float64(n), labelValues.kind, labelValues.phase)
	}
	for kind, n := range totals.deadlocked {
		gauge(s.deadlocked, float64(n), kind)
	}
	for state, n := range totals.heldJobs {
		gauge(s.heldJobs, float64(n), state)
	}
	for state, n := range totals.heldPods {
		gauge(s.heldPods, float64(n), state)
	}
	for kind, t := range totals.holdsByKind {
		gauge(s.holders, float64(t.holders), kind)
		gauge(s.queueLength, float64(t.queueLength), kind)
		gauge(s.longestQueueLength, float64(t.longestQueueLength), kind)
		gauge(s.longestWait, t.longestWait.Seconds(), kind)
		gauge(s.longestHold, t.longestHold.Seconds(), kind)
		gauge(s.longestBlockingHold, t.longestBlockingHold.Seconds(), kind)
	}
}

// stateTotals are the totals of one scrape.
type stateTotals struct {
	now         time.Time
	objects     map[objectLabels]int
	deadlocked  map[string]int
	heldJobs    map[string]int         // by HeldLabel
	heldPods    map[string]int         // the same
	holdsByKind map[string]*holdTotals // Lease and Semaphore
}

type objectLabels struct{ kind, phase string }

// holdTotals are the totals of holds and pending claims on the objects of one kind.
type holdTotals struct {
	holders, queueLength, longestQueueLength      int
	longestWait, longestHold, longestBlockingHold time.Duration
}

func (s *stateCollector) computeTotals(ctx context.Context) (*stateTotals, error) {
	c := newStateTotals(s.clock.Now().ServerTime)
	var (
		barriers   konductorv1.BarrierList
		gates      konductorv1.GateList
		leases     konductorv1.LeaseList
		semaphores konductorv1.SemaphoreList
		claims     konductorv1.ClaimList
		jobs       batchv1.JobList
		pods       corev1.PodList
	)
	for _, list := range []client.ObjectList{&barriers, &gates, &leases, &semaphores, &claims, &jobs} {
		if err := s.reader.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
			return nil, err
		}
	}
	if err := s.reader.List(ctx, &pods, client.HasLabels{konductorv1.HeldLabel}, client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	for i := range barriers.Items {
		o := &barriers.Items[i]
		c.addObject(konductorv1.KindBarrier, string(o.Status.Phase), o.Status.Conditions)
	}
	for i := range gates.Items {
		o := &gates.Items[i]
		c.addObject(konductorv1.KindGate, string(o.Status.Phase), o.Status.Conditions)
	}
	for i := range leases.Items {
		o := &leases.Items[i]
		c.addObject(konductorv1.KindLease, string(o.Status.Phase), o.Status.Conditions)
		c.addHoldsAndQueue(konductorv1.KindLease, o.Status.Waiting, o.Status.Holders())
	}
	for i := range semaphores.Items {
		o := &semaphores.Items[i]
		c.addObject(konductorv1.KindSemaphore, string(o.Status.Phase), o.Status.Conditions)
		c.addHoldsAndQueue(konductorv1.KindSemaphore, o.Status.Waiting, o.Status.Holders)
	}
	for i := range claims.Items {
		c.addClaim(&claims.Items[i])
	}
	for i := range jobs.Items {
		// Without the chart's policies a Job may have any label.
		state := jobs.Items[i].Labels[konductorv1.HeldLabel]
		if _, known := c.heldJobs[state]; known {
			c.heldJobs[state]++
		}
	}
	for i := range pods.Items {
		state := pods.Items[i].Labels[konductorv1.HeldLabel]
		if _, known := c.heldPods[state]; known {
			c.heldPods[state]++
		}
	}
	return c, nil
}

// newStateTotals returns totals with a 0 for every possible label.
func newStateTotals(now time.Time) *stateTotals {
	c := &stateTotals{
		now: now, objects: map[objectLabels]int{},
		deadlocked: map[string]int{
			konductorv1.KindBarrier: 0, konductorv1.KindGate: 0, konductorv1.KindLease: 0, konductorv1.KindSemaphore: 0,
		},
		heldJobs: map[string]int{
			konductorv1.HeldWaiting: 0, konductorv1.HeldStarted: 0, konductorv1.HeldStopping: 0, konductorv1.HeldPaused: 0, konductorv1.HeldSkipped: 0,
		},
		heldPods:    map[string]int{konductorv1.HeldWaiting: 0, konductorv1.HeldStarted: 0, konductorv1.HeldSkipped: 0},
		holdsByKind: map[string]*holdTotals{konductorv1.KindLease: {}, konductorv1.KindSemaphore: {}},
	}
	for kind, phases := range map[string][]string{
		konductorv1.KindBarrier:   {string(konductorv1.BarrierWaiting), string(konductorv1.BarrierOpen), string(konductorv1.BarrierFailed), string(konductorv1.BarrierTimeout)},
		konductorv1.KindGate:      {string(konductorv1.GateWaiting), string(konductorv1.GateOpen), string(konductorv1.GateFailed), string(konductorv1.GateTimeout)},
		konductorv1.KindLease:     {string(konductorv1.LeaseAvailable), string(konductorv1.LeaseHeld)},
		konductorv1.KindSemaphore: {string(konductorv1.SemaphoreReady), string(konductorv1.SemaphoreFull)},
		konductorv1.KindClaim:     {string(konductorv1.ClaimPending), string(konductorv1.ClaimGranted), string(konductorv1.ClaimExpired), string(konductorv1.ClaimRefused)},
	} {
		for _, phase := range phases {
			c.objects[objectLabels{kind, phase}] = 0
		}
	}
	return c
}

// addObject counts an object. One without a phase has not been reconciled yet, and will be in a moment.
func (c *stateTotals) addObject(kind, phase string, conditions []metav1.Condition) {
	if phase != "" {
		c.objects[objectLabels{kind, phase}]++
	}
	if meta.IsStatusConditionTrue(conditions, konductorv1.ConditionDeadlocked) {
		c.deadlocked[kind]++
	}
}

// addHoldsAndQueue counts the holds and waiters of an object.
func (c *stateTotals) addHoldsAndQueue(kind string, waiting int32, holders []konductorv1.Holder) {
	t := c.holdsByKind[kind]
	t.holders += len(holders)
	t.queueLength += int(waiting)
	t.longestQueueLength = max(t.longestQueueLength, int(waiting))
	for i := range holders {
		held := c.now.Sub(holders[i].AcquiredAt.Time)
		t.longestHold = max(t.longestHold, held)
		if waiting > 0 {
			t.longestBlockingHold = max(t.longestBlockingHold, held)
		}
	}
}

// addClaim counts a claim. Nothing is written to a waiting claim, so its phase may be empty.
func (c *stateTotals) addClaim(claim *konductorv1.Claim) {
	phase := claim.Status.Phase
	if phase == "" {
		phase = konductorv1.ClaimPending
	}
	c.objects[objectLabels{konductorv1.KindClaim, string(phase)}]++
	if t := c.holdsByKind[claim.Spec.Target.Kind]; t != nil && phase == konductorv1.ClaimPending {
		t.longestWait = max(t.longestWait, c.now.Sub(claim.CreationTimestamp.Time))
	}
}

package controller

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/LogicIQ/konductor/apis/rules"
	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// stock takes stock of the objects there are, whenever somebody asks for metrics: from the caches, without a lock of the
// controllers', so that between two scrapes it costs nothing and a grant never waits for it. Only the replica that acts
// does, so that sums over replicas count each object once.
type stock struct {
	reader client.Reader
	clock  Clock
	acting <-chan struct{} // closed when this replica begins to act

	leading, objects, deadlocked             *prometheus.Desc
	holders, waiting, longestQueue           *prometheus.Desc
	longestWait, longestHold, longestBlocked *prometheus.Desc
}

// RegisterStock registers gauges of the objects that reader has in its cache. They are there once acting is closed.
func RegisterStock(r prometheus.Registerer, reader client.Reader, clock Clock, acting <-chan struct{}) error {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return r.Register(&stock{
		reader: reader, clock: clock, acting: acting,
		leading:        desc("konductor_leading", "1 on the replica that acts, 0 on one that stands by."),
		objects:        desc("konductor_objects", "Barriers, gates, leases, semaphores and claims there are, by phase.", "kind", "phase"),
		deadlocked:     desc("konductor_deadlocked_objects", "Objects by way of which some wait for each other in a circle.", "kind"),
		holders:        desc("konductor_holders", "Current holds.", "kind"),
		waiting:        desc("konductor_queue_length", "Claims that wait, in all queues together.", "kind"),
		longestQueue:   desc("konductor_longest_queue_length", "Claims that wait in the longest queue.", "kind"),
		longestWait:    desc("konductor_longest_wait_seconds", "How long the claim that has waited longest has been waiting.", "kind"),
		longestHold:    desc("konductor_longest_hold_seconds", "How long the current hold that has lasted longest has lasted.", "kind"),
		longestBlocked: desc("konductor_longest_blocking_hold_seconds", "How long the current hold that has lasted longest has lasted, of those that others wait for.", "kind"),
	})
}

// Describe implements prometheus.Collector.
func (s *stock) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		s.leading, s.objects, s.deadlocked, s.holders, s.waiting, s.longestQueue, s.longestWait, s.longestHold, s.longestBlocked,
	} {
		to <- d
	}
}

// Collect implements prometheus.Collector. While the caches are being filled there is nothing to tell yet.
func (s *stock) Collect(to chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	select {
	case <-s.acting:
		gauge(s.leading, 1)
	default:
		gauge(s.leading, 0)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	count, err := s.take(ctx)
	if err != nil {
		return
	}
	for of, n := range count.objects {
		gauge(s.objects, float64(n), of.kind, of.phase)
	}
	for kind, n := range count.deadlocked {
		gauge(s.deadlocked, float64(n), kind)
	}
	for kind, t := range count.tallies {
		gauge(s.holders, float64(t.holders), kind)
		gauge(s.waiting, float64(t.waiting), kind)
		gauge(s.longestQueue, float64(t.longestQueue), kind)
		gauge(s.longestWait, t.longestWait.Seconds(), kind)
		gauge(s.longestHold, t.longestHold.Seconds(), kind)
		gauge(s.longestBlocked, t.longestBlocked.Seconds(), kind)
	}
}

// counted is what stock has counted.
type counted struct {
	now        time.Time
	objects    map[objectsOf]int
	deadlocked map[string]int
	tallies    map[string]*tally // by kind: Lease and Semaphore
}

type objectsOf struct{ kind, phase string }

// tally is what there is of holds and claims on the objects of one kind.
type tally struct {
	holders, waiting, longestQueue           int
	longestWait, longestHold, longestBlocked time.Duration
}

func (s *stock) take(ctx context.Context) (*counted, error) {
	c := newCounted(s.clock.Now().Server)
	var (
		barriers   konductorv1.BarrierList
		gates      konductorv1.GateList
		leases     konductorv1.LeaseList
		semaphores konductorv1.SemaphoreList
		claims     konductorv1.ClaimList
	)
	for _, list := range []client.ObjectList{&barriers, &gates, &leases, &semaphores, &claims} {
		if err := s.reader.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
			return nil, err
		}
	}
	for i := range barriers.Items {
		o := &barriers.Items[i]
		c.object(konductorv1.KindBarrier, string(o.Status.Phase), o.Status.Conditions)
	}
	for i := range gates.Items {
		o := &gates.Items[i]
		c.object(konductorv1.KindGate, string(o.Status.Phase), o.Status.Conditions)
	}
	for i := range leases.Items {
		o := &leases.Items[i]
		c.object(konductorv1.KindLease, string(o.Status.Phase), o.Status.Conditions)
		c.queue(konductorv1.KindLease, o.Status.Waiting, rules.LeaseHolders(&o.Status))
	}
	for i := range semaphores.Items {
		o := &semaphores.Items[i]
		c.object(konductorv1.KindSemaphore, string(o.Status.Phase), o.Status.Conditions)
		c.queue(konductorv1.KindSemaphore, o.Status.Waiting, o.Status.Holders)
	}
	for i := range claims.Items {
		c.claim(&claims.Items[i])
	}
	return c, nil
}

// newCounted returns a count of nothing, with a 0 wherever there can be something.
func newCounted(now time.Time) *counted {
	c := &counted{
		now: now, objects: map[objectsOf]int{},
		deadlocked: map[string]int{
			konductorv1.KindBarrier: 0, konductorv1.KindGate: 0, konductorv1.KindLease: 0, konductorv1.KindSemaphore: 0,
		},
		tallies: map[string]*tally{konductorv1.KindLease: {}, konductorv1.KindSemaphore: {}},
	}
	for kind, phases := range map[string][]string{
		konductorv1.KindBarrier:   {string(konductorv1.BarrierWaiting), string(konductorv1.BarrierOpen), string(konductorv1.BarrierFailed), string(konductorv1.BarrierTimeout)},
		konductorv1.KindGate:      {string(konductorv1.GateWaiting), string(konductorv1.GateOpen), string(konductorv1.GateFailed), string(konductorv1.GateTimeout)},
		konductorv1.KindLease:     {string(konductorv1.LeaseAvailable), string(konductorv1.LeaseHeld)},
		konductorv1.KindSemaphore: {string(konductorv1.SemaphoreReady), string(konductorv1.SemaphoreFull)},
		konductorv1.KindClaim:     {string(konductorv1.ClaimPending), string(konductorv1.ClaimGranted), string(konductorv1.ClaimExpired), string(konductorv1.ClaimRefused)},
	} {
		for _, phase := range phases {
			c.objects[objectsOf{kind, phase}] = 0
		}
	}
	return c
}

// object counts an object of ours. One without a phase has not been looked at yet, and will be in a moment.
func (c *counted) object(kind, phase string, conditions []metav1.Condition) {
	if phase != "" {
		c.objects[objectsOf{kind, phase}]++
	}
	if meta.IsStatusConditionTrue(conditions, konductorv1.ConditionDeadlocked) {
		c.deadlocked[kind]++
	}
}

// queue counts the holders of an object and those who wait for it.
func (c *counted) queue(kind string, waiting int32, holders []konductorv1.SemaphoreHolder) {
	t := c.tallies[kind]
	t.holders += len(holders)
	t.waiting += int(waiting)
	t.longestQueue = max(t.longestQueue, int(waiting))
	for i := range holders {
		held := c.now.Sub(holders[i].AcquiredAt.Time)
		t.longestHold = max(t.longestHold, held)
		if waiting > 0 {
			t.longestBlocked = max(t.longestBlocked, held)
		}
	}
}

// claim counts a claim. Nothing is written to one that waits, so that its phase may be empty.
func (c *counted) claim(claim *konductorv1.Claim) {
	phase := claim.Status.Phase
	if phase == "" {
		phase = konductorv1.ClaimPending
	}
	c.objects[objectsOf{konductorv1.KindClaim, string(phase)}]++
	if t := c.tallies[claim.Spec.Target.Kind]; t != nil && phase == konductorv1.ClaimPending {
		t.longestWait = max(t.longestWait, c.now.Sub(claim.CreationTimestamp.Time))
	}
}

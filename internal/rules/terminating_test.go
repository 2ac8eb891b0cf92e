package rules_test

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/rules"
)

// markTerminating is the user's deletion of the object, which a finalizer delays.
func (s *scenario) markTerminating() {
	deleted := metav1.NewTime(epoch.Add(s.now))
	if s.lease != nil {
		s.lease.DeletionTimestamp = &deleted
		s.lease.Generation++
	} else {
		s.sem.DeletionTimestamp = &deleted
		s.sem.Generation++
	}
}

func (s *scenario) conditions() []metav1.Condition {
	if s.lease != nil {
		return s.lease.Status.Conditions
	}
	return s.sem.Status.Conditions
}

// terminatingOutcome is the outcome of a decision about an object that is being deleted.
type terminatingOutcome struct {
	Holders        string
	Waiting        int32
	Granted        string
	Expire         []string
	Deleted        string // the claims that are deleted
	Events         []string
	ReadyCondition string
}

func (s *scenario) reconcileTerminating() terminatingOutcome {
	_, act, _ := s.decide()
	o := s.reconcile()
	got := terminatingOutcome{
		Holders: o.Holders, Waiting: o.Waiting, Granted: o.Granted, Expire: o.Expire, Deleted: formatClaims(act.StaleTarget), Events: o.Events,
		ReadyCondition: formatCondition(s.conditions(), konductorv1.ConditionReady),
	}
	for _, c := range act.StaleTarget {
		s.claims.ObserveDeletion(c.UID)
	}
	return got
}

func TestTerminatingTargetEndsClaims(t *testing.T) {
	const (
		lease     = "Ready=False Terminating: the lease is being deleted"
		semaphore = "Ready=False Terminating: the semaphore is being deleted"
	)
	newClaimOn := func(s *scenario, name string) *claimBuilder {
		if s.lease != nil {
			return newClaim(name).target(s.lease.UID)
		}
		return newClaim(name).target(s.sem.UID)
	}
	tests := map[string]struct {
		scene *scenario
		set   func(*scenario)
		want  []terminatingOutcome
	}{
		"a holder is told, and only then is off the record": {
			newLeaseScenario(), func(s *scenario) { s.addClaims(newClaimOn(s, "a")); s.reconcile(); s.markTerminating() },
			[]terminatingOutcome{
				{Holders: "a", Expire: []string{"a: Lease lock was deleted"}, ReadyCondition: lease},
				{Events: []string{"! Expired: the hold of a has ended: Lease lock was deleted"}, ReadyCondition: lease},
				{ReadyCondition: lease},
			},
		},
		"those who wait are ended, and what was made without an owner waits on": {
			newLeaseScenario(), func(s *scenario) {
				s.addClaims(newClaimOn(s, "a"), newClaimOn(s, "b"), newClaim("c"))
				s.reconcile()
				s.markTerminating()
			},
			[]terminatingOutcome{
				{Holders: "a", Waiting: 1, Expire: []string{"a: Lease lock was deleted"}, Deleted: "b", ReadyCondition: lease},
				{Waiting: 1, Events: []string{"! Expired: the hold of a has ended: Lease lock was deleted"}, ReadyCondition: lease},
				{Waiting: 1, ReadyCondition: lease},
			},
		},
		"a free lease is not granted to one that comes later": {
			newLeaseScenario(), func(s *scenario) { s.reconcile(); s.markTerminating(); s.addClaims(newClaimOn(s, "a").noWait()) },
			[]terminatingOutcome{{Deleted: "a", ReadyCondition: lease}, {ReadyCondition: lease}},
		},
		"a grant that was written and not told is taken back with its claim": {
			newLeaseScenario(), func(s *scenario) {
				s.addClaims(newClaimOn(s, "a"))
				_, act, write := s.decide()
				write()
				s.claims.RecordGrant(act.Granted[0].UID, s.now)
				s.markTerminating()
			},
			[]terminatingOutcome{
				{Holders: "a", Deleted: "a", ReadyCondition: lease},
				{Events: []string{"Released: released by a"}, ReadyCondition: lease},
			},
		},
		"a holder whose claim is not known yet stays": {
			newLeaseScenario(), func(s *scenario) {
				s.addClaims(newClaimOn(s, "a"))
				s.reconcile()
				s.markTerminating()
				s.restartOperator()
			},
			[]terminatingOutcome{{Holders: "a", ReadyCondition: lease}},
		},
		"all holders of a semaphore end, and free permits are not granted": {
			newSemaphoreScenario(3), func(s *scenario) {
				s.addClaims(newClaimOn(s, "a"), newClaimOn(s, "b"))
				s.reconcile()
				s.markTerminating()
				s.addClaims(newClaimOn(s, "c"))
			},
			[]terminatingOutcome{
				{Holders: "a b", Expire: []string{"a: Semaphore slots was deleted", "b: Semaphore slots was deleted"}, Deleted: "c", ReadyCondition: semaphore},
				{Events: []string{
					"! Expired: the hold of a has ended: Semaphore slots was deleted", "! Expired: the hold of b has ended: Semaphore slots was deleted",
				}, ReadyCondition: semaphore},
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			test.set(test.scene)
			for _, want := range test.want {
				assertEqual(t, name, want, test.scene.reconcileTerminating())
				if s := test.scene.sem; s != nil && !meta.IsStatusConditionFalse(s.Status.Conditions, konductorv1.ConditionAvailable) {
					t.Errorf("permits are said to be free: %+v", s.Status)
				}
			}
		})
	}
}

func TestTerminatingBarrierAndGateDoNotOpen(t *testing.T) {
	deleted := metav1.NewTime(epoch.Add(time.Second))
	arrivals := []rules.Arrival{newArrival("a", 0), newArrival("b", 2*time.Second)}
	t.Run("a barrier", func(t *testing.T) {
		b := newBarrier(2).timeout(time.Minute).ttlAfterFinished(time.Minute).build()
		b.Status = rules.DecideBarrier(b, arrivals[:1], instantAt(0)).Status
		b.DeletionTimestamp = &deleted
		d := rules.DecideBarrier(b, arrivals, instantAt(time.Hour))
		assertEqual(t, "phase", konductorv1.BarrierWaiting, d.Status.Phase)
		assertEqual(t, "open", "Open=False Terminating: the barrier is being deleted", formatCondition(d.Status.Conditions, konductorv1.ConditionOpen))
		assertEqual(t, "ready", "Ready=False Terminating: the barrier is being deleted", formatCondition(d.Status.Conditions, konductorv1.ConditionReady))
		b.Status = d.Status
		if d = rules.DecideBarrier(b, arrivals, instantAt(2*time.Hour)); d.Changed || d.Delete || d.RequeueAfter != 0 {
			t.Errorf("it isn't at rest: %+v", d)
		}
	})
	t.Run("a barrier that was open stays so", func(t *testing.T) {
		b := newBarrier(1).build()
		b.Status = rules.DecideBarrier(b, arrivals[:1], instantAt(0)).Status
		b.DeletionTimestamp = &deleted
		d := rules.DecideBarrier(b, arrivals, instantAt(time.Hour))
		assertEqual(t, "open", "Open=True Opened: 1 of 1 participants have arrived", formatCondition(d.Status.Conditions, konductorv1.ConditionOpen))
	})
	t.Run("a gate", func(t *testing.T) {
		g := newGate(conditionOn("Job", "x")).timeout(time.Minute).build()
		g.Status = rules.DecideGate(g, []rules.Observation{missingObject()}, instantAt(0)).Status
		g.DeletionTimestamp = &deleted
		d := rules.DecideGate(g, nil, instantAt(time.Hour))
		assertEqual(t, "phase", konductorv1.GateWaiting, d.Status.Phase)
		assertEqual(t, "open", "Open=False Terminating: the gate is being deleted", formatCondition(d.Status.Conditions, konductorv1.ConditionOpen))
		g.Status = d.Status
		if d = rules.DecideGate(g, nil, instantAt(2*time.Hour)); d.Changed || d.Delete || d.RequeueAfter != 0 {
			t.Errorf("it isn't at rest: %+v", d)
		}
	})
}

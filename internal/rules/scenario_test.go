package rules_test

import (
	"fmt"
	"sort"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/rules"
)

// scenario is a semaphore or a lease, its claims, and an operator that acts on each decision and observes the result at once.
// (fakeAPIServer and fakeOperator model delays and faults.)
type scenario struct {
	sem           *konductorv1.Semaphore
	lease         *konductorv1.Lease // instead of sem
	claims        *rules.ClaimSet
	revision      uint64
	createdClaims uint64 // for the default CreationRevision
	now           time.Duration
}

func newSemaphoreScenario(permits int32) *scenario {
	s := &scenario{claims: rules.NewClaimSet(), revision: 100, sem: &konductorv1.Semaphore{}}
	s.sem.ObjectMeta = metav1.ObjectMeta{Name: "slots", UID: "slots-uid", Generation: 1, CreationTimestamp: metav1.NewTime(epoch)}
	s.sem.Spec.Permits = permits
	s.claims.SetTargetUID(s.sem.UID)
	return s
}

func newLeaseScenario() *scenario {
	s := &scenario{claims: rules.NewClaimSet(), revision: 100, lease: &konductorv1.Lease{}}
	s.lease.ObjectMeta = metav1.ObjectMeta{Name: "lock", UID: "lock-uid", Generation: 1, CreationTimestamp: metav1.NewTime(epoch)}
	s.claims.SetTargetUID(s.lease.UID)
	return s
}

func (s *scenario) ttl(d time.Duration) *scenario {
	if s.lease != nil {
		s.lease.Spec.TTL = konductorv1.NewDuration(d)
	} else {
		s.sem.Spec.TTL = konductorv1.NewDuration(d)
	}
	return s
}

// addClaims adds claims. Those without a CreationRevision were created in this order.
func (s *scenario) addClaims(claims ...*claimBuilder) {
	for _, c := range claims {
		s.createdClaims++
		if c.claim.CreationRevision == 0 {
			c.claim.CreationRevision = s.createdClaims
		}
		s.claims.Observe(c.claim, s.now)
	}
}

// resize changes spec.permits, as a user does.
func (s *scenario) resize(permits int32) {
	s.sem.Spec.Permits = permits
	s.sem.Generation++
}

// release deletes claims.
func (s *scenario) release(names ...string) {
	for _, n := range names {
		s.claims.ObserveDeletion(types.UID("uid-" + n))
	}
}

// endPod ends the pods that claims are bound to.
func (s *scenario) endPod(names ...string) {
	for _, n := range names {
		s.claims.ObserveBoundEnd(types.UID("uid-" + n))
	}
}

// renew raises the renewals of claims.
func (s *scenario) renew(names ...string) {
	for _, n := range names {
		c := *s.mustFind(n)
		c.Renewals++
		s.claims.Observe(c, s.now)
	}
}

func (s *scenario) mustFind(name string) *rules.Claim {
	c, existence := s.claims.Find(types.UID("uid-" + name))
	if existence != rules.ExistenceConfirmed {
		panic("no claim " + name)
	}
	return c
}

// confirmDeleted is a read from the API server, which doesn't have the claim.
func (s *scenario) confirmDeleted(name string) { s.claims.ObserveDeletion(types.UID("uid-" + name)) }

// restartOperator replaces the operator with one that has listed the claims of these names and no others.
func (s *scenario) restartOperator(listed ...string) {
	previous := s.claims
	s.claims = rules.NewClaimSet()
	for _, n := range listed {
		c, _ := previous.Find(types.UID("uid-" + n))
		s.claims.Observe(*c, s.now)
	}
}

// outcome is a decision in readable form. A holder is NAME or NAMExPERMITS.
type outcome struct {
	Holders          string // after it
	Waiting          int32
	Overtaken        string // NAME:TIMES
	Granted          string
	Notify           string
	Expire           []string
	Refuse           []string
	Verify           string
	RevokeUnrecorded string
	Events           []string
	RequeueAfter     time.Duration
	Unchanged        bool // nothing is written
	Deferrable       bool // the write can wait
}

// decide decides without acting on it. The tokens are left out of the events.
func (s *scenario) decide() (outcome, rules.HoldDecision, func()) {
	var act rules.HoldDecision
	var o outcome
	var write func()
	var holders []konductorv1.Holder
	if s.lease != nil {
		next, a := rules.DecideLease(s.lease, s.claims, s.revision, instantAt(s.now))
		act, holders, o.Waiting = a, next.Holders(), next.Waiting
		write = func() { s.lease.Status = next }
	} else {
		next, a := rules.DecideSemaphore(s.sem, s.claims, s.revision, instantAt(s.now))
		act, holders, o.Waiting = a, next.Holders, next.Waiting
		var overtaken []string
		for _, c := range next.Overtaken {
			overtaken = append(overtaken, fmt.Sprintf("%s:%d", c.Claim, c.Times))
		}
		o.Overtaken = strings.Join(overtaken, " ")
		write = func() { s.sem.Status = next }
	}
	o.Holders, o.Notify, o.Verify = formatHolders(holders), formatHolders(act.Notify), formatClaimRefs(act.Verify)
	o.Granted, o.RevokeUnrecorded = formatClaims(act.Granted), formatClaims(act.RevokeUnrecorded)
	o.Expire, o.Refuse = formatTerminations(act.Expire), formatTerminations(act.Refuse)
	for _, line := range formatEvents(act.Events) {
		line, _, _ = strings.Cut(line, ", fencing token")
		o.Events = append(o.Events, line)
	}
	o.RequeueAfter, o.Unchanged, o.Deferrable = act.RequeueAfter, !act.Changed, act.Changed && !act.Urgent
	return o, act, write
}

// reconcile decides and acts on the decision, in the order that HoldDecision prescribes.
func (s *scenario) reconcile() outcome {
	o, act, write := s.decide()
	for _, v := range act.Expire {
		s.writeClaimStatus(v.Claim, konductorv1.ClaimExpired, v.Claim.Token, time.Time{})
	}
	if act.Changed {
		write()
		s.revision++
	}
	for _, c := range append(act.Granted, act.Adopted...) {
		s.claims.RecordGrant(c.UID, s.now)
	}
	for _, h := range act.Notify {
		c, _ := s.claims.Find(h.ClaimUID)
		if c.Phase == konductorv1.ClaimExpired {
			continue
		}
		var expires time.Time
		if h.ExpiresAt != nil {
			expires = h.ExpiresAt.Time
		}
		s.writeClaimStatus(c, konductorv1.ClaimGranted, h.FencingToken, expires)
	}
	for _, v := range act.Refuse {
		s.writeClaimStatus(v.Claim, konductorv1.ClaimRefused, 0, time.Time{})
	}
	return o
}

func (s *scenario) writeClaimStatus(c *rules.Claim, phase konductorv1.ClaimPhase, token int64, expires time.Time) {
	updated := *c
	updated.Phase, updated.Token, updated.ExpiresAt = phase, token, expires
	s.claims.Observe(updated, s.now)
}

func (s *scenario) holders() []konductorv1.Holder {
	if s.lease != nil {
		return s.lease.Status.Holders()
	}
	return s.sem.Status.Holders
}

func formatHolders(holders []konductorv1.Holder) string {
	var names []string
	for _, h := range holders {
		name := h.Name
		if h.Permits != 1 {
			name += fmt.Sprintf("x%d", h.Permits)
		}
		names = append(names, name)
	}
	return strings.Join(names, " ")
}

func formatClaimRefs(claims []rules.ClaimRef) string {
	var names []string
	for _, c := range claims {
		names = append(names, c.Name)
	}
	return strings.Join(names, " ")
}

func formatClaims(claims []*rules.Claim) string {
	var names []string
	for _, c := range claims {
		names = append(names, c.Name)
	}
	sort.Strings(names)
	return strings.Join(names, " ")
}

func formatTerminations(verdicts []rules.Termination) (lines []string) {
	for _, v := range verdicts {
		lines = append(lines, v.Claim.Name+": "+v.Message)
	}
	sort.Strings(lines)
	return lines
}

// scenarioStep is one thing that happens in a scenario, and the outcome of the operator's reconcile after it.
type scenarioStep struct {
	at     time.Duration
	action func(*scenario)
	want   outcome
}

// runScenario runs the steps, and checks after each that nothing is left to write: a decision on the result of a decision changes
// nothing and grants nothing.
func runScenario(t *testing.T, s *scenario, steps []scenarioStep) {
	t.Helper()
	for i, m := range steps {
		s.now = m.at
		if m.action != nil {
			m.action(s)
		}
		assertEqual(t, fmt.Sprintf("moment %d", i+1), m.want, s.reconcile())
		if again, act, _ := s.decide(); len(act.Expire) == 0 && len(m.want.Expire) == 0 {
			if act.Changed || len(act.Granted)+len(act.Notify)+len(act.Refuse)+len(act.Events) > 0 {
				t.Errorf("moment %d: not at rest after everything was done: %+v", i+1, again)
			}
		}
	}
}

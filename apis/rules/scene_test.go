package rules_test

import (
	"fmt"
	"sort"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/LogicIQ/konductor/apis/rules"
	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// scene is a semaphore or a lease, its claims, and an operator that does what the rules tell it and hears of it at once.
type scene struct {
	sem      *konductorv1.Semaphore
	lease    *konductorv1.Lease // instead of sem
	claims   *rules.Claims
	revision uint64
	created  uint64 // how many claims were
	now      time.Duration
}

func aSemaphore(permits int32) *scene {
	s := &scene{claims: rules.NewClaims(), revision: 100, sem: &konductorv1.Semaphore{}}
	s.sem.ObjectMeta = metav1.ObjectMeta{Name: "slots", UID: "slots-uid", Generation: 1, CreationTimestamp: metav1.NewTime(epoch)}
	s.sem.Spec.Permits = permits
	s.claims.SetTarget(s.sem.UID)
	return s
}

func aLease() *scene {
	s := &scene{claims: rules.NewClaims(), revision: 100, lease: &konductorv1.Lease{}}
	s.lease.ObjectMeta = metav1.ObjectMeta{Name: "lock", UID: "lock-uid", Generation: 1, CreationTimestamp: metav1.NewTime(epoch)}
	s.claims.SetTarget(s.lease.UID)
	return s
}

func (s *scene) ttl(d time.Duration) *scene {
	if s.lease != nil {
		s.lease.Spec.TTL = konductorv1.NewDuration(d)
	} else {
		s.sem.Spec.TTL = konductorv1.NewDuration(d)
	}
	return s
}

// claim adds claims, of which those that don't say otherwise were created in this order.
func (s *scene) claim(claims ...*claimBuilder) {
	for _, c := range claims {
		s.created++
		if c.c.Revision == 0 {
			c.c.Revision = s.created
		}
		s.claims.Observe(c.c, s.now)
	}
}

// resize is the user's change of spec.permits.
func (s *scene) resize(permits int32) {
	s.sem.Spec.Permits = permits
	s.sem.Generation++
}

// release deletes claims.
func (s *scene) release(names ...string) {
	for _, n := range names {
		s.claims.Forget(types.UID("uid-" + n))
	}
}

// endPod ends the pods that claims are bound to.
func (s *scene) endPod(names ...string) {
	for _, n := range names {
		s.claims.EndPod(types.UID("uid-" + n))
	}
}

// renew raises the renewals of claims.
func (s *scene) renew(names ...string) {
	for _, n := range names {
		c := *s.known(n)
		c.Renewals++
		s.claims.Observe(c, s.now)
	}
}

func (s *scene) known(name string) *rules.Claim {
	c, presence := s.claims.Find(types.UID("uid-" + name))
	if presence != rules.Present {
		panic("no claim " + name)
	}
	return c
}

// restart puts another operator in the place of this one, that has listed claims of these names and no others.
func (s *scene) restart(listed ...string) {
	former := s.claims
	s.claims = rules.NewClaims()
	for _, n := range listed {
		c, _ := former.Find(types.UID("uid-" + n))
		s.claims.Observe(*c, s.now)
	}
}

// outcome is a decision in words. A holder is NAME or NAMExPERMITS.
type outcome struct {
	Holders string // after it
	Waiting int32
	Head    string // NAME:OVERTAKEN
	Granted string
	Tell    string
	Expire  []string
	Refuse  []string
	Verify  string
	Disown  string
	Events  []string
	After   time.Duration
	Rest    bool // nothing is written
	Later   bool // the write can wait
}

// decide decides without doing anything about it. The tokens are left out of the events.
func (s *scene) decide() (outcome, rules.HoldActions, func()) {
	var act rules.HoldActions
	var o outcome
	var write func()
	var holders []konductorv1.SemaphoreHolder
	if s.lease != nil {
		next, a := rules.Lease(s.lease, s.claims, s.revision, at(s.now))
		act, holders, o.Waiting = a, rules.LeaseHolders(&next), next.Waiting
		write = func() { s.lease.Status = next }
	} else {
		next, a := rules.Semaphore(s.sem, s.claims, s.revision, at(s.now))
		act, holders, o.Waiting = a, next.Holders, next.Waiting
		if next.Head != nil {
			o.Head = fmt.Sprintf("%s:%d", strings.TrimPrefix(string(next.Head.ClaimUID), "uid-"), next.Head.Overtaken)
		}
		write = func() { s.sem.Status = next }
	}
	o.Holders, o.Tell, o.Verify = holderNames(holders), holderNames(act.Tell), holderNames(act.Verify)
	o.Granted, o.Disown = claimNames(act.Granted), claimNames(act.Disown)
	o.Expire, o.Refuse = verdictLines(act.Expire), verdictLines(act.Refuse)
	for _, line := range eventLines(act.Events) {
		line, _, _ = strings.Cut(line, ", fencing token")
		o.Events = append(o.Events, line)
	}
	o.After, o.Rest, o.Later = act.After, !act.Changed, act.Changed && !act.Urgent
	return o, act, write
}

// play decides and does all that the decision asks for, in the order that HoldActions prescribes.
func (s *scene) play() outcome {
	o, act, write := s.decide()
	for _, v := range act.Expire {
		s.tell(v.Claim, konductorv1.ClaimExpired, v.Claim.Token, time.Time{})
	}
	if act.Changed {
		write()
		s.revision++
	}
	for _, c := range append(act.Granted, act.Adopted...) {
		s.claims.Granted(c.UID, s.now)
	}
	for _, h := range act.Tell {
		c, _ := s.claims.Find(h.ClaimUID)
		if c.Phase == konductorv1.ClaimExpired {
			continue
		}
		var expires time.Time
		if h.ExpiresAt != nil {
			expires = h.ExpiresAt.Time
		}
		s.tell(c, konductorv1.ClaimGranted, h.FencingToken, expires)
	}
	for _, v := range act.Refuse {
		s.tell(v.Claim, konductorv1.ClaimRefused, 0, time.Time{})
	}
	return o
}

func (s *scene) tell(c *rules.Claim, phase konductorv1.ClaimPhase, token int64, expires time.Time) {
	told := *c
	told.Phase, told.Token, told.ExpiresAt = phase, token, expires
	s.claims.Observe(told, s.now)
}

func (s *scene) holders() []konductorv1.SemaphoreHolder {
	if s.lease != nil {
		return rules.LeaseHolders(&s.lease.Status)
	}
	return s.sem.Status.Holders
}

func holderNames(holders []konductorv1.SemaphoreHolder) string {
	var names []string
	for _, h := range holders {
		name := h.Holder
		if h.Permits != 1 {
			name += fmt.Sprintf("x%d", h.Permits)
		}
		names = append(names, name)
	}
	return strings.Join(names, " ")
}

func claimNames(claims []*rules.Claim) string {
	var names []string
	for _, c := range claims {
		names = append(names, c.Name)
	}
	sort.Strings(names)
	return strings.Join(names, " ")
}

func verdictLines(verdicts []rules.Verdict) (lines []string) {
	for _, v := range verdicts {
		lines = append(lines, v.Claim.Name+": "+v.Message)
	}
	sort.Strings(lines)
	return lines
}

// moment is one thing that happens in a scene, and what the operator then does.
type moment struct {
	at   time.Duration
	do   func(*scene)
	want outcome
}

// playAll plays a story, and checks after each moment that nothing is left to write: a decision on the result of a
// decision changes nothing and grants nothing.
func playAll(t *testing.T, s *scene, story []moment) {
	t.Helper()
	for i, m := range story {
		s.now = m.at
		if m.do != nil {
			m.do(s)
		}
		differ(t, fmt.Sprintf("moment %d", i+1), m.want, s.play())
		if again, act, _ := s.decide(); len(act.Expire) == 0 && len(m.want.Expire) == 0 {
			if act.Changed || len(act.Granted)+len(act.Tell)+len(act.Refuse)+len(act.Events) > 0 {
				t.Errorf("moment %d: not at rest after everything was done: %+v", i+1, again)
			}
		}
	}
}

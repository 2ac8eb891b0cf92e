package rules_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/rules"
)

func addClaims(c ...*claimBuilder) func(*scenario)  { return func(s *scenario) { s.addClaims(c...) } }
func releaseClaims(names ...string) func(*scenario) { return func(s *scenario) { s.release(names...) } }

func TestGrantOrder(t *testing.T) {
	tests := map[string]struct {
		scene *scenario
		story []scenarioStep
	}{
		"several permits that are free are granted in one decision": {newSemaphoreScenario(3), []scenarioStep{
			{action: addClaims(newClaim("a"), newClaim("b"), newClaim("c"), newClaim("d")), want: outcome{
				Holders: "a b c", Waiting: 1, Granted: "a b c", Notify: "a b c",
				Events: []string{"Granted: granted 1 permit to a", "Granted: granted 1 permit to b", "Granted: granted 1 permit to c"},
			}},
		}},
		"higher priority goes first": {newSemaphoreScenario(1), []scenarioStep{
			{action: addClaims(newClaim("low").priority(-1), newClaim("usual"), newClaim("high").priority(5)), want: outcome{
				Holders: "high", Waiting: 2, Granted: "high", Notify: "high", Events: []string{"Granted: granted 1 permit to high"},
			}},
			{action: releaseClaims("high"), want: outcome{
				Holders: "usual", Waiting: 1, Granted: "usual", Notify: "usual",
				Events: []string{"Released: high released 1 permit", "Granted: granted 1 permit to usual"},
			}},
			{action: releaseClaims("usual"), want: outcome{
				Holders: "low", Granted: "low", Notify: "low",
				Events: []string{"Released: usual released 1 permit", "Granted: granted 1 permit to low"},
			}},
		}},
		"with the same priority the older claim goes first": {newSemaphoreScenario(1), []scenarioStep{
			{action: addClaims(newClaim("young").created(2*time.Second).revision(1), newClaim("old").created(time.Second).revision(2)), want: outcome{
				Holders: "old", Waiting: 1, Granted: "old", Notify: "old", Events: []string{"Granted: granted 1 permit to old"},
			}},
		}},
		"within a second the revision decides, as a number": {newSemaphoreScenario(1), []scenarioStep{
			{action: addClaims(newClaim("late").revision(10), newClaim("early").revision(9)), want: outcome{
				Holders: "early", Waiting: 1, Granted: "early", Notify: "early", Events: []string{"Granted: granted 1 permit to early"},
			}},
		}},
		"a holder is never turned out by higher priority": {newSemaphoreScenario(1), []scenarioStep{
			{action: addClaims(newClaim("low")), want: outcome{
				Holders: "low", Granted: "low", Notify: "low", Events: []string{"Granted: granted 1 permit to low"},
			}},
			{action: addClaims(newClaim("high").priority(9)), want: outcome{Holders: "low", Waiting: 1, Deferrable: true}},
		}},
		"a lease has one holder": {newLeaseScenario(), []scenarioStep{
			{action: addClaims(newClaim("a"), newClaim("b")), want: outcome{
				Holders: "a", Waiting: 1, Granted: "a", Notify: "a", Events: []string{"Granted: granted to a"},
			}},
			{action: releaseClaims("a"), want: outcome{
				Holders: "b", Granted: "b", Notify: "b",
				Events: []string{"Released: released by a", "Granted: granted to b"},
			}},
			{action: releaseClaims("b"), want: outcome{Events: []string{"Released: released by b"}}},
		}},
		"a waiter that gives up leaves the queue": {newLeaseScenario(), []scenarioStep{
			{action: addClaims(newClaim("a"), newClaim("b"), newClaim("c")), want: outcome{
				Holders: "a", Waiting: 2, Granted: "a", Notify: "a", Events: []string{"Granted: granted to a"},
			}},
			{action: releaseClaims("b"), want: outcome{Holders: "a", Waiting: 1, Deferrable: true}},
			{action: releaseClaims("a"), want: outcome{
				Holders: "c", Granted: "c", Notify: "c",
				Events: []string{"Released: released by a", "Granted: granted to c"},
			}},
		}},
		"permits that are asked for together are granted together": {newSemaphoreScenario(5), []scenarioStep{
			{action: addClaims(newClaim("a").permits(2), newClaim("b").permits(3)), want: outcome{
				Holders: "ax2 bx3", Granted: "a b", Notify: "ax2 bx3",
				Events: []string{"Granted: granted 2 permits to a", "Granted: granted 3 permits to b"},
			}},
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { runScenario(t, test.scene, test.story) })
	}
}

func TestHoldEnd(t *testing.T) {
	granted := func(name string) []string { return []string{"Granted: granted to " + name} }
	const minute = time.Minute
	tests := map[string]struct {
		scene *scenario
		story []scenarioStep
	}{
		"a bound claim without a TTL holds as long as its pod": {newLeaseScenario(), []scenarioStep{
			{action: addClaims(newClaim("a")), want: outcome{Holders: "a", Granted: "a", Notify: "a", Events: granted("a")}},
			{at: 1000 * time.Hour, want: outcome{Holders: "a", Unchanged: true}},
			{at: 1000 * time.Hour, action: func(s *scenario) { s.endPod("a") }, want: outcome{
				Events: []string{"! PodEnded: the hold of a ended with its pod"},
			}},
		}},
		"a waiter whose pod ends leaves the queue": {newLeaseScenario(), []scenarioStep{
			{action: addClaims(newClaim("a"), newClaim("b"), newClaim("c")), want: outcome{Holders: "a", Waiting: 2, Granted: "a", Notify: "a", Events: granted("a")}},
			{action: func(s *scenario) { s.endPod("b") }, want: outcome{Holders: "a", Waiting: 1, Deferrable: true}},
			{action: releaseClaims("a"), want: outcome{Holders: "c", Granted: "c", Notify: "c", Events: append([]string{"Released: released by a"}, granted("c")...)}},
		}},
		"a hold that another takes away names who did it": {newLeaseScenario(), []scenarioStep{
			{action: addClaims(newClaim("a")), want: outcome{Holders: "a", Granted: "a", Notify: "a", Events: granted("a")}},
			{action: func(s *scenario) { s.claims.ObserveBreak("uid-a", "mallory"); s.release("a"); s.release("a") }, want: outcome{
				Events: []string{"! Broken: mallory broke the hold of a"},
			}},
		}},
		"only who breaks a hold that is there is named": {newLeaseScenario(), []scenarioStep{
			{action: addClaims(newClaim("a")), want: outcome{Holders: "a", Granted: "a", Notify: "a", Events: granted("a")}},
			{action: func(s *scenario) { s.release("a"); s.claims.ObserveBreak("uid-a", "mallory") }, want: outcome{
				Events: []string{"Released: released by a"},
			}},
		}},
		"a hold runs out when it is not renewed within its own TTL": {newLeaseScenario().ttl(time.Hour), []scenarioStep{
			{action: addClaims(newClaim("a").ttl(minute), newClaim("b")), want: outcome{
				Holders: "a", Waiting: 1, Granted: "a", Notify: "a", Events: granted("a"), RequeueAfter: minute,
			}},
			{at: minute - 1, want: outcome{Holders: "a", Waiting: 1, RequeueAfter: 1, Unchanged: true}},
			// The claim is notified first; only when that has succeeded is the lease free.
			{at: minute, want: outcome{Holders: "a", Waiting: 1, Expire: []string{"a: not renewed within its ttl of 1m0s"}, Unchanged: true}},
			{at: minute, want: outcome{
				Holders: "b", Granted: "b", Notify: "b", RequeueAfter: time.Hour,
				Events: append([]string{"! Expired: the hold of a has expired"}, granted("b")...),
			}},
		}},
		"the TTL of the object holds for claims without one": {newLeaseScenario().ttl(minute), []scenarioStep{
			{action: addClaims(newClaim("a")), want: outcome{Holders: "a", Granted: "a", Notify: "a", Events: granted("a"), RequeueAfter: minute}},
			{at: minute, want: outcome{Holders: "a", Expire: []string{"a: not renewed within its ttl of 1m0s"}, Unchanged: true}},
		}},
		"a TTL that the object is given later is not for a hold that began for the life of its pod": {newLeaseScenario(), []scenarioStep{
			{action: addClaims(newClaim("a"), newClaim("b")), want: outcome{Holders: "a", Waiting: 1, Granted: "a", Notify: "a", Events: granted("a")}},
			{at: time.Hour, action: func(s *scenario) { s.ttl(minute) }, want: outcome{Holders: "a", Waiting: 1, Unchanged: true}},
			{at: time.Hour, action: releaseClaims("a"), want: outcome{
				Holders: "b", Granted: "b", Notify: "b", RequeueAfter: minute, Events: append([]string{"Released: released by a"}, granted("b")...),
			}},
		}},
		"a TTL that is taken from the object leaves its holders as long as their pods": {newLeaseScenario().ttl(minute), []scenarioStep{
			{action: addClaims(newClaim("a")), want: outcome{Holders: "a", Granted: "a", Notify: "a", Events: granted("a"), RequeueAfter: minute}},
			{at: 50 * time.Second, action: func(s *scenario) { s.lease.Spec.TTL = nil }, want: outcome{Holders: "a", Notify: "a", Deferrable: true}},
			{at: time.Hour, want: outcome{Holders: "a", Unchanged: true}},
		}},
		"a renewal prolongs the hold by another TTL": {newLeaseScenario().ttl(minute), []scenarioStep{
			{action: addClaims(newClaim("a")), want: outcome{Holders: "a", Granted: "a", Notify: "a", Events: granted("a"), RequeueAfter: minute}},
			{at: 40 * time.Second, action: func(s *scenario) { s.renew("a") }, want: outcome{Holders: "a", Notify: "a", RequeueAfter: minute, Deferrable: true}},
			{at: 99 * time.Second, want: outcome{Holders: "a", RequeueAfter: time.Second, Unchanged: true}},
			{at: 100 * time.Second, want: outcome{Holders: "a", Expire: []string{"a: not renewed within its ttl of 1m0s"}, Unchanged: true}},
		}},
		"a renewal that comes before the claim was told of its end wins": {newLeaseScenario().ttl(minute), []scenarioStep{
			{action: addClaims(newClaim("a"), newClaim("b")), want: outcome{Holders: "a", Waiting: 1, Granted: "a", Notify: "a", Events: granted("a"), RequeueAfter: minute}},
			{at: minute, action: func(s *scenario) {
				if o, _, _ := s.decide(); len(o.Expire) != 1 {
					panic("the hold has not run out")
				}
				s.renew("a")
			}, want: outcome{Holders: "a", Waiting: 1, Notify: "a", RequeueAfter: minute, Deferrable: true}},
		}},
		"the time of a hold counts from the grant and not from when it joined the queue": {newLeaseScenario().ttl(minute), []scenarioStep{
			{action: addClaims(newClaim("a"), newClaim("b")), want: outcome{Holders: "a", Waiting: 1, Granted: "a", Notify: "a", Events: granted("a"), RequeueAfter: minute}},
			{at: 50 * time.Second, action: releaseClaims("a"), want: outcome{
				Holders: "b", Granted: "b", Notify: "b", RequeueAfter: minute,
				Events: append([]string{"Released: released by a"}, granted("b")...),
			}},
			{at: 109 * time.Second, want: outcome{Holders: "b", RequeueAfter: time.Second, Unchanged: true}},
			{at: 110 * time.Second, want: outcome{Holders: "b", Expire: []string{"b: not renewed within its ttl of 1m0s"}, Unchanged: true}},
		}},
		"an unbound claim that doesn't acknowledge its grant loses it after 15 s": {newLeaseScenario(), []scenarioStep{
			{action: addClaims(newClaim("a").unbound(), newClaim("b").unbound()), want: outcome{
				Holders: "a", Waiting: 1, Granted: "a", Notify: "a", Events: granted("a"), RequeueAfter: 15 * time.Second,
			}},
			{at: 15 * time.Second, want: outcome{
				Holders: "a", Waiting: 1, Expire: []string{"a: the grant was not acknowledged within 15s"}, Unchanged: true,
			}},
			{at: 15 * time.Second, want: outcome{
				Holders: "b", Granted: "b", Notify: "b", RequeueAfter: 15 * time.Second,
				Events: append([]string{"! Expired: the hold of a has expired"}, granted("b")...),
			}},
		}},
		"an acknowledged claim that is bound to nothing and has no TTL holds for 10 m": {newLeaseScenario(), []scenarioStep{
			{action: addClaims(newClaim("a").unbound()), want: outcome{Holders: "a", Granted: "a", Notify: "a", Events: granted("a"), RequeueAfter: 15 * time.Second}},
			{at: 10 * time.Second, action: func(s *scenario) { s.renew("a") }, want: outcome{Holders: "a", RequeueAfter: 10 * time.Minute, Unchanged: true}},
			{at: 10*time.Minute + 9*time.Second, want: outcome{Holders: "a", RequeueAfter: time.Second, Unchanged: true}},
			{at: 10*time.Minute + 10*time.Second, want: outcome{Holders: "a", Expire: []string{"a: not renewed within its ttl of 10m0s"}, Unchanged: true}},
		}},
		"a TTL shorter than 15 s goes before the acknowledgement": {newLeaseScenario(), []scenarioStep{
			{action: addClaims(newClaim("a").unbound().ttl(5 * time.Second)), want: outcome{Holders: "a", Granted: "a", Notify: "a", Events: granted("a"), RequeueAfter: 5 * time.Second}},
			{at: 5 * time.Second, want: outcome{Holders: "a", Expire: []string{"a: not renewed within its ttl of 5s"}, Unchanged: true}},
		}},
		"another operator starts the TTL anew": {newLeaseScenario().ttl(minute), []scenarioStep{
			{action: addClaims(newClaim("a")), want: outcome{Holders: "a", Granted: "a", Notify: "a", Events: granted("a"), RequeueAfter: minute}},
			{at: 59 * time.Second, action: func(s *scenario) { s.restartOperator("a") }, want: outcome{Holders: "a", Notify: "a", RequeueAfter: minute, Deferrable: true}},
			{at: 118 * time.Second, want: outcome{Holders: "a", RequeueAfter: time.Second, Unchanged: true}},
			{at: 119 * time.Second, want: outcome{Holders: "a", Expire: []string{"a: not renewed within its ttl of 1m0s"}, Unchanged: true}},
		}},
		"a standby that saw the claim wait long ago doesn't end its new hold": {newLeaseScenario(), []scenarioStep{
			{action: func(s *scenario) {
				s.addClaims(newClaim("a").unbound())
				// The leader grants after an hour. The standby sees the lease before it sees the claim.
				s.lease.Status.SetHolder(&konductorv1.Holder{Name: "a", Claim: "a", ClaimUID: "uid-a", Permits: 1, FencingToken: 7})
				s.now = time.Hour
			}, want: outcome{Holders: "a", Notify: "a", RequeueAfter: 15 * time.Second}},
			{at: time.Hour + 14*time.Second, want: outcome{Holders: "a", RequeueAfter: time.Second, Unchanged: true}},
		}},
		"a standby counts a hold from when it saw that the claim was told": {newLeaseScenario().ttl(minute), []scenarioStep{
			{action: addClaims(newClaim("z"), newClaim("a")), want: outcome{Holders: "z", Waiting: 1, Granted: "z", Notify: "z", Events: granted("z"), RequeueAfter: minute}},
			{at: time.Hour, action: func(s *scenario) {
				s.release("z")
				s.lease.Status.SetHolder(&konductorv1.Holder{Name: "a", Claim: "a", ClaimUID: "uid-a", Permits: 1, FencingToken: 700, ExpiresAt: s.lease.Status.ExpiresAt})
				s.addClaims(newClaim("a").granted(700))
			}, want: outcome{Holders: "a", Notify: "a", RequeueAfter: minute, Deferrable: true}},
		}},
		"a holder whose claim has not been seen goes on holding": {newLeaseScenario(), []scenarioStep{
			{action: addClaims(newClaim("a")), want: outcome{Holders: "a", Granted: "a", Notify: "a", Events: granted("a")}},
			{action: func(s *scenario) { s.restartOperator(); s.addClaims(newClaim("b")) }, want: outcome{Holders: "a", Waiting: 1, Verify: "a", Deferrable: true}},
			{at: 1000 * time.Hour, want: outcome{Holders: "a", Waiting: 1, Verify: "a", Unchanged: true}},
			// A read from the API server confirmed that the claim was deleted.
			{at: 1000 * time.Hour, action: releaseClaims("a"), want: outcome{
				Holders: "b", Granted: "b", Notify: "b", Events: append([]string{"Released: released by a"}, granted("b")...),
			}},
		}},
		"a claim that has ended for another reason frees what it held": {newLeaseScenario(), []scenarioStep{
			{action: addClaims(newClaim("a")), want: outcome{Holders: "a", Granted: "a", Notify: "a", Events: granted("a")}},
			{action: addClaims(newClaim("a").phase(konductorv1.ClaimExpired)), want: outcome{Events: []string{"! Expired: the hold of a has expired"}}},
		}},
		"a claim that has expired is not granted again": {newLeaseScenario(), []scenarioStep{
			{action: addClaims(newClaim("a").phase(konductorv1.ClaimExpired), newClaim("b").phase(konductorv1.ClaimRefused)), want: outcome{}},
		}},
		"a claim that says it holds and doesn't is disowned": {newLeaseScenario(), []scenarioStep{
			{action: addClaims(newClaim("a").granted(3)), want: outcome{RevokeUnrecorded: "a"}},
		}},
		"a claim that was told of another grant than the one it holds by is disowned, and not told again and again": {newLeaseScenario().ttl(minute), []scenarioStep{
			{action: addClaims(newClaim("a")), want: outcome{Holders: "a", Granted: "a", Notify: "a", Events: granted("a"), RequeueAfter: minute}},
			{action: func(s *scenario) {
				s.claims = rules.NewClaimSet()
				s.addClaims(newClaim("a").granted(3), newClaim("b"))
			}, want: outcome{Holders: "a", Waiting: 1, RevokeUnrecorded: "a", RequeueAfter: minute, Deferrable: true}},
			{action: addClaims(newClaim("a").granted(3).phase(konductorv1.ClaimExpired)), want: outcome{
				Holders: "b", Granted: "b", Notify: "b", RequeueAfter: minute,
				Events: append([]string{"! Expired: the hold of a has expired"}, granted("b")...),
			}},
		}},
		"a holder that could not be told for long still has all its time": {newLeaseScenario(), []scenarioStep{
			{action: func(s *scenario) {
				s.addClaims(newClaim("a").unbound())
				_, act, write := s.decide()
				write()
				s.revision++
				s.claims.RecordGrant(act.Granted[0].UID, s.now)
				s.now = time.Hour // the API server wrote the status but has not responded since
			}, want: outcome{Holders: "a", Notify: "a", RequeueAfter: 15 * time.Second, Deferrable: true}},
			{at: time.Hour + 14*time.Second, want: outcome{Holders: "a", RequeueAfter: time.Second, Unchanged: true}},
		}},
		"a claim whose pod has ended is not disowned, for nobody asks": {newLeaseScenario(), []scenarioStep{
			{action: func(s *scenario) { s.addClaims(newClaim("a").granted(3)); s.endPod("a") }, want: outcome{}},
		}},
		"one that says it holds and doesn't is found among as many that do": {newSemaphoreScenario(2), []scenarioStep{
			{action: addClaims(newClaim("a"), newClaim("b")), want: outcome{
				Holders: "a b", Granted: "a b", Notify: "a b", Events: []string{"Granted: granted 1 permit to a", "Granted: granted 1 permit to b"},
			}},
			{action: func(s *scenario) {
				s.restartOperator("b")
				s.addClaims(newClaim("stray").granted(3))
			}, want: outcome{Holders: "a b", Verify: "a", RevokeUnrecorded: "stray", Unchanged: true}},
		}},
		"a claim for the object that had this name before is left alone": {newLeaseScenario(), []scenarioStep{
			{action: addClaims(newClaim("old").target("former-uid"), newClaim("held").target("former-uid").granted(3), newClaim("new").target("lock-uid")), want: outcome{
				Holders: "new", Granted: "new", Notify: "new", Events: granted("new"),
			}},
		}},
		"claims lose their place when the object is deleted and created again": {newLeaseScenario(), []scenarioStep{
			{action: addClaims(newClaim("a").target("lock-uid"), newClaim("b").target("lock-uid"), newClaim("any")), want: outcome{
				Holders: "a", Waiting: 2, Granted: "a", Notify: "a", Events: granted("a"),
			}},
			{action: func(s *scenario) {
				fresh := newLeaseScenario().lease
				fresh.UID = "lock-uid-2"
				s.lease = fresh
				s.claims.SetTargetUID(fresh.UID)
			}, want: outcome{Holders: "any", Granted: "any", Notify: "any", Events: granted("any")}},
		}},
		"a claim that names no object holds nothing of the new one": {newLeaseScenario(), []scenarioStep{
			{action: addClaims(newClaim("a")), want: outcome{Holders: "a", Granted: "a", Notify: "a", Events: granted("a")}},
			{action: func(s *scenario) {
				fresh := newLeaseScenario().lease
				fresh.UID = "lock-uid-2"
				s.lease = fresh
				s.claims.SetTargetUID(fresh.UID)
			}, want: outcome{RevokeUnrecorded: "a"}},
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { runScenario(t, test.scene, test.story) })
	}
}

func TestPermits(t *testing.T) {
	granted := func(names ...string) (events []string) {
		for _, n := range names {
			events = append(events, "Granted: granted 1 permit to "+n)
		}
		return events
	}
	tests := map[string]struct {
		scene *scenario
		story []scenarioStep
	}{
		"more permits than there are is refused at once, also while all are taken": {newSemaphoreScenario(2), []scenarioStep{
			{action: addClaims(newClaim("a").permits(2), newClaim("b").permits(3), newClaim("c").permits(2)), want: outcome{
				Holders: "ax2", Waiting: 1, Granted: "a", Notify: "ax2", Refuse: []string{"b: asks for 3 permits, but spec.permits is 2: ask for fewer or raise it"},
				Events: []string{"Granted: granted 2 permits to a"},
			}},
		}},
		"a paused semaphore grants nothing and refuses nothing": {newSemaphoreScenario(0), []scenarioStep{
			{action: addClaims(newClaim("a"), newClaim("b").permits(9)), want: outcome{Waiting: 2}},
			{action: func(s *scenario) { s.resize(1) }, want: outcome{
				Holders: "a", Granted: "a", Notify: "a", Refuse: []string{"b: asks for 9 permits, but spec.permits is 1: ask for fewer or raise it"},
				Events: granted("a"),
			}},
		}},
		"pausing takes nothing away": {newSemaphoreScenario(2), []scenarioStep{
			{action: addClaims(newClaim("a"), newClaim("b")), want: outcome{Holders: "a b", Granted: "a b", Notify: "a b", Events: granted("a", "b")}},
			{action: func(s *scenario) { s.resize(0); s.addClaims(newClaim("c")) }, want: outcome{Holders: "a b", Waiting: 1}},
			{action: releaseClaims("a", "b"), want: outcome{Waiting: 1, Events: []string{"Released: a released 1 permit", "Released: b released 1 permit"}}},
			{action: func(s *scenario) { s.resize(2) }, want: outcome{Holders: "c", Granted: "c", Notify: "c", Events: granted("c")}},
		}},
		"fewer permits evict nobody and nothing is granted until enough came back": {newSemaphoreScenario(3), []scenarioStep{
			{action: addClaims(newClaim("a"), newClaim("b"), newClaim("c"), newClaim("d")), want: outcome{
				Holders: "a b c", Waiting: 1, Granted: "a b c", Notify: "a b c", Events: granted("a", "b", "c"),
			}},
			{action: func(s *scenario) { s.resize(1) }, want: outcome{Holders: "a b c", Waiting: 1}},
			{action: releaseClaims("a"), want: outcome{Holders: "b c", Waiting: 1, Events: []string{"Released: a released 1 permit"}}},
			{action: releaseClaims("b"), want: outcome{Holders: "c", Waiting: 1, Events: []string{"Released: b released 1 permit"}}},
			{action: releaseClaims("c"), want: outcome{Holders: "d", Granted: "d", Notify: "d", Events: append([]string{"Released: c released 1 permit"}, granted("d")...)}},
		}},
		"more permits are granted at once": {newSemaphoreScenario(1), []scenarioStep{
			{action: addClaims(newClaim("a"), newClaim("b"), newClaim("c")), want: outcome{Holders: "a", Waiting: 2, Granted: "a", Notify: "a", Events: granted("a")}},
			{action: func(s *scenario) { s.resize(3) }, want: outcome{Holders: "a b c", Granted: "b c", Notify: "b c", Events: granted("b", "c")}},
		}},
		"one that doesn't want to wait is granted what is free": {newSemaphoreScenario(1), []scenarioStep{
			{action: addClaims(newClaim("a").noWait()), want: outcome{Holders: "a", Granted: "a", Notify: "a", Events: granted("a")}},
		}},
		"one that doesn't want to wait is refused when nothing is free": {newSemaphoreScenario(1), []scenarioStep{
			{action: addClaims(newClaim("a"), newClaim("b").noWait(), newClaim("c")), want: outcome{
				Holders: "a", Waiting: 1, Granted: "a", Notify: "a", Refuse: []string{"b: busy"}, Events: granted("a"),
			}},
		}},
		"one that doesn't want to wait is refused behind others that do": {newSemaphoreScenario(2), []scenarioStep{
			{action: addClaims(newClaim("a"), newClaim("b"), newClaim("c").noWait()), want: outcome{
				Holders: "a b", Granted: "a b", Notify: "a b", Refuse: []string{"c: busy"}, Events: granted("a", "b"),
			}},
		}},
		"one that doesn't want to wait and asks for more than is free keeps nobody else waiting": {newSemaphoreScenario(2), []scenarioStep{
			{action: addClaims(newClaim("a"), newClaim("b").permits(2).noWait(), newClaim("c")), want: outcome{
				Holders: "a c", Granted: "a c", Notify: "a c", Refuse: []string{"b: busy"}, Events: granted("a", "c"),
			}},
		}},
		"one that doesn't want to wait is refused by a paused semaphore": {newSemaphoreScenario(0), []scenarioStep{
			{action: addClaims(newClaim("a").noWait()), want: outcome{Refuse: []string{"a: busy"}}},
		}},
		"a claim that doesn't fit is passed by smaller ones, and it is counted": {newSemaphoreScenario(3), []scenarioStep{
			{action: addClaims(newClaim("a").permits(2), newClaim("big").permits(3), newClaim("b"), newClaim("c")), want: outcome{
				Holders: "ax2 b", Waiting: 2, Overtaken: "big:1", Granted: "a b", Notify: "ax2 b",
				Events: []string{"Granted: granted 2 permits to a", "Granted: granted 1 permit to b"},
			}},
			{action: releaseClaims("b"), want: outcome{
				Holders: "ax2 c", Waiting: 1, Overtaken: "big:2", Granted: "c", Notify: "c", Events: append([]string{"Released: b released 1 permit"}, granted("c")...),
			}},
			// Three permits are never free at the same time before both have released.
			{action: releaseClaims("a"), want: outcome{Holders: "c", Waiting: 1, Overtaken: "big:2", Events: []string{"Released: a released 2 permits"}}},
			{action: releaseClaims("c"), want: outcome{
				Holders: "bigx3", Granted: "big", Notify: "bigx3",
				Events: []string{"Released: c released 1 permit", "Granted: granted 3 permits to big"},
			}},
		}},
		"the count of one lasts while another comes before it and gives up again": {newSemaphoreScenario(2), []scenarioStep{
			{action: addClaims(newClaim("a"), newClaim("big").permits(2), newClaim("b")), want: outcome{
				Holders: "a b", Waiting: 1, Overtaken: "big:1", Granted: "a b", Notify: "a b", Events: granted("a", "b"),
			}},
			{action: func(s *scenario) {
				s.release("b")
				s.addClaims(newClaim("urgent").permits(2).priority(1), newClaim("c"))
			}, want: outcome{
				Holders: "a c", Waiting: 2, Overtaken: "big:2 urgent:1", Granted: "c", Notify: "c", Events: append([]string{"Released: b released 1 permit"}, granted("c")...),
			}},
			{action: func(s *scenario) {
				s.release("urgent")
				s.confirmDeleted("urgent")
				s.release("c")
				s.addClaims(newClaim("d"))
			}, want: outcome{
				Holders: "a d", Waiting: 1, Overtaken: "big:3", Granted: "d", Notify: "d", Events: append([]string{"Released: c released 1 permit"}, granted("d")...),
			}},
		}},
		"only those that were before a grant are passed by it": {newSemaphoreScenario(3), []scenarioStep{
			{action: addClaims(newClaim("a"), newClaim("big").permits(3), newClaim("b"), newClaim("big2").permits(3)), want: outcome{
				Holders: "a b", Waiting: 2, Overtaken: "big:1", Granted: "a b", Notify: "a b", Events: granted("a", "b"),
			}},
			{action: addClaims(newClaim("c")), want: outcome{
				Holders: "a b c", Waiting: 2, Overtaken: "big:2 big2:1", Granted: "c", Notify: "c", Events: granted("c"),
			}},
		}},
		"the count of one whose claim has not been seen lasts until it is known to be gone": {newSemaphoreScenario(2), []scenarioStep{
			{action: addClaims(newClaim("a"), newClaim("big").permits(2), newClaim("b")), want: outcome{
				Holders: "a b", Waiting: 1, Overtaken: "big:1", Granted: "a b", Notify: "a b", Events: granted("a", "b"),
			}},
			{action: func(s *scenario) { s.restartOperator("a", "b"); s.release("b"); s.addClaims(newClaim("c")) }, want: outcome{
				Holders: "a c", Overtaken: "big:2", Granted: "c", Notify: "c", Verify: "big", Events: append([]string{"Released: b released 1 permit"}, granted("c")...),
			}},
			{action: func(s *scenario) { s.confirmDeleted("big") }, want: outcome{Holders: "a c", Deferrable: true}},
		}},
		"the count of one that gives up is not the next one's": {newSemaphoreScenario(2), []scenarioStep{
			{action: addClaims(newClaim("a"), newClaim("big").permits(2), newClaim("b"), newClaim("big2").permits(2)), want: outcome{
				Holders: "a b", Waiting: 2, Overtaken: "big:1", Granted: "a b", Notify: "a b", Events: granted("a", "b"),
			}},
			{action: releaseClaims("big"), want: outcome{Holders: "a b", Waiting: 1, Overtaken: "big:1", Verify: "big", Deferrable: true}},
			{action: func(s *scenario) { s.confirmDeleted("big") }, want: outcome{Holders: "a b", Waiting: 1, Deferrable: true}},
			{action: func(s *scenario) { s.release("b"); s.addClaims(newClaim("c")) }, want: outcome{
				Holders: "a c", Waiting: 1, Overtaken: "big2:1", Granted: "c", Notify: "c", Events: append([]string{"Released: b released 1 permit"}, granted("c")...),
			}},
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { runScenario(t, test.scene, test.story) })
	}
}

func TestOvertakingLimit(t *testing.T) {
	s := newSemaphoreScenario(2)
	s.addClaims(newClaim("a"), newClaim("big").permits(2))
	for i := range 30 {
		s.addClaims(newClaim(fmt.Sprintf("small%02d", i)))
	}
	s.reconcile()
	for range 29 {
		// The claim granted last is released, so that there is never more than one permit free.
		holders := s.holders()
		if last := holders[len(holders)-1]; last.Name != "a" {
			s.release(last.Name)
		}
		s.reconcile()
	}
	assertEqual(t, "holders", "a", formatHolders(s.holders()))
	assertEqual(t, "overtaken", []konductorv1.OvertakenClaim{{Claim: "big", ClaimUID: "uid-big", Times: konductorv1.MaxOvertaken}}, s.sem.Status.Overtaken)
	if waiting := s.sem.Status.Waiting; waiting != 21 {
		t.Errorf("%d wait, want 20 small ones and the big one: exactly %d may pass", waiting, konductorv1.MaxOvertaken)
	}

	// An operator that starts now continues the counts of the other one.
	var names []string
	for c := range s.claims.All() {
		names = append(names, c.Name)
	}
	s.restartOperator(names...)
	if o := s.reconcile(); o.Granted != "" {
		t.Errorf("after a restart %s passed as well", o.Granted)
	}
	s.release("a")
	assertEqual(t, "the decision when all is free", "bigx2", s.reconcile().Holders)
}

func TestOvertakingScanLimit(t *testing.T) {
	// The cost of scanning must not grow with the queue.
	for behind, want := range map[int]string{99: "small", 100: ""} {
		s := newSemaphoreScenario(2)
		s.addClaims(newClaim("a"), newClaim("big").permits(2).priority(-1))
		for i := range behind {
			s.addClaims(newClaim(fmt.Sprint("big", i)).permits(2).priority(-2))
		}
		s.reconcile()
		s.addClaims(newClaim("small").priority(-3))
		assertEqual(t, fmt.Sprintf("granted with %d more between", behind), want, s.reconcile().Granted)
	}
}

func TestMaxHolders(t *testing.T) {
	s := newSemaphoreScenario(5000)
	for i := range konductorv1.MaxHolders + 10 {
		s.addClaims(newClaim(fmt.Sprintf("p%04d", i)))
	}
	if o := s.reconcile(); o.Waiting != 10 {
		t.Errorf("%d wait, want 10", o.Waiting)
	}
	if got := len(s.holders()); got != konductorv1.MaxHolders {
		t.Fatalf("%d hold, want %d", got, konductorv1.MaxHolders)
	}
	assertEqual(t, "Available", "Available=False Full: all permits are in use", formatCondition(s.sem.Status.Conditions, konductorv1.ConditionAvailable))
	assertEqual(t, "phase", konductorv1.SemaphoreFull, s.sem.Status.Phase)
	distinct := map[int64]bool{}
	for _, h := range s.holders() {
		distinct[h.FencingToken] = true
	}
	if len(distinct) != konductorv1.MaxHolders {
		t.Errorf("%d different tokens among %d holders", len(distinct), konductorv1.MaxHolders)
	}
	s.release("p0000")
	assertEqual(t, "granted", "p1000", s.reconcile().Granted)
}

func TestFencingTokensIncrease(t *testing.T) {
	s := newSemaphoreScenario(2)
	var last int64
	checkIncreased := func() {
		t.Helper()
		for _, h := range s.holders() {
			if h.FencingToken <= last {
				t.Errorf("%s has token %d after %d was given", h.Name, h.FencingToken, last)
			}
		}
		last = s.sem.Status.FencingToken
		if max := s.holders()[len(s.holders())-1].FencingToken; max != last {
			t.Errorf("the largest token is %d and status.fencingToken %d", max, last)
		}
	}
	s.addClaims(newClaim("a"), newClaim("b"))
	s.reconcile()
	if first, second := s.holders()[0].FencingToken, s.holders()[1].FencingToken; first != 100_000 || second != 100_001 {
		t.Errorf("the first grants at revision 100 have tokens %d and %d, want 100000 and 100001", first, second)
	}
	checkIncreased()

	s.release("a", "b")
	s.addClaims(newClaim("c"))
	s.reconcile()
	checkIncreased()

	// etcd was restored from a backup, and repeats earlier revisions.
	s.revision = 3
	s.release("c")
	s.addClaims(newClaim("d"), newClaim("e"))
	s.reconcile()
	checkIncreased()

	// The semaphore is deleted and created again, while the cluster's revision goes on.
	s.revision = 100_000
	s.sem = newSemaphoreScenario(2).sem
	s.sem.UID = "slots-uid-2"
	s.claims.SetTargetUID(s.sem.UID)
	s.addClaims(newClaim("f"))
	s.reconcile()
	checkIncreased()

	// A lease needs only one token per revision.
	l := newLeaseScenario()
	l.addClaims(newClaim("a"))
	l.reconcile()
	if got := l.lease.Status.FencingToken; got != 100 {
		t.Errorf("the lease's first token is %d, want the revision 100", got)
	}
}

func TestFencingTokensOfOneRevisionStayBelowNext(t *testing.T) {
	s := newSemaphoreScenario(math.MaxInt32)
	for i := range konductorv1.MaxHolders {
		s.addClaims(newClaim(fmt.Sprintf("p%04d", i)))
	}
	s.reconcile()
	if last, next := s.sem.Status.FencingToken, int64(s.revision)*konductorv1.MaxHolders; last >= next {
		t.Errorf("a semaphore that is created again one revision later would start at token %d, and %d was given", next, last)
	}
}

func TestHoldKeepsFencingToken(t *testing.T) {
	s := newSemaphoreScenario(2).ttl(time.Minute)
	s.addClaims(newClaim("a"), newClaim("b"))
	s.reconcile()
	first := s.holders()[1]
	for step := range 20 {
		s.now += 30 * time.Second
		switch step {
		case 3:
			s.release("a")
		case 5:
			s.resize(0)
		case 7:
			s.restartOperator("b")
		case 9:
			s.resize(7)
			s.addClaims(newClaim("c").ttl(24 * time.Hour))
		}
		s.renew("b")
		s.reconcile()
		b, _ := s.holders(), step
		found := false
		for _, h := range b {
			if h.ClaimUID == first.ClaimUID {
				found = true
				if h.FencingToken != first.FencingToken || !h.AcquiredAt.Time.Equal(first.AcquiredAt.Time) {
					t.Errorf("step %d: the hold has token %d of %s, and had %d of %s", step, h.FencingToken, h.AcquiredAt, first.FencingToken, first.AcquiredAt)
				}
			}
		}
		if !found {
			t.Fatalf("step %d: the hold is gone", step)
		}
	}
}

func TestServerTimeJumpDoesNotExpireHold(t *testing.T) {
	for name, jump := range map[string]time.Duration{"an hour forward": time.Hour, "an hour back": -time.Hour} {
		t.Run(name, func(t *testing.T) {
			s := newLeaseScenario().ttl(time.Minute)
			s.addClaims(newClaim("a"), newClaim("b"))
			s.reconcile()
			now := rules.Instant{ServerTime: epoch.Add(jump), Monotonic: 59 * time.Second}
			status, act := rules.DecideLease(s.lease, s.claims, s.revision, now)
			if status.Holder != "a" || len(act.Expire) > 0 || act.RequeueAfter != time.Second {
				t.Errorf("held by %q, expire %d, look again after %s; want a, none, 1s", status.Holder, len(act.Expire), act.RequeueAfter)
			}
			if want := epoch.Add(jump + time.Second); !status.ExpiresAt.Time.Equal(want) {
				t.Errorf("people read that it expires at %s, want %s", status.ExpiresAt, want)
			}
			// A wall clock that has stopped keeps no hold alive.
			now = rules.Instant{ServerTime: epoch, Monotonic: time.Minute}
			if _, act := rules.DecideLease(s.lease, s.claims, s.revision, now); len(act.Expire) != 1 {
				t.Errorf("the hold has not run out after its TTL on the monotonic clock")
			}
		})
	}
}

func TestLeaseStatus(t *testing.T) {
	s := newLeaseScenario().ttl(time.Minute)
	s.reconcile()
	assertEqual(t, "Held", "Held=False Available: nobody holds the lease", formatCondition(s.lease.Status.Conditions, konductorv1.ConditionHeld))
	assertEqual(t, "phase", konductorv1.LeaseAvailable, s.lease.Status.Phase)

	s.addClaims(newClaim("a"), newClaim("b"))
	s.now = 10 * time.Second
	s.reconcile()
	got := s.lease.Status
	assertEqual(t, "Ready", "Ready=True Accepted: the lease is in operation", formatCondition(got.Conditions, konductorv1.ConditionReady))
	assertEqual(t, "Held", "Held=True Held: held by a", formatCondition(got.Conditions, konductorv1.ConditionHeld))
	assertEqual(t, "the rest", "Held a a uid-a 101 1 1 0", fmt.Sprint(got.Phase, " ", got.Holder, " ", got.Claim, " ", got.ClaimUID, " ", got.FencingToken, " ", got.Waiting, " ", got.ObservedGeneration, " ", got.Renewals))
	if h := got.Holders()[0]; h.FencingToken != got.FencingToken || h.Permits != 1 || !h.AcquiredAt.Time.Equal(epoch.Add(10*time.Second)) || !h.ExpiresAt.Time.Equal(epoch.Add(70*time.Second)) {
		t.Errorf("acquired at %s, expires at %s, %d permits, token %d", h.AcquiredAt, h.ExpiresAt, h.Permits, h.FencingToken)
	}
	s.now = 40 * time.Second
	s.renew("a")
	s.reconcile()
	if got := s.lease.Status; got.Renewals != 1 || !got.ExpiresAt.Time.Equal(epoch.Add(100*time.Second)) || !got.AcquiredAt.Time.Equal(epoch.Add(10*time.Second)) {
		t.Errorf("after a renewal: %d renewals, acquired at %s, expires at %s", got.Renewals, got.AcquiredAt, got.ExpiresAt)
	}
	s.release("a", "b")
	s.reconcile()
	got = s.lease.Status
	if got.Holder != "" || got.Claim != "" || got.ClaimUID != "" || got.AcquiredAt != nil || got.ExpiresAt != nil || got.Renewals != 0 {
		t.Errorf("something of the hold is left: %+v", got)
	}
	if got.FencingToken != 101 {
		t.Errorf("the last token is %d, want 101 as before: the next must be larger", got.FencingToken)
	}
}

func TestSemaphoreStatus(t *testing.T) {
	s := newSemaphoreScenario(3)
	statusText := func() string {
		st := s.sem.Status
		return fmt.Sprintf("%s, %d in use, %d free, %d wait, %s", st.Phase, st.InUse, st.Available, st.Waiting, formatCondition(st.Conditions, konductorv1.ConditionAvailable))
	}
	s.reconcile()
	assertEqual(t, "at first", "Ready, 0 in use, 3 free, 0 wait, Available=True Available: permits are free", statusText())
	s.addClaims(newClaim("a").permits(2))
	s.reconcile()
	assertEqual(t, "with a holder", "Ready, 2 in use, 1 free, 0 wait, Available=True Available: permits are free", statusText())
	s.addClaims(newClaim("b"), newClaim("c"))
	s.reconcile()
	assertEqual(t, "when all are taken", "Full, 3 in use, 0 free, 1 wait, Available=False Full: all permits are in use", statusText())
	s.resize(1)
	s.reconcile()
	assertEqual(t, "with fewer permits than in use", "Full, 3 in use, 0 free, 1 wait, Available=False Full: all permits are in use", statusText())
	s.resize(0)
	s.reconcile()
	assertEqual(t, "paused", "Full, 3 in use, 0 free, 1 wait, Available=False Paused: paused: spec.permits is 0", statusText())
	s.release("a", "b", "c")
	s.reconcile()
	assertEqual(t, "paused and empty", "Full, 0 in use, 0 free, 0 wait, Available=False Paused: paused: spec.permits is 0", statusText())
	assertEqual(t, "Ready", "Ready=True Accepted: the semaphore is in operation", formatCondition(s.sem.Status.Conditions, konductorv1.ConditionReady))
	if s.sem.Status.ObservedGeneration != s.sem.Generation {
		t.Errorf("the status speaks of generation %d, want %d", s.sem.Status.ObservedGeneration, s.sem.Generation)
	}
}

func TestRenewalStatusWriteRate(t *testing.T) {
	s := newLeaseScenario().ttl(time.Minute)
	s.addClaims(newClaim("a"))
	s.reconcile()
	writes := 0
	for range 60 {
		s.now += time.Second
		s.renew("a")
		if o := s.reconcile(); !o.Unchanged {
			writes++
		}
	}
	// A renewal each second, and a write when the displayed time is off by more than a tenth of the TTL.
	if writes != 8 {
		t.Errorf("60 renewals made %d writes of the lease, want 8", writes)
	}
	if left := s.lease.Status.ExpiresAt.Sub(epoch.Add(s.now)); left < 54*time.Second || left > time.Minute {
		t.Errorf("people read that the hold lasts for %s, and it does for 1m", left)
	}
}

func TestDecideLeaseAndSemaphoreDoNotMutateArguments(t *testing.T) {
	s := newSemaphoreScenario(2).ttl(time.Minute)
	s.addClaims(newClaim("a"), newClaim("b"), newClaim("big").permits(2), newClaim("c"))
	s.reconcile()
	s.now = 40 * time.Second
	s.renew("a")
	s.release("b")
	before := s.sem.DeepCopy()
	rules.DecideSemaphore(s.sem, s.claims, s.revision, instantAt(s.now))
	assertEqual(t, "the semaphore", before, s.sem)

	l := newLeaseScenario().ttl(time.Minute)
	l.addClaims(newClaim("a"), newClaim("b"))
	l.reconcile()
	l.release("a")
	was := l.lease.DeepCopy()
	rules.DecideLease(l.lease, l.claims, l.revision, instantAt(l.now))
	assertEqual(t, "the lease", was, l.lease)
}

func TestGrantEventNamesFencingToken(t *testing.T) {
	s := newLeaseScenario()
	s.addClaims(newClaim("a"))
	_, act, _ := s.decide()
	if got := act.Events[0].Message; !strings.HasSuffix(got, "to a, fencing token 100") {
		t.Errorf("the event says %q", got)
	}
	assertEqual(t, "told", []konductorv1.Holder{{Name: "a", Claim: "a", ClaimUID: types.UID("uid-a"), Permits: 1, FencingToken: 100, AcquiredAt: act.Notify[0].AcquiredAt}}, act.Notify)
}

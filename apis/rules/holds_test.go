package rules_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/LogicIQ/konductor/apis/rules"
	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

func claims(c ...*claimBuilder) func(*scene) { return func(s *scene) { s.claim(c...) } }
func release(names ...string) func(*scene)   { return func(s *scene) { s.release(names...) } }

func TestGrantOrder(t *testing.T) {
	tests := map[string]struct {
		scene *scene
		story []moment
	}{
		"several permits that are free are granted in one decision": {aSemaphore(3), []moment{
			{do: claims(aClaim("a"), aClaim("b"), aClaim("c"), aClaim("d")), want: outcome{
				Holders: "a b c", Waiting: 1, Granted: "a b c", Tell: "a b c",
				Events: []string{"Granted: granted 1 permit to a", "Granted: granted 1 permit to b", "Granted: granted 1 permit to c"},
			}},
		}},
		"higher priority goes first": {aSemaphore(1), []moment{
			{do: claims(aClaim("low").priority(-1), aClaim("usual"), aClaim("high").priority(5)), want: outcome{
				Holders: "high", Waiting: 2, Granted: "high", Tell: "high", Events: []string{"Granted: granted 1 permit to high"},
			}},
			{do: release("high"), want: outcome{
				Holders: "usual", Waiting: 1, Granted: "usual", Tell: "usual",
				Events: []string{"Released: high released 1 permit", "Granted: granted 1 permit to usual"},
			}},
			{do: release("usual"), want: outcome{
				Holders: "low", Granted: "low", Tell: "low",
				Events: []string{"Released: usual released 1 permit", "Granted: granted 1 permit to low"},
			}},
		}},
		"with the same priority the older claim goes first": {aSemaphore(1), []moment{
			{do: claims(aClaim("young").created(2*time.Second).revision(1), aClaim("old").created(time.Second).revision(2)), want: outcome{
				Holders: "old", Waiting: 1, Granted: "old", Tell: "old", Events: []string{"Granted: granted 1 permit to old"},
			}},
		}},
		"within a second the revision decides, as a number": {aSemaphore(1), []moment{
			{do: claims(aClaim("late").revision(10), aClaim("early").revision(9)), want: outcome{
				Holders: "early", Waiting: 1, Granted: "early", Tell: "early", Events: []string{"Granted: granted 1 permit to early"},
			}},
		}},
		"a holder is never turned out by higher priority": {aSemaphore(1), []moment{
			{do: claims(aClaim("low")), want: outcome{
				Holders: "low", Granted: "low", Tell: "low", Events: []string{"Granted: granted 1 permit to low"},
			}},
			{do: claims(aClaim("high").priority(9)), want: outcome{Holders: "low", Waiting: 1, Later: true}},
		}},
		"a lease has one holder": {aLease(), []moment{
			{do: claims(aClaim("a"), aClaim("b")), want: outcome{
				Holders: "a", Waiting: 1, Granted: "a", Tell: "a", Events: []string{"Granted: granted 1 permit to a"},
			}},
			{do: release("a"), want: outcome{
				Holders: "b", Granted: "b", Tell: "b",
				Events: []string{"Released: a released 1 permit", "Granted: granted 1 permit to b"},
			}},
			{do: release("b"), want: outcome{Events: []string{"Released: b released 1 permit"}}},
		}},
		"a waiter that gives up leaves the queue": {aLease(), []moment{
			{do: claims(aClaim("a"), aClaim("b"), aClaim("c")), want: outcome{
				Holders: "a", Waiting: 2, Granted: "a", Tell: "a", Events: []string{"Granted: granted 1 permit to a"},
			}},
			{do: release("b"), want: outcome{Holders: "a", Waiting: 1, Later: true}},
			{do: release("a"), want: outcome{
				Holders: "c", Granted: "c", Tell: "c",
				Events: []string{"Released: a released 1 permit", "Granted: granted 1 permit to c"},
			}},
		}},
		"permits that are asked for together are granted together": {aSemaphore(5), []moment{
			{do: claims(aClaim("a").permits(2), aClaim("b").permits(3)), want: outcome{
				Holders: "ax2 bx3", Granted: "a b", Tell: "ax2 bx3",
				Events: []string{"Granted: granted 2 permits to a", "Granted: granted 3 permits to b"},
			}},
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { playAll(t, test.scene, test.story) })
	}
}

func TestHowAHoldEnds(t *testing.T) {
	granted := func(name string) []string { return []string{"Granted: granted 1 permit to " + name} }
	const minute = time.Minute
	tests := map[string]struct {
		scene *scene
		story []moment
	}{
		"a bound claim without a TTL holds as long as its pod": {aLease(), []moment{
			{do: claims(aClaim("a")), want: outcome{Holders: "a", Granted: "a", Tell: "a", Events: granted("a")}},
			{at: 1000 * time.Hour, want: outcome{Holders: "a", Rest: true}},
			{at: 1000 * time.Hour, do: func(s *scene) { s.endPod("a") }, want: outcome{
				Events: []string{"! PodEnded: the pod of a has ended, and its hold with it"},
			}},
		}},
		"a waiter whose pod ends leaves the queue": {aLease(), []moment{
			{do: claims(aClaim("a"), aClaim("b"), aClaim("c")), want: outcome{Holders: "a", Waiting: 2, Granted: "a", Tell: "a", Events: granted("a")}},
			{do: func(s *scene) { s.endPod("b") }, want: outcome{Holders: "a", Waiting: 1, Later: true}},
			{do: release("a"), want: outcome{Holders: "c", Granted: "c", Tell: "c", Events: append([]string{"Released: a released 1 permit"}, granted("c")...)}},
		}},
		"a hold that another takes away names who did it": {aLease(), []moment{
			{do: claims(aClaim("a")), want: outcome{Holders: "a", Granted: "a", Tell: "a", Events: granted("a")}},
			{do: func(s *scene) { s.claims.Broken("uid-a", "mallory"); s.release("a"); s.release("a") }, want: outcome{
				Events: []string{"! Broken: mallory took 1 permit away from a"},
			}},
		}},
		"only who breaks a hold that is there is named": {aLease(), []moment{
			{do: claims(aClaim("a")), want: outcome{Holders: "a", Granted: "a", Tell: "a", Events: granted("a")}},
			{do: func(s *scene) { s.release("a"); s.claims.Broken("uid-a", "mallory") }, want: outcome{
				Events: []string{"Released: a released 1 permit"},
			}},
		}},
		"a hold runs out when it is not renewed within its own TTL": {aLease().ttl(time.Hour), []moment{
			{do: claims(aClaim("a").ttl(minute), aClaim("b")), want: outcome{
				Holders: "a", Waiting: 1, Granted: "a", Tell: "a", Events: granted("a"), After: minute,
			}},
			{at: minute - 1, want: outcome{Holders: "a", Waiting: 1, After: 1, Rest: true}},
			// The claim is told first; only when that has succeeded is the lease free.
			{at: minute, want: outcome{Holders: "a", Waiting: 1, Expire: []string{"a: not renewed within its ttl of 1m0s"}, Rest: true}},
			{at: minute, want: outcome{
				Holders: "b", Granted: "b", Tell: "b", After: time.Hour,
				Events: append([]string{"! Expired: the hold of a has expired"}, granted("b")...),
			}},
		}},
		"the TTL of the object holds for claims without one": {aLease().ttl(minute), []moment{
			{do: claims(aClaim("a")), want: outcome{Holders: "a", Granted: "a", Tell: "a", Events: granted("a"), After: minute}},
			{at: minute, want: outcome{Holders: "a", Expire: []string{"a: not renewed within its ttl of 1m0s"}, Rest: true}},
		}},
		"a TTL that the object is given later is not for a hold that began for the life of its pod": {aLease(), []moment{
			{do: claims(aClaim("a"), aClaim("b")), want: outcome{Holders: "a", Waiting: 1, Granted: "a", Tell: "a", Events: granted("a")}},
			{at: time.Hour, do: func(s *scene) { s.ttl(minute) }, want: outcome{Holders: "a", Waiting: 1, Rest: true}},
			{at: time.Hour, do: release("a"), want: outcome{
				Holders: "b", Granted: "b", Tell: "b", After: minute, Events: append([]string{"Released: a released 1 permit"}, granted("b")...),
			}},
		}},
		"a TTL that is taken from the object leaves its holders as long as their pods": {aLease().ttl(minute), []moment{
			{do: claims(aClaim("a")), want: outcome{Holders: "a", Granted: "a", Tell: "a", Events: granted("a"), After: minute}},
			{at: 50 * time.Second, do: func(s *scene) { s.lease.Spec.TTL = nil }, want: outcome{Holders: "a", Tell: "a", Later: true}},
			{at: time.Hour, want: outcome{Holders: "a", Rest: true}},
		}},
		"a renewal prolongs the hold by another TTL": {aLease().ttl(minute), []moment{
			{do: claims(aClaim("a")), want: outcome{Holders: "a", Granted: "a", Tell: "a", Events: granted("a"), After: minute}},
			{at: 40 * time.Second, do: func(s *scene) { s.renew("a") }, want: outcome{Holders: "a", Tell: "a", After: minute, Later: true}},
			{at: 99 * time.Second, want: outcome{Holders: "a", After: time.Second, Rest: true}},
			{at: 100 * time.Second, want: outcome{Holders: "a", Expire: []string{"a: not renewed within its ttl of 1m0s"}, Rest: true}},
		}},
		"a renewal that comes before the claim was told of its end wins": {aLease().ttl(minute), []moment{
			{do: claims(aClaim("a"), aClaim("b")), want: outcome{Holders: "a", Waiting: 1, Granted: "a", Tell: "a", Events: granted("a"), After: minute}},
			{at: minute, do: func(s *scene) {
				if o, _, _ := s.decide(); len(o.Expire) != 1 {
					panic("the hold has not run out")
				}
				s.renew("a")
			}, want: outcome{Holders: "a", Waiting: 1, Tell: "a", After: minute, Later: true}},
		}},
		"the time of a hold counts from the grant and not from when it joined the queue": {aLease().ttl(minute), []moment{
			{do: claims(aClaim("a"), aClaim("b")), want: outcome{Holders: "a", Waiting: 1, Granted: "a", Tell: "a", Events: granted("a"), After: minute}},
			{at: 50 * time.Second, do: release("a"), want: outcome{
				Holders: "b", Granted: "b", Tell: "b", After: minute,
				Events: append([]string{"Released: a released 1 permit"}, granted("b")...),
			}},
			{at: 109 * time.Second, want: outcome{Holders: "b", After: time.Second, Rest: true}},
			{at: 110 * time.Second, want: outcome{Holders: "b", Expire: []string{"b: not renewed within its ttl of 1m0s"}, Rest: true}},
		}},
		"an unbound claim that doesn't acknowledge its grant loses it after 15 s": {aLease(), []moment{
			{do: claims(aClaim("a").unbound(), aClaim("b").unbound()), want: outcome{
				Holders: "a", Waiting: 1, Granted: "a", Tell: "a", Events: granted("a"), After: 15 * time.Second,
			}},
			{at: 15 * time.Second, want: outcome{
				Holders: "a", Waiting: 1, Expire: []string{"a: the grant was not acknowledged within 15s"}, Rest: true,
			}},
			{at: 15 * time.Second, want: outcome{
				Holders: "b", Granted: "b", Tell: "b", After: 15 * time.Second,
				Events: append([]string{"! Expired: the hold of a has expired"}, granted("b")...),
			}},
		}},
		"an acknowledged claim that is bound to nothing and has no TTL holds for 10 m": {aLease(), []moment{
			{do: claims(aClaim("a").unbound()), want: outcome{Holders: "a", Granted: "a", Tell: "a", Events: granted("a"), After: 15 * time.Second}},
			{at: 10 * time.Second, do: func(s *scene) { s.renew("a") }, want: outcome{Holders: "a", After: 10 * time.Minute, Rest: true}},
			{at: 10*time.Minute + 9*time.Second, want: outcome{Holders: "a", After: time.Second, Rest: true}},
			{at: 10*time.Minute + 10*time.Second, want: outcome{Holders: "a", Expire: []string{"a: not renewed within its ttl of 10m0s"}, Rest: true}},
		}},
		"a TTL shorter than 15 s goes before the acknowledgement": {aLease(), []moment{
			{do: claims(aClaim("a").unbound().ttl(5 * time.Second)), want: outcome{Holders: "a", Granted: "a", Tell: "a", Events: granted("a"), After: 5 * time.Second}},
			{at: 5 * time.Second, want: outcome{Holders: "a", Expire: []string{"a: not renewed within its ttl of 5s"}, Rest: true}},
		}},
		"another operator starts the TTL anew": {aLease().ttl(minute), []moment{
			{do: claims(aClaim("a")), want: outcome{Holders: "a", Granted: "a", Tell: "a", Events: granted("a"), After: minute}},
			{at: 59 * time.Second, do: func(s *scene) { s.restart("a") }, want: outcome{Holders: "a", Tell: "a", After: minute, Later: true}},
			{at: 118 * time.Second, want: outcome{Holders: "a", After: time.Second, Rest: true}},
			{at: 119 * time.Second, want: outcome{Holders: "a", Expire: []string{"a: not renewed within its ttl of 1m0s"}, Rest: true}},
		}},
		"a standby that saw the claim wait long ago doesn't end its new hold": {aLease(), []moment{
			{do: func(s *scene) {
				s.claim(aClaim("a").unbound())
				// The active operator grants after an hour. The standby sees the lease before it sees the claim.
				s.lease.Status.ClaimUID, s.lease.Status.Claim, s.lease.Status.Holder, s.lease.Status.FencingToken = "uid-a", "a", "a", 7
				s.now = time.Hour
			}, want: outcome{Holders: "a", Tell: "a", After: 15 * time.Second}},
			{at: time.Hour + 14*time.Second, want: outcome{Holders: "a", After: time.Second, Rest: true}},
		}},
		"a standby counts a hold from when it saw that the claim was told": {aLease().ttl(minute), []moment{
			{do: claims(aClaim("z"), aClaim("a")), want: outcome{Holders: "z", Waiting: 1, Granted: "z", Tell: "z", Events: granted("z"), After: minute}},
			{at: time.Hour, do: func(s *scene) {
				s.release("z")
				s.lease.Status.ClaimUID, s.lease.Status.Claim, s.lease.Status.Holder, s.lease.Status.FencingToken = "uid-a", "a", "a", 700
				s.claim(aClaim("a").granted(700))
			}, want: outcome{Holders: "a", Tell: "a", After: minute, Later: true}},
		}},
		"a holder whose claim has not been seen goes on holding": {aLease(), []moment{
			{do: claims(aClaim("a")), want: outcome{Holders: "a", Granted: "a", Tell: "a", Events: granted("a")}},
			{do: func(s *scene) { s.restart(); s.claim(aClaim("b")) }, want: outcome{Holders: "a", Waiting: 1, Verify: "a", Later: true}},
			{at: 1000 * time.Hour, want: outcome{Holders: "a", Waiting: 1, Verify: "a", Rest: true}},
			// A look at the claim itself said that it is gone.
			{at: 1000 * time.Hour, do: release("a"), want: outcome{
				Holders: "b", Granted: "b", Tell: "b", Events: append([]string{"Released: a released 1 permit"}, granted("b")...),
			}},
		}},
		"a claim that has ended for another reason frees what it held": {aLease(), []moment{
			{do: claims(aClaim("a")), want: outcome{Holders: "a", Granted: "a", Tell: "a", Events: granted("a")}},
			{do: claims(aClaim("a").phase(konductorv1.ClaimExpired)), want: outcome{Events: []string{"! Expired: the hold of a has expired"}}},
		}},
		"a claim that has expired is not granted again": {aLease(), []moment{
			{do: claims(aClaim("a").phase(konductorv1.ClaimExpired), aClaim("b").phase(konductorv1.ClaimRefused)), want: outcome{}},
		}},
		"a claim that says it holds and doesn't is disowned": {aLease(), []moment{
			{do: claims(aClaim("a").granted(3)), want: outcome{Disown: "a"}},
		}},
		"a claim that was told of another grant than the one it holds by is disowned, and not told again and again": {aLease().ttl(minute), []moment{
			{do: claims(aClaim("a")), want: outcome{Holders: "a", Granted: "a", Tell: "a", Events: granted("a"), After: minute}},
			{do: func(s *scene) {
				s.claims = rules.NewClaims()
				s.claim(aClaim("a").granted(3), aClaim("b"))
			}, want: outcome{Holders: "a", Waiting: 1, Disown: "a", After: minute, Later: true}},
			{do: claims(aClaim("a").granted(3).phase(konductorv1.ClaimExpired)), want: outcome{
				Holders: "b", Granted: "b", Tell: "b", After: minute,
				Events: append([]string{"! Expired: the hold of a has expired"}, granted("b")...),
			}},
		}},
		"a holder that could not be told for long still has all its time": {aLease(), []moment{
			{do: func(s *scene) {
				s.claim(aClaim("a").unbound())
				_, act, write := s.decide()
				write()
				s.revision++
				s.claims.Granted(act.Granted[0].UID, s.now)
				s.now = time.Hour // the API server took the status and has not answered since
			}, want: outcome{Holders: "a", Tell: "a", After: 15 * time.Second, Later: true}},
			{at: time.Hour + 14*time.Second, want: outcome{Holders: "a", After: time.Second, Rest: true}},
		}},
		"a claim whose pod has ended is not disowned, for nobody asks": {aLease(), []moment{
			{do: func(s *scene) { s.claim(aClaim("a").granted(3)); s.endPod("a") }, want: outcome{}},
		}},
		"one that says it holds and doesn't is found among as many that do": {aSemaphore(2), []moment{
			{do: claims(aClaim("a"), aClaim("b")), want: outcome{
				Holders: "a b", Granted: "a b", Tell: "a b", Events: append(granted("a"), granted("b")...),
			}},
			{do: func(s *scene) {
				s.restart("b")
				s.claim(aClaim("stray").granted(3))
			}, want: outcome{Holders: "a b", Verify: "a", Disown: "stray", Rest: true}},
		}},
		"a claim for the object that had this name before is left alone": {aLease(), []moment{
			{do: claims(aClaim("old").target("former-uid"), aClaim("held").target("former-uid").granted(3), aClaim("new").target("lock-uid")), want: outcome{
				Holders: "new", Granted: "new", Tell: "new", Events: granted("new"),
			}},
		}},
		"claims lose their place when the object is deleted and created again": {aLease(), []moment{
			{do: claims(aClaim("a").target("lock-uid"), aClaim("b").target("lock-uid"), aClaim("any")), want: outcome{
				Holders: "a", Waiting: 2, Granted: "a", Tell: "a", Events: granted("a"),
			}},
			{do: func(s *scene) {
				fresh := aLease().lease
				fresh.UID = "lock-uid-2"
				s.lease = fresh
				s.claims.SetTarget(fresh.UID)
			}, want: outcome{Holders: "any", Granted: "any", Tell: "any", Events: granted("any")}},
		}},
		"a claim that names no object holds nothing of the new one": {aLease(), []moment{
			{do: claims(aClaim("a")), want: outcome{Holders: "a", Granted: "a", Tell: "a", Events: granted("a")}},
			{do: func(s *scene) {
				fresh := aLease().lease
				fresh.UID = "lock-uid-2"
				s.lease = fresh
				s.claims.SetTarget(fresh.UID)
			}, want: outcome{Disown: "a"}},
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { playAll(t, test.scene, test.story) })
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
		scene *scene
		story []moment
	}{
		"more permits than there are is refused at once, also while all are taken": {aSemaphore(2), []moment{
			{do: claims(aClaim("a").permits(2), aClaim("b").permits(3), aClaim("c").permits(2)), want: outcome{
				Holders: "ax2", Waiting: 1, Granted: "a", Tell: "ax2", Refuse: []string{"b: asks for 3 permits of 2: ask for fewer or raise spec.permits"},
				Events: []string{"Granted: granted 2 permits to a"},
			}},
		}},
		"a paused semaphore grants nothing and refuses nothing": {aSemaphore(0), []moment{
			{do: claims(aClaim("a"), aClaim("b").permits(9)), want: outcome{Waiting: 2}},
			{do: func(s *scene) { s.resize(1) }, want: outcome{
				Holders: "a", Granted: "a", Tell: "a", Refuse: []string{"b: asks for 9 permits of 1: ask for fewer or raise spec.permits"},
				Events: granted("a"),
			}},
		}},
		"pausing takes nothing away": {aSemaphore(2), []moment{
			{do: claims(aClaim("a"), aClaim("b")), want: outcome{Holders: "a b", Granted: "a b", Tell: "a b", Events: granted("a", "b")}},
			{do: func(s *scene) { s.resize(0); s.claim(aClaim("c")) }, want: outcome{Holders: "a b", Waiting: 1}},
			{do: release("a", "b"), want: outcome{Waiting: 1, Events: []string{"Released: a released 1 permit", "Released: b released 1 permit"}}},
			{do: func(s *scene) { s.resize(2) }, want: outcome{Holders: "c", Granted: "c", Tell: "c", Events: granted("c")}},
		}},
		"fewer permits evict nobody and nothing is granted until enough came back": {aSemaphore(3), []moment{
			{do: claims(aClaim("a"), aClaim("b"), aClaim("c"), aClaim("d")), want: outcome{
				Holders: "a b c", Waiting: 1, Granted: "a b c", Tell: "a b c", Events: granted("a", "b", "c"),
			}},
			{do: func(s *scene) { s.resize(1) }, want: outcome{Holders: "a b c", Waiting: 1}},
			{do: release("a"), want: outcome{Holders: "b c", Waiting: 1, Events: []string{"Released: a released 1 permit"}}},
			{do: release("b"), want: outcome{Holders: "c", Waiting: 1, Events: []string{"Released: b released 1 permit"}}},
			{do: release("c"), want: outcome{Holders: "d", Granted: "d", Tell: "d", Events: append([]string{"Released: c released 1 permit"}, granted("d")...)}},
		}},
		"more permits are granted at once": {aSemaphore(1), []moment{
			{do: claims(aClaim("a"), aClaim("b"), aClaim("c")), want: outcome{Holders: "a", Waiting: 2, Granted: "a", Tell: "a", Events: granted("a")}},
			{do: func(s *scene) { s.resize(3) }, want: outcome{Holders: "a b c", Granted: "b c", Tell: "b c", Events: granted("b", "c")}},
		}},
		"one that doesn't want to wait is granted what is free": {aSemaphore(1), []moment{
			{do: claims(aClaim("a").refuse()), want: outcome{Holders: "a", Granted: "a", Tell: "a", Events: granted("a")}},
		}},
		"one that doesn't want to wait is refused when nothing is free": {aSemaphore(1), []moment{
			{do: claims(aClaim("a"), aClaim("b").refuse(), aClaim("c")), want: outcome{
				Holders: "a", Waiting: 1, Granted: "a", Tell: "a", Refuse: []string{"b: busy"}, Events: granted("a"),
			}},
		}},
		"one that doesn't want to wait is refused behind others that do": {aSemaphore(2), []moment{
			{do: claims(aClaim("a"), aClaim("b"), aClaim("c").refuse()), want: outcome{
				Holders: "a b", Granted: "a b", Tell: "a b", Refuse: []string{"c: busy"}, Events: granted("a", "b"),
			}},
		}},
		"one that doesn't want to wait and asks for more than is free keeps nobody else waiting": {aSemaphore(2), []moment{
			{do: claims(aClaim("a"), aClaim("b").permits(2).refuse(), aClaim("c")), want: outcome{
				Holders: "a c", Granted: "a c", Tell: "a c", Refuse: []string{"b: busy"}, Events: granted("a", "c"),
			}},
		}},
		"one that doesn't want to wait is refused by a paused semaphore": {aSemaphore(0), []moment{
			{do: claims(aClaim("a").refuse()), want: outcome{Refuse: []string{"a: busy"}}},
		}},
		"a claim that doesn't fit is passed by smaller ones, and it is counted": {aSemaphore(3), []moment{
			{do: claims(aClaim("a").permits(2), aClaim("big").permits(3), aClaim("b"), aClaim("c")), want: outcome{
				Holders: "ax2 b", Waiting: 2, Head: "big:1", Granted: "a b", Tell: "ax2 b",
				Events: []string{"Granted: granted 2 permits to a", "Granted: granted 1 permit to b"},
			}},
			{do: release("b"), want: outcome{
				Holders: "ax2 c", Waiting: 1, Head: "big:2", Granted: "c", Tell: "c", Events: append([]string{"Released: b released 1 permit"}, granted("c")...),
			}},
			// Three are never free at the same time before both have gone.
			{do: release("a"), want: outcome{Holders: "c", Waiting: 1, Head: "big:2", Events: []string{"Released: a released 2 permits"}}},
			{do: release("c"), want: outcome{
				Holders: "bigx3", Granted: "big", Tell: "bigx3",
				Events: []string{"Released: c released 1 permit", "Granted: granted 3 permits to big"},
			}},
		}},
		"the count of one that gives up is not the next one's": {aSemaphore(2), []moment{
			{do: claims(aClaim("a"), aClaim("big").permits(2), aClaim("b"), aClaim("big2").permits(2)), want: outcome{
				Holders: "a b", Waiting: 2, Head: "big:1", Granted: "a b", Tell: "a b", Events: granted("a", "b"),
			}},
			{do: release("big"), want: outcome{Holders: "a b", Waiting: 1, Later: true}},
			{do: func(s *scene) { s.release("b"); s.claim(aClaim("c")) }, want: outcome{
				Holders: "a c", Waiting: 1, Head: "big2:1", Granted: "c", Tell: "c", Events: append([]string{"Released: b released 1 permit"}, granted("c")...),
			}},
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { playAll(t, test.scene, test.story) })
	}
}

func TestAClaimThatDoesNotFitIsPassedTenTimes(t *testing.T) {
	s := aSemaphore(2)
	s.claim(aClaim("a"), aClaim("big").permits(2))
	for i := range 30 {
		s.claim(aClaim(fmt.Sprintf("small%02d", i)))
	}
	s.play()
	for range 29 {
		// Whoever was granted last lets go, so that there is never more than one permit free.
		holders := s.holders()
		if last := holders[len(holders)-1]; last.Holder != "a" {
			s.release(last.Holder)
		}
		s.play()
	}
	differ(t, "holders", "a", holderNames(s.holders()))
	differ(t, "head", &konductorv1.QueueHead{ClaimUID: "uid-big", Overtaken: rules.MaxOvertaken}, s.sem.Status.Head)
	if waiting := s.sem.Status.Waiting; waiting != 21 {
		t.Errorf("%d wait, want 20 small ones and the big one: exactly %d may pass", waiting, rules.MaxOvertaken)
	}

	// An operator that starts now goes on counting where the other one stopped.
	var names []string
	for c := range s.claims.All() {
		names = append(names, c.Name)
	}
	s.restart(names...)
	if o := s.play(); o.Granted != "" {
		t.Errorf("after a restart %s passed as well", o.Granted)
	}
	s.release("a")
	differ(t, "the decision when all is free", "bigx2", s.play().Holders)
}

func TestSmallClaimsFarBehindOneThatDoesNotFitAreNotLookedFor(t *testing.T) {
	// What it costs to look must not grow with the queue.
	for behind, want := range map[int]string{99: "small", 100: ""} {
		s := aSemaphore(2)
		s.claim(aClaim("a"), aClaim("big").permits(2).priority(-1))
		for i := range behind {
			s.claim(aClaim(fmt.Sprint("big", i)).permits(2).priority(-2))
		}
		s.play()
		s.claim(aClaim("small").priority(-3))
		differ(t, fmt.Sprintf("granted with %d more between", behind), want, s.play().Granted)
	}
}

func TestAThousandHoldersAtTheMost(t *testing.T) {
	s := aSemaphore(5000)
	for i := range konductorv1.MaxHolders + 10 {
		s.claim(aClaim(fmt.Sprintf("p%04d", i)))
	}
	if o := s.play(); o.Waiting != 10 {
		t.Errorf("%d wait, want 10", o.Waiting)
	}
	if got := len(s.holders()); got != konductorv1.MaxHolders {
		t.Fatalf("%d hold, want %d", got, konductorv1.MaxHolders)
	}
	differ(t, "Available", "Available=False Full: all permits are in use", conditionLine(s.sem.Status.Conditions, konductorv1.ConditionAvailable))
	differ(t, "phase", konductorv1.SemaphoreFull, s.sem.Status.Phase)
	distinct := map[int64]bool{}
	for _, h := range s.holders() {
		distinct[h.FencingToken] = true
	}
	if len(distinct) != konductorv1.MaxHolders {
		t.Errorf("%d different tokens among %d holders", len(distinct), konductorv1.MaxHolders)
	}
	s.release("p0000")
	differ(t, "granted", "p1000", s.play().Granted)
}

func TestTokensGrow(t *testing.T) {
	s := aSemaphore(2)
	var last int64
	grew := func() {
		t.Helper()
		for _, h := range s.holders() {
			if h.FencingToken <= last {
				t.Errorf("%s has token %d after %d was given", h.Holder, h.FencingToken, last)
			}
		}
		last = s.sem.Status.FencingToken
		if max := s.holders()[len(s.holders())-1].FencingToken; max != last {
			t.Errorf("the largest token is %d and status.fencingToken %d", max, last)
		}
	}
	s.claim(aClaim("a"), aClaim("b"))
	s.play()
	if first, second := s.holders()[0].FencingToken, s.holders()[1].FencingToken; first != 100_000 || second != 100_001 {
		t.Errorf("the first grants at revision 100 have tokens %d and %d, want 100000 and 100001", first, second)
	}
	grew()

	s.release("a", "b")
	s.claim(aClaim("c"))
	s.play()
	grew()

	// etcd was restored from a backup and counts its revisions from before once more.
	s.revision = 3
	s.release("c")
	s.claim(aClaim("d"), aClaim("e"))
	s.play()
	grew()

	// The semaphore is deleted and created again, while the cluster's revision goes on.
	s.revision = 100_000
	s.sem = aSemaphore(2).sem
	s.sem.UID = "slots-uid-2"
	s.claims.SetTarget(s.sem.UID)
	s.claim(aClaim("f"))
	s.play()
	grew()

	// A lease needs only one token for each revision.
	l := aLease()
	l.claim(aClaim("a"))
	l.play()
	if got := l.lease.Status.FencingToken; got != 100 {
		t.Errorf("the lease's first token is %d, want the revision 100", got)
	}
}

func TestAFullRevisionOfGrantsStaysBelowTheNext(t *testing.T) {
	s := aSemaphore(math.MaxInt32)
	for i := range konductorv1.MaxHolders {
		s.claim(aClaim(fmt.Sprintf("p%04d", i)))
	}
	s.play()
	if last, next := s.sem.Status.FencingToken, int64(s.revision)*konductorv1.MaxHolders; last >= next {
		t.Errorf("a semaphore that is created again one revision later would start at token %d, and %d was given", next, last)
	}
}

func TestTheSameHoldKeepsItsToken(t *testing.T) {
	s := aSemaphore(2).ttl(time.Minute)
	s.claim(aClaim("a"), aClaim("b"))
	s.play()
	first := s.holders()[1]
	for step := range 20 {
		s.now += 30 * time.Second
		switch step {
		case 3:
			s.release("a")
		case 5:
			s.resize(0)
		case 7:
			s.restart("b")
		case 9:
			s.resize(7)
			s.claim(aClaim("c").ttl(24 * time.Hour))
		}
		s.renew("b")
		s.play()
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

func TestAClockThatIsSetEndsNoHold(t *testing.T) {
	for name, jump := range map[string]time.Duration{"an hour forward": time.Hour, "an hour back": -time.Hour} {
		t.Run(name, func(t *testing.T) {
			s := aLease().ttl(time.Minute)
			s.claim(aClaim("a"), aClaim("b"))
			s.play()
			now := rules.Now{Server: epoch.Add(jump), Elapsed: 59 * time.Second}
			status, act := rules.Lease(s.lease, s.claims, s.revision, now)
			if status.Holder != "a" || len(act.Expire) > 0 || act.After != time.Second {
				t.Errorf("held by %q, expire %d, look again after %s; want a, none, 1s", status.Holder, len(act.Expire), act.After)
			}
			if want := epoch.Add(jump + time.Second); !status.ExpiresAt.Time.Equal(want) {
				t.Errorf("people read that it expires at %s, want %s", status.ExpiresAt, want)
			}
			// A wall clock that stands still keeps no hold alive.
			now = rules.Now{Server: epoch, Elapsed: time.Minute}
			if _, act := rules.Lease(s.lease, s.claims, s.revision, now); len(act.Expire) != 1 {
				t.Errorf("the hold has not run out after its TTL on the monotonic clock")
			}
		})
	}
}

func TestLeaseStatus(t *testing.T) {
	s := aLease().ttl(time.Minute)
	s.play()
	differ(t, "Held", "Held=False Available: nobody holds the lease", conditionLine(s.lease.Status.Conditions, konductorv1.ConditionHeld))
	differ(t, "phase", konductorv1.LeaseAvailable, s.lease.Status.Phase)

	s.claim(aClaim("a"), aClaim("b"))
	s.now = 10 * time.Second
	s.play()
	got := s.lease.Status
	differ(t, "Ready", "Ready=True Accepted: the lease is in operation", conditionLine(got.Conditions, konductorv1.ConditionReady))
	differ(t, "Held", "Held=True Held: held by a", conditionLine(got.Conditions, konductorv1.ConditionHeld))
	differ(t, "the rest", "Held a a uid-a 101 1 1 0", fmt.Sprint(got.Phase, " ", got.Holder, " ", got.Claim, " ", got.ClaimUID, " ", got.FencingToken, " ", got.Waiting, " ", got.ObservedGeneration, " ", got.Renewals))
	if !got.AcquiredAt.Time.Equal(epoch.Add(10*time.Second)) || !got.ExpiresAt.Time.Equal(epoch.Add(70*time.Second)) {
		t.Errorf("acquired at %s, expires at %s", got.AcquiredAt, got.ExpiresAt)
	}
	s.now = 40 * time.Second
	s.renew("a")
	s.play()
	if got := s.lease.Status; got.Renewals != 1 || !got.ExpiresAt.Time.Equal(epoch.Add(100*time.Second)) || !got.AcquiredAt.Time.Equal(epoch.Add(10*time.Second)) {
		t.Errorf("after a renewal: %d renewals, acquired at %s, expires at %s", got.Renewals, got.AcquiredAt, got.ExpiresAt)
	}
	s.release("a", "b")
	s.play()
	got = s.lease.Status
	if got.Holder != "" || got.Claim != "" || got.ClaimUID != "" || got.AcquiredAt != nil || got.ExpiresAt != nil || got.Renewals != 0 {
		t.Errorf("something of the hold is left: %+v", got)
	}
	if got.FencingToken != 101 {
		t.Errorf("the last token is %d, want 101 as before: the next must be larger", got.FencingToken)
	}
}

func TestSemaphoreStatus(t *testing.T) {
	s := aSemaphore(3)
	stands := func() string {
		st := s.sem.Status
		return fmt.Sprintf("%s, %d in use, %d free, %d wait, %s", st.Phase, st.InUse, st.Available, st.Waiting, conditionLine(st.Conditions, konductorv1.ConditionAvailable))
	}
	s.play()
	differ(t, "at first", "Ready, 0 in use, 3 free, 0 wait, Available=True Available: permits are free", stands())
	s.claim(aClaim("a").permits(2))
	s.play()
	differ(t, "with a holder", "Ready, 2 in use, 1 free, 0 wait, Available=True Available: permits are free", stands())
	s.claim(aClaim("b"), aClaim("c"))
	s.play()
	differ(t, "when all are taken", "Full, 3 in use, 0 free, 1 wait, Available=False Full: all permits are in use", stands())
	s.resize(1)
	s.play()
	differ(t, "with fewer permits than in use", "Full, 3 in use, 0 free, 1 wait, Available=False Full: all permits are in use", stands())
	s.resize(0)
	s.play()
	differ(t, "paused", "Full, 3 in use, 0 free, 1 wait, Available=False Paused: paused: spec.permits is 0", stands())
	s.release("a", "b", "c")
	s.play()
	differ(t, "paused and empty", "Full, 0 in use, 0 free, 0 wait, Available=False Paused: paused: spec.permits is 0", stands())
	differ(t, "Ready", "Ready=True Accepted: the semaphore is in operation", conditionLine(s.sem.Status.Conditions, konductorv1.ConditionReady))
	if s.sem.Status.ObservedGeneration != s.sem.Generation {
		t.Errorf("the status speaks of generation %d, want %d", s.sem.Status.ObservedGeneration, s.sem.Generation)
	}
}

func TestRenewalsAreWrittenOnlyWhenPeopleWouldNotice(t *testing.T) {
	s := aLease().ttl(time.Minute)
	s.claim(aClaim("a"))
	s.play()
	writes := 0
	for range 60 {
		s.now += time.Second
		s.renew("a")
		if o := s.play(); !o.Rest {
			writes++
		}
	}
	// A renewal each second, and a write when the time that people read is off by more than a tenth of the TTL.
	if writes != 8 {
		t.Errorf("60 renewals made %d writes of the lease, want 8", writes)
	}
	if left := s.lease.Status.ExpiresAt.Sub(epoch.Add(s.now)); left < 54*time.Second || left > time.Minute {
		t.Errorf("people read that the hold lasts for %s, and it does for 1m", left)
	}
}

func TestHoldsLeaveTheirArgumentsAlone(t *testing.T) {
	s := aSemaphore(2).ttl(time.Minute)
	s.claim(aClaim("a"), aClaim("b"), aClaim("big").permits(2), aClaim("c"))
	s.play()
	s.now = 40 * time.Second
	s.renew("a")
	s.release("b")
	before := s.sem.DeepCopy()
	rules.Semaphore(s.sem, s.claims, s.revision, at(s.now))
	differ(t, "the semaphore", before, s.sem)

	l := aLease().ttl(time.Minute)
	l.claim(aClaim("a"), aClaim("b"))
	l.play()
	l.release("a")
	was := l.lease.DeepCopy()
	rules.Lease(l.lease, l.claims, l.revision, at(l.now))
	differ(t, "the lease", was, l.lease)
}

func TestTheFencingTokenIsToldWithTheEvent(t *testing.T) {
	s := aLease()
	s.claim(aClaim("a"))
	_, act, _ := s.decide()
	if got := act.Events[0].Message; !strings.HasSuffix(got, "to a, fencing token 100") {
		t.Errorf("the event says %q", got)
	}
	differ(t, "told", []konductorv1.SemaphoreHolder{{Holder: "a", Claim: "a", ClaimUID: types.UID("uid-a"), Permits: 1, FencingToken: 100, AcquiredAt: act.Tell[0].AcquiredAt}}, act.Tell)
}

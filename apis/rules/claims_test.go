package rules_test

import (
	"fmt"
	"iter"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/LogicIQ/konductor/apis/rules"
	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// setOf returns a set with these claims, observed at the start.
func setOf(claims ...*claimBuilder) *rules.Claims {
	c := rules.NewClaims()
	for _, b := range claims {
		c.Observe(b.c, 0)
	}
	return c
}

func names(claims iter.Seq[*rules.Claim]) (names []string) {
	for c := range claims {
		names = append(names, c.Name)
	}
	return names
}

func TestTheQueue(t *testing.T) {
	tests := map[string]struct {
		claims *rules.Claims
		do     func(*rules.Claims)
		want   []string
	}{
		"is ordered by priority, creation and revision": {
			claims: setOf(
				aClaim("e").revision(2), aClaim("d").revision(1), aClaim("f").created(time.Second),
				aClaim("b").priority(2).created(time.Hour), aClaim("a").priority(3), aClaim("g").priority(-1), aClaim("c").priority(1).revision(99),
			),
			want: []string{"a", "b", "c", "d", "e", "f", "g"},
		},
		"has those that wait and nobody else": {
			claims: setOf(aClaim("new").phase(""), aClaim("waits").revision(1), aClaim("holds").granted(1), aClaim("over").phase(konductorv1.ClaimExpired), aClaim("refused").phase(konductorv1.ClaimRefused)),
			want:   []string{"new", "waits"},
		},
		"is left by a claim that is deleted": {
			claims: setOf(aClaim("a"), aClaim("b")), do: func(c *rules.Claims) { c.Forget("uid-a") }, want: []string{"b"},
		},
		"is left by a claim whose pod has ended": {
			claims: setOf(aClaim("a"), aClaim("b")), do: func(c *rules.Claims) { c.EndPod("uid-a"); c.EndPod("uid-a") }, want: []string{"b"},
		},
		"is not joined again by a claim whose pod has ended": {
			claims: setOf(aClaim("a"), aClaim("b")),
			do:     func(c *rules.Claims) { c.EndPod("uid-a"); c.Observe(aClaim("a").c, 0) }, want: []string{"b"},
		},
		"keeps the place of a claim that is seen again with another revision": {
			claims: setOf(aClaim("a").revision(1), aClaim("b").revision(2)),
			do:     func(c *rules.Claims) { c.Observe(aClaim("a").revision(9).c, 0) }, want: []string{"a", "b"},
		},
		"is left when the claim is told, in whatever order the news come": {
			claims: setOf(aClaim("a"), aClaim("b"), aClaim("c")),
			do: func(c *rules.Claims) {
				c.Observe(aClaim("a").granted(1).c, 0)
				c.Observe(aClaim("a").c, 0)
				c.Observe(aClaim("b").phase(konductorv1.ClaimExpired).c, 0)
				c.Observe(aClaim("b").granted(2).c, 0)
			},
			want: []string{"c"},
		},
		"is not joined by a claim that is seen after it was seen deleted": {
			claims: setOf(aClaim("a")), do: func(c *rules.Claims) { c.Forget("uid-a"); c.Observe(aClaim("a").c, 0) },
		},
		"has the claims for the object that is there now": {
			claims: setOf(aClaim("a").target("one").revision(1), aClaim("b").target("two").revision(2), aClaim("c").revision(3)),
			do:     func(c *rules.Claims) { c.SetTarget("one"); c.SetTarget("two") }, want: []string{"b", "c"},
		},
		"has all claims while it is not known which object is there": {
			claims: setOf(aClaim("a").target("one").revision(1), aClaim("b").target("two").revision(2)), want: []string{"a", "b"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if test.do != nil {
				test.do(test.claims)
			}
			differ(t, "the queue", test.want, names(test.claims.Queue()))
			if got := test.claims.Waiting(); got != len(test.want) {
				t.Errorf("%d wait, want %d", got, len(test.want))
			}
		})
	}
}

func TestUnknownIsNotGone(t *testing.T) {
	c := setOf(aClaim("a"), aClaim("b"))
	presence := func(name string) rules.Presence { _, p := c.Find(types.UID("uid-" + name)); return p }
	c.Forget("uid-a")
	c.Forget("uid-never-seen")
	got := []rules.Presence{presence("a"), presence("b"), presence("c"), presence("never-seen")}
	differ(t, "a, b, c and one that was found deleted", []rules.Presence{rules.Gone, rules.Present, rules.Unknown, rules.Gone}, got)

	// What still stands among the holders must be remembered as gone, or its hold would not end.
	c.Forget("uid-b")
	c.Settle([]konductorv1.SemaphoreHolder{{ClaimUID: "uid-b"}, {ClaimUID: "uid-c"}})
	got = []rules.Presence{presence("a"), presence("b"), presence("c")}
	differ(t, "a, b, c after settling", []rules.Presence{rules.Unknown, rules.Gone, rules.Unknown}, got)
	c.Settle(nil)
	differ(t, "b after its hold was taken out", rules.Unknown, presence("b"))
}

func TestWhenAHoldWasRenewed(t *testing.T) {
	tests := map[string]struct {
		do   func(c *rules.Claims)
		want time.Duration
	}{
		"a claim that is seen again was not renewed": {func(c *rules.Claims) {
			c.Observe(aClaim("a").granted(1).c, 20)
		}, 10},
		"more renewals count from when they are seen": {func(c *rules.Claims) {
			c.Observe(aClaim("a").granted(1).renewals(1).c, 20)
			c.Observe(aClaim("a").granted(1).renewals(1).c, 30)
		}, 20},
		"fewer renewals are old news": {func(c *rules.Claims) {
			c.Observe(aClaim("a").granted(1).renewals(2).c, 20)
			c.Observe(aClaim("a").granted(1).renewals(1).c, 30)
			c.Observe(aClaim("a").granted(1).renewals(2).c, 40)
		}, 20},
		"a grant counts from when it was written": {func(c *rules.Claims) {
			c.Granted("uid-b", 20)
		}, 20},
		"and once the claim has been told, from then": {func(c *rules.Claims) {
			c.Granted("uid-b", 20)
			c.Observe(aClaim("b").granted(1).c, 30)
			c.Observe(aClaim("b").granted(1).c, 40)
		}, 30},
		"news of a grant that somebody else made count as the grant": {func(c *rules.Claims) {
			c.Observe(aClaim("b").granted(1).c, 30)
		}, 30},
		"the end of a pod renews nothing": {func(c *rules.Claims) { c.EndPod("uid-a") }, 10},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := rules.NewClaims()
			c.Observe(aClaim("a").granted(1).c, 10)
			c.Observe(aClaim("b").c, 10)
			test.do(c)
			latest := time.Duration(0)
			for claim := range c.All() {
				latest = max(latest, claim.RenewedAt)
			}
			differ(t, "the latest renewal", test.want, latest)
		})
	}
}

func TestLargestAndImpatientClaims(t *testing.T) {
	c := setOf(aClaim("two").permits(2), aClaim("five").permits(5).refuse(), aClaim("three").permits(3), aClaim("held").permits(9).granted(1).refuse())
	differ(t, "the largest first", []string{"five", "three", "two"}, names(c.LargestFirst()))
	differ(t, "those that don't want to wait", []string{"five"}, names(c.Impatient()))
	c.Observe(aClaim("five").permits(5).refuse().phase(konductorv1.ClaimRefused).c, 0)
	differ(t, "the largest first, one of them told", []string{"three", "two"}, names(c.LargestFirst()))
	differ(t, "those that don't want to wait, told", []string(nil), names(c.Impatient()))
	for range c.Queue() {
		break // an iteration that ends early must be possible
	}
	for range c.All() {
		break
	}
	for range setOf(aClaim("x").refuse(), aClaim("y").refuse()).Impatient() {
		break
	}
	if c.Len() != 4 {
		t.Errorf("there are %d claims, want 4", c.Len())
	}
}

func TestBeforeIsTheOrderOfTheQueue(t *testing.T) {
	object := func(name string, priority int32, since time.Duration) *konductorv1.Claim {
		return &konductorv1.Claim{
			ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), CreationTimestamp: metav1.NewTime(epoch.Add(since))},
			Spec:       konductorv1.ClaimSpec{Priority: priority},
		}
	}
	revisions := map[string]uint64{"a": 10, "b": 9}
	revision := func(c *konductorv1.Claim) uint64 { return revisions[c.Name] }
	tests := map[string]struct {
		a, b *konductorv1.Claim
		want bool
	}{
		"by priority":               {object("a", 1, time.Hour), object("b", 0, 0), true},
		"by priority, the other":    {object("a", 0, 0), object("b", 1, 0), false},
		"by age":                    {object("a", 0, 0), object("b", 0, time.Second), true},
		"by revision":               {object("a", 0, 0), object("b", 0, 0), false},
		"not before itself":         {object("a", 0, 0), object("a", 0, 0), false},
		"by UID if all is the same": {object("c", 0, 0), object("d", 0, 0), true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := rules.Before(test.a, test.b, revision); got != test.want {
				t.Errorf("got %t, want %t", got, test.want)
			}
		})
	}
}

// TestClaimsAgreesWithAList compares the set with the plainest one that there can be.
func TestClaimsAgreesWithAList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		set := rules.NewClaims()
		plain := map[types.UID]rules.Claim{}
		gone := map[types.UID]bool{}
		t.Repeat(map[string]func(*rapid.T){
			"observe": func(t *rapid.T) {
				name := rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f"}).Draw(t, "name")
				c := aClaim(name).c
				if known, ok := plain[c.UID]; ok {
					c = known
					phases := map[konductorv1.ClaimPhase][]konductorv1.ClaimPhase{
						konductorv1.ClaimPending: {konductorv1.ClaimPending, konductorv1.ClaimGranted, konductorv1.ClaimRefused},
						konductorv1.ClaimGranted: {konductorv1.ClaimGranted, konductorv1.ClaimExpired},
						konductorv1.ClaimExpired: {konductorv1.ClaimExpired}, konductorv1.ClaimRefused: {konductorv1.ClaimRefused},
					}
					c.Phase = rapid.SampledFrom(phases[c.Phase]).Draw(t, "phase")
				} else {
					c.Priority = rapid.Int32Range(0, 2).Draw(t, "priority")
					c.Permits = rapid.Int32Range(1, 3).Draw(t, "permits")
					c.Created = epoch.Add(time.Duration(rapid.IntRange(0, 1).Draw(t, "second")) * time.Second)
					c.Revision = rapid.Uint64Range(1, 3).Draw(t, "revision")
					c.Refuse = rapid.Bool().Draw(t, "refuse")
				}
				set.Observe(c, 0)
				if !gone[c.UID] {
					plain[c.UID] = c
				}
			},
			"forget": func(t *rapid.T) {
				uid := types.UID("uid-" + rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f"}).Draw(t, "name"))
				set.Forget(uid)
				delete(plain, uid)
				gone[uid] = true
			},
			"settle": func(*rapid.T) {
				set.Settle(nil)
				clear(gone)
			},
			"": func(t *rapid.T) {
				var queue []rules.Claim
				impatient := map[string]bool{}
				for _, c := range plain {
					if c.Phase != konductorv1.ClaimPending {
						continue
					}
					queue = append(queue, c)
					if c.Refuse {
						impatient[c.Name] = true
					}
				}
				key := func(c rules.Claim) string {
					return fmt.Sprint(9-c.Priority, c.Created.Unix(), c.Revision, c.UID) // a digit each
				}
				i := 0
				var former *rules.Claim
				for c := range set.Queue() {
					if known, ok := plain[c.UID]; !ok || known.Phase != konductorv1.ClaimPending {
						t.Fatalf("%s is in the queue and doesn't wait", c.Name)
					}
					if former != nil && key(*former) > key(*c) {
						t.Fatalf("%s stands before %s", former.Name, c.Name)
					}
					former = c
					i++
				}
				if i != len(queue) || set.Waiting() != len(queue) {
					t.Fatalf("%d are in the queue, %d are said to be, %d wait", i, set.Waiting(), len(queue))
				}
				last := int32(9)
				for c := range set.LargestFirst() {
					if c.Permits > last {
						t.Fatalf("%s asks for more than the one before", c.Name)
					}
					last = c.Permits
					i--
				}
				for c := range set.Impatient() {
					if !impatient[c.Name] {
						t.Fatalf("%s would wait", c.Name)
					}
					delete(impatient, c.Name)
				}
				if i != 0 || len(impatient) != 0 || set.Len() != len(plain) {
					t.Fatalf("by size: %d too few; not to be kept waiting but missing: %v; %d claims, want %d", i, impatient, set.Len(), len(plain))
				}
			},
		})
	})
}

package rules_test

import (
	"fmt"
	"iter"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/rules"
)

// newObservedClaimSet returns a set with these claims, observed at the start.
func newObservedClaimSet(claims ...*claimBuilder) *rules.ClaimSet {
	c := rules.NewClaimSet()
	for _, b := range claims {
		c.Observe(b.claim, 0)
	}
	return c
}

func collectNames(claims iter.Seq[*rules.Claim]) (names []string) {
	for c := range claims {
		names = append(names, c.Name)
	}
	return names
}

func TestQueueOrder(t *testing.T) {
	tests := map[string]struct {
		claims *rules.ClaimSet
		do     func(*rules.ClaimSet)
		want   []string
	}{
		"is ordered by priority, creation and revision": {
			claims: newObservedClaimSet(
				newClaim("e").revision(2), newClaim("d").revision(1), newClaim("f").created(time.Second),
				newClaim("b").priority(2).created(time.Hour), newClaim("a").priority(3), newClaim("g").priority(-1), newClaim("c").priority(1).revision(99),
			),
			want: []string{"a", "b", "c", "d", "e", "f", "g"},
		},
		"has those that wait and nobody else": {
			claims: newObservedClaimSet(newClaim("new").phase(""), newClaim("waits").revision(1), newClaim("holds").granted(1), newClaim("over").phase(konductorv1.ClaimExpired), newClaim("refused").phase(konductorv1.ClaimRefused)),
			want:   []string{"new", "waits"},
		},
		"is left by a claim that is deleted": {
			claims: newObservedClaimSet(newClaim("a"), newClaim("b")), do: func(c *rules.ClaimSet) { c.ObserveDeletion("uid-a") }, want: []string{"b"},
		},
		"is left by a claim whose pod has ended": {
			claims: newObservedClaimSet(newClaim("a"), newClaim("b")), do: func(c *rules.ClaimSet) { c.ObserveBoundEnd("uid-a"); c.ObserveBoundEnd("uid-a") }, want: []string{"b"},
		},
		"is not joined again by a claim whose pod has ended": {
			claims: newObservedClaimSet(newClaim("a"), newClaim("b")),
			do:     func(c *rules.ClaimSet) { c.ObserveBoundEnd("uid-a"); c.Observe(newClaim("a").claim, 0) }, want: []string{"b"},
		},
		"keeps the place of a claim that is seen again with another revision": {
			claims: newObservedClaimSet(newClaim("a").revision(1), newClaim("b").revision(2)),
			do:     func(c *rules.ClaimSet) { c.Observe(newClaim("a").revision(9).claim, 0) }, want: []string{"a", "b"},
		},
		"is left when the claim is told, in whatever order the news come": {
			claims: newObservedClaimSet(newClaim("a"), newClaim("b"), newClaim("c")),
			do: func(c *rules.ClaimSet) {
				c.Observe(newClaim("a").granted(1).claim, 0)
				c.Observe(newClaim("a").claim, 0)
				c.Observe(newClaim("b").phase(konductorv1.ClaimExpired).claim, 0)
				c.Observe(newClaim("b").granted(2).claim, 0)
			},
			want: []string{"c"},
		},
		"is not joined by a claim that has held and is seen after it was seen deleted": {
			claims: newObservedClaimSet(newClaim("a").granted(1)), do: func(c *rules.ClaimSet) { c.ObserveDeletion("uid-a"); c.Observe(newClaim("a").claim, 0) },
		},
		"has the claims for the object that is there now": {
			claims: newObservedClaimSet(newClaim("a").target("one").revision(1), newClaim("b").target("two").revision(2), newClaim("c").revision(3)),
			do:     func(c *rules.ClaimSet) { c.SetTargetUID("one"); c.SetTargetUID("two") }, want: []string{"b", "c"},
		},
		"has all claims while it is not known which object is there": {
			claims: newObservedClaimSet(newClaim("a").target("one").revision(1), newClaim("b").target("two").revision(2)), want: []string{"a", "b"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if test.do != nil {
				test.do(test.claims)
			}
			assertEqual(t, "the queue", test.want, collectNames(test.claims.Queue(nil)))
			if got := test.claims.QueueLen(); got != len(test.want) {
				t.Errorf("%d wait, want %d", got, len(test.want))
			}
		})
	}
}

func TestFindExistence(t *testing.T) {
	c := newObservedClaimSet(newClaim("a").granted(1), newClaim("b").granted(2), newClaim("waits"))
	existence := func(name string) rules.Existence { _, p := c.Find(types.UID("uid-" + name)); return p }
	c.ObserveDeletion("uid-a")
	c.ObserveDeletion("uid-never-seen")
	got := []rules.Existence{existence("a"), existence("b"), existence("c"), existence("never-seen")}
	assertEqual(t, "a, b, c and one that was found deleted", []rules.Existence{rules.ExistenceDeleted, rules.ExistenceConfirmed, rules.ExistenceUnknown, rules.ExistenceDeleted}, got)

	// The tombstones of holders must be kept, or their holds would not end.
	c.ObserveDeletion("uid-b")
	c.PruneTombstones([]konductorv1.Holder{{ClaimUID: "uid-b"}, {ClaimUID: "uid-c"}})
	got = []rules.Existence{existence("a"), existence("b"), existence("c")}
	assertEqual(t, "a, b, c after settling", []rules.Existence{rules.ExistenceUnknown, rules.ExistenceDeleted, rules.ExistenceUnknown}, got)
	c.PruneTombstones(nil)
	assertEqual(t, "b after its hold was taken out", rules.ExistenceUnknown, existence("b"))

	// A claim that never held isn't among the holders, and gets no tombstone. If it is after all, the API server is asked.
	c.ObserveDeletion("uid-waits")
	assertEqual(t, "one that waited", rules.ExistenceUnknown, existence("waits"))
}

func TestMaxTombstones(t *testing.T) {
	c := rules.NewClaimSet()
	const most, many = 2 * konductorv1.MaxHolders, 5 * konductorv1.MaxHolders
	remembered := 0
	for i := range many {
		c.ObserveDeletion(types.UID(fmt.Sprint(i)))
		if _, existence := c.Find(types.UID(fmt.Sprint(i))); existence != rules.ExistenceDeleted {
			t.Fatalf("claim %d is forgotten at once", i)
		}
	}
	for i := range many {
		if _, existence := c.Find(types.UID(fmt.Sprint(i))); existence == rules.ExistenceDeleted {
			remembered++
		}
	}
	if remembered != most {
		t.Errorf("%d of %d are remembered, want %d", remembered, many, most)
	}
}

func TestQueueSkipsClaimWithUnknownPod(t *testing.T) {
	c := newObservedClaimSet(newClaim("a").revision(1), newClaim("b").revision(2))
	c.SetBoundKnown("uid-a", false)
	assertEqual(t, "the queue", []string{"b"}, collectNames(c.Queue(nil)))
	c.Observe(newClaim("a").revision(1).claim, 0)
	assertEqual(t, "the queue after it was seen again", []string{"b"}, collectNames(c.Queue(nil)))
	c.SetBoundKnown("uid-a", true)
	assertEqual(t, "the queue after its Pod was seen", []string{"a", "b"}, collectNames(c.Queue(nil)))
}

func TestLastObservedRenewal(t *testing.T) {
	tests := map[string]struct {
		do   func(c *rules.ClaimSet)
		want time.Duration
	}{
		"a claim that is seen again was not renewed": {func(c *rules.ClaimSet) {
			c.Observe(newClaim("a").granted(1).claim, 20)
		}, 10},
		"more renewals count from when they are seen": {func(c *rules.ClaimSet) {
			c.Observe(newClaim("a").granted(1).renewals(1).claim, 20)
			c.Observe(newClaim("a").granted(1).renewals(1).claim, 30)
		}, 20},
		"fewer renewals are old news": {func(c *rules.ClaimSet) {
			c.Observe(newClaim("a").granted(1).renewals(2).claim, 20)
			c.Observe(newClaim("a").granted(1).renewals(1).claim, 30)
			c.Observe(newClaim("a").granted(1).renewals(2).claim, 40)
		}, 20},
		"a grant counts from when it was written": {func(c *rules.ClaimSet) {
			c.RecordGrant("uid-b", 20)
		}, 20},
		"and once the claim has been told, from then": {func(c *rules.ClaimSet) {
			c.RecordGrant("uid-b", 20)
			c.Observe(newClaim("b").granted(1).claim, 30)
			c.Observe(newClaim("b").granted(1).claim, 40)
		}, 30},
		"news of a grant that somebody else made count as the grant": {func(c *rules.ClaimSet) {
			c.Observe(newClaim("b").granted(1).claim, 30)
		}, 30},
		"the end of a pod renews nothing": {func(c *rules.ClaimSet) { c.ObserveBoundEnd("uid-a") }, 10},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := rules.NewClaimSet()
			c.Observe(newClaim("a").granted(1).claim, 10)
			c.Observe(newClaim("b").claim, 10)
			test.do(c)
			latest := time.Duration(0)
			for claim := range c.All() {
				latest = max(latest, claim.LastObservedRenewal)
			}
			assertEqual(t, "the latest renewal", test.want, latest)
		})
	}
}

func TestLargestFirstAndNoWait(t *testing.T) {
	c := newObservedClaimSet(newClaim("two").permits(2), newClaim("five").permits(5).noWait(), newClaim("three").permits(3), newClaim("held").permits(9).granted(1).noWait())
	assertEqual(t, "the largest first", []string{"five", "three", "two"}, collectNames(c.LargestFirst()))
	assertEqual(t, "those that don't want to wait", []string{"five"}, collectNames(c.NoWait()))
	c.Observe(newClaim("five").permits(5).noWait().phase(konductorv1.ClaimRefused).claim, 0)
	assertEqual(t, "the largest first, one of them told", []string{"three", "two"}, collectNames(c.LargestFirst()))
	assertEqual(t, "those that don't want to wait, told", []string(nil), collectNames(c.NoWait()))
	for range c.Queue(nil) {
		break // an iteration that ends early must be possible
	}
	for range c.All() {
		break
	}
	for range newObservedClaimSet(newClaim("x").noWait(), newClaim("y").noWait()).NoWait() {
		break
	}
	if c.Len() != 4 {
		t.Errorf("there are %d claims, want 4", c.Len())
	}
}

func TestServedBefore(t *testing.T) {
	versions := map[string]string{"a": "10", "b": "9"}
	object := func(name string, priority int32, since time.Duration) *konductorv1.Claim {
		return &konductorv1.Claim{
			ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), ResourceVersion: versions[name], CreationTimestamp: metav1.NewTime(epoch.Add(since))},
			Spec:       konductorv1.ClaimSpec{Priority: priority},
		}
	}
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
			if got := rules.ServedBefore(test.a, test.b); got != test.want {
				t.Errorf("got %t, want %t", got, test.want)
			}
		})
	}
}

// TestClaimSetMatchesPlainMap compares the set with the simplest implementation.
func TestClaimSetMatchesPlainMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		set := rules.NewClaimSet()
		plain := map[types.UID]rules.Claim{}
		deleted := map[types.UID]bool{}
		t.Repeat(map[string]func(*rapid.T){
			"observe": func(t *rapid.T) {
				name := rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f"}).Draw(t, "name")
				c := newClaim(name).claim
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
					c.CreationRevision = rapid.Uint64Range(1, 3).Draw(t, "revision")
					c.NoWait = rapid.Bool().Draw(t, "refuse")
				}
				set.Observe(c, 0)
				if !deleted[c.UID] {
					plain[c.UID] = c
				}
			},
			"forget": func(t *rapid.T) {
				uid := types.UID("uid-" + rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f"}).Draw(t, "name"))
				known, ok := plain[uid]
				set.ObserveDeletion(uid)
				delete(plain, uid)
				// Claims that were pending or refused get no tombstone.
				deleted[uid] = deleted[uid] || !ok || known.Phase == konductorv1.ClaimGranted || known.Phase == konductorv1.ClaimExpired
			},
			"settle": func(*rapid.T) {
				set.PruneTombstones(nil)
				clear(deleted)
			},
			"": func(t *rapid.T) {
				var queue []rules.Claim
				noWait := map[string]bool{}
				for _, c := range plain {
					if c.Phase != konductorv1.ClaimPending {
						continue
					}
					queue = append(queue, c)
					if c.NoWait {
						noWait[c.Name] = true
					}
				}
				key := func(c rules.Claim) string {
					return fmt.Sprint(9-c.Priority, c.Created.Unix(), c.CreationRevision, c.UID) // a digit each
				}
				i := 0
				var previous *rules.Claim
				for c := range set.Queue(nil) {
					if known, ok := plain[c.UID]; !ok || known.Phase != konductorv1.ClaimPending {
						t.Fatalf("%s is in the queue and doesn't wait", c.Name)
					}
					if previous != nil && key(*previous) > key(*c) {
						t.Fatalf("%s stands before %s", previous.Name, c.Name)
					}
					previous = c
					i++
				}
				if i != len(queue) || set.QueueLen() != len(queue) {
					t.Fatalf("%d are in the queue, %d are said to be, %d wait", i, set.QueueLen(), len(queue))
				}
				last := int32(9)
				for c := range set.LargestFirst() {
					if c.Permits > last {
						t.Fatalf("%s asks for more than the one before", c.Name)
					}
					last = c.Permits
					i--
				}
				for c := range set.NoWait() {
					if !noWait[c.Name] {
						t.Fatalf("%s would wait", c.Name)
					}
					delete(noWait, c.Name)
				}
				if i != 0 || len(noWait) != 0 || set.Len() != len(plain) {
					t.Fatalf("by size: %d too few; not to be kept waiting but missing: %v; %d claims, want %d", i, noWait, set.Len(), len(plain))
				}
			},
		})
	})
}

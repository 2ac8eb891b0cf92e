package rules_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/LogicIQ/konductor/apis/rules"
	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// TestMain makes the runs of the property tests so many, and so long, that a grant, its loss and the next grant happen
// in many of them. Flags on the command line go before.
func TestMain(m *testing.M) {
	defaults := map[string]string{"rapid.steps": "120", "rapid.checks": "500"}
	flag.Parse()
	flag.Visit(func(f *flag.Flag) { delete(defaults, f.Name) })
	for name, value := range defaults {
		if err := flag.Set(name, value); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
	}
	os.Exit(m.Run())
}

func drawWorld(t *rapid.T) *world {
	return newWorld(
		rapid.Bool().Draw(t, "lease"),
		rapid.Int32Range(0, 3).Draw(t, "permits"),
		rapid.SampledFrom([]time.Duration{0, 10 * time.Second, 30 * time.Second}).Draw(t, "ttl"),
	)
}

// drawClaim draws a claim as a client may make it, for the object that is there or for any of its name.
func drawClaim(t *rapid.T, w *world) rules.Claim {
	c := rules.Claim{
		Permits:  1,
		Priority: rapid.Int32Range(0, 2).Draw(t, "priority"),
		TTL:      rapid.SampledFrom([]time.Duration{0, 5 * time.Second, 20 * time.Second}).Draw(t, "ttl"),
		Bound:    rapid.Bool().Draw(t, "bound"),
		Refuse:   rapid.IntRange(0, 4).Draw(t, "refuse") == 4,
	}
	if w.parent == nil {
		return c
	}
	if w.parent.sem != nil {
		c.Permits = rapid.Int32Range(1, 4).Draw(t, "permits")
	}
	if rapid.Bool().Draw(t, "owned") {
		c.Target = w.parent.uid()
	}
	return c
}

func someClaim(t *rapid.T, w *world, f func(*apiClaim) bool) types.UID {
	uids := w.sorted(f)
	if len(uids) == 0 {
		t.Skip("none")
	}
	return rapid.SampledFrom(uids).Draw(t, "claim")
}

func anyClaim(*apiClaim) bool  { return true }
func holds(c *apiClaim) bool   { return c.facts.Phase == konductorv1.ClaimGranted }
func podRuns(c *apiClaim) bool { return c.facts.Bound && !c.podEnded }

// seldom skips an action two times out of three.
func seldom(action func(*rapid.T)) func(*rapid.T) {
	return func(t *rapid.T) {
		if rapid.IntRange(0, 2).Draw(t, "really") == 2 {
			action(t)
		}
	}
}

// worldActions are what users, clients, pods and time do.
func worldActions(w *world) map[string]func(*rapid.T) {
	pass := func(t *rapid.T) { w.now += time.Duration(rapid.IntRange(1, 20).Draw(t, "seconds")) * time.Second }
	return map[string]func(*rapid.T){
		"a client asks":      func(t *rapid.T) { w.createClaim(drawClaim(t, w)) },
		"a claim is deleted": seldom(func(t *rapid.T) { w.deleteClaim(someClaim(t, w, anyClaim)) }),
		"a holder releases":  seldom(func(t *rapid.T) { w.deleteClaim(someClaim(t, w, holds)) }),
		"a holder renews":    func(t *rapid.T) { w.renewClaim(someClaim(t, w, holds)) },
		"a pod ends":         seldom(func(t *rapid.T) { w.endPod(someClaim(t, w, podRuns)) }),
		"time passes":        pass,
		"more time passes":   pass,
		"the permits are changed": seldom(func(t *rapid.T) {
			if w.parent == nil || w.parent.sem == nil {
				t.Skip("none")
			}
			w.resize(rapid.Int32Range(0, 4).Draw(t, "permits"))
		}),
	}
}

// TestHoldsWithSeveralOperators is the promise, under everything that can go wrong: two operators that both take
// themselves for the leader and see the object, the claims and the pods late and each in another state; requests and
// answers that are lost; operators that crash between two requests and come back with a list that may be old; renewals
// that race with expiry; objects that are deleted and created again.
func TestHoldsWithSeveralOperators(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		ops := []*operator{w.start(0, len(w.log)), w.start(time.Hour, len(w.log))}
		some := func(t *rapid.T) *operator { return ops[rapid.IntRange(0, len(ops)-1).Draw(t, "operator")] }
		drawStream := rapid.SampledFrom([]stream{parents, claimEvents, pods})
		drawFault := rapid.SampledFrom([]fault{works, works, works, works, lost, fails})
		act := func(t *rapid.T) {
			o := some(t)
			if len(o.plan) == 0 {
				o.decide(rapid.SampledFrom([]time.Duration{0, 0, time.Hour, -time.Hour}).Draw(t, "skew"))
			}
			for range rapid.IntRange(0, 4).Draw(t, "requests") {
				o.step(drawFault.Draw(t, "fault"))
				w.checkBelief()
			}
		}
		actions := worldActions(w)
		maps.Copy(actions, map[string]func(*rapid.T){
			"":                         func(*rapid.T) { w.checkBelief() },
			"an operator acts":         act,
			"an operator acts once":    act,
			"an operator acts again":   act,
			"an operator acts further": act,
			"an operator is told something": func(t *rapid.T) {
				o, s := some(t), drawStream.Draw(t, "stream")
				for range rapid.IntRange(1, 4).Draw(t, "changes") {
					o.deliver(s)
				}
			},
			"an operator is told all": func(t *rapid.T) { some(t).catchUp() },
			"an operator crashes": seldom(func(t *rapid.T) {
				i := rapid.IntRange(0, len(ops)-1).Draw(t, "operator")
				ops[i] = w.start(ops[i].clock+time.Minute, rapid.IntRange(1, len(w.log)).Draw(t, "listed"))
			}),
			"the object is deleted": seldom(seldom(func(t *rapid.T) {
				if w.parent == nil {
					t.Skip("it is gone")
				}
				w.deleteParent()
			})),
			"the object is created again": func(t *rapid.T) {
				if w.parent != nil {
					t.Skip("it is there")
				}
				w.createParent(2)
			},
			"garbage is collected": func(*rapid.T) { collectGarbage(w) },
		})
		t.Repeat(actions)
		drain(w, ops[0])
	})
}

// collectGarbage deletes the claims of an object that is gone.
func collectGarbage(w *world) {
	for _, uid := range w.sorted(anyClaim) {
		c := w.claims[uid]
		if c.facts.Target != "" && (w.parent == nil || c.facts.Target != w.parent.uid()) {
			w.deleteClaim(uid)
		}
	}
}

// drain lets things come to rest with one operator and checks that nobody starves and nothing leaks: as holders release,
// everybody who is willing to wait is served, and when all have gone nothing is left.
func drain(w *world, o *operator) {
	if w.parent == nil {
		w.createParent(2)
	}
	if w.parent.permits() == 0 {
		w.resize(1)
	}
	collectGarbage(w)
	o.settle()
	for range len(w.claims) + 1 {
		held := w.sorted(holds)
		checkRest(w, o, held)
		if len(held) == 0 {
			break
		}
		for _, uid := range held {
			w.deleteClaim(uid)
		}
		o.settle()
	}
	for _, uid := range w.sorted(func(c *apiClaim) bool { return c.facts.Phase == konductorv1.ClaimPending && !c.podEnded }) {
		violation("%s still waits though everybody has released", uid)
	}
	for _, uid := range w.sorted(anyClaim) {
		w.deleteClaim(uid)
	}
	o.settle()
	if n := len(w.parent.holders()); n > 0 || o.claims.Len() > 0 || o.claims.Waiting() > 0 {
		violation("%d holders and %d claims are left when all claims are gone", n, o.claims.Len())
	}
}

// checkRest checks how things stand when nothing is left to do: the holders are those who were told that they hold, and
// nothing more is written.
func checkRest(w *world, o *operator, held []types.UID) {
	var holders []types.UID
	for _, h := range w.parent.holders() {
		holders = append(holders, h.ClaimUID)
	}
	slices.Sort(holders)
	alive := slices.DeleteFunc(slices.Clone(held), func(uid types.UID) bool { return w.claims[uid].podEnded })
	if !slices.Equal(holders, alive) {
		violation("%v hold, and %v were told so", holders, alive)
	}
	before := w.revision
	o.settle()
	if w.revision != before {
		violation("at rest, and still %d writes", w.revision-before)
	}
}

// TestHoldsWithOneOperator checks what holds besides when one operator sees everything at once: the order of the queue,
// that the first in it is passed at most ten times, that no permit stays free which somebody could have, and that
// nobody who was told that it is over gets a hold again.
func TestHoldsWithOneOperator(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		o := w.start(0, len(w.log))
		passed := passes{}
		actions := worldActions(w)
		actions["somebody asks for little"] = func(*rapid.T) {
			w.createClaim(rules.Claim{Permits: 1, Bound: true})
		}
		for name, action := range actions {
			actions[name] = func(t *rapid.T) {
				action(t)
				actInOrder(w, o, &passed)
			}
		}
		t.Repeat(actions)
		if w.invalid > 0 {
			t.Fatalf("the API server refused %d writes", w.invalid)
		}
		drain(w, o)
	})
}

// passes counts how often the claim that is first in the queue has been passed while it was first.
type passes struct {
	first types.UID
	count int
}

// actInOrder lets the operator act until nothing is left to do, and checks each of its decisions.
func actInOrder(w *world, o *operator, passed *passes) {
	for range enough {
		o.catchUp()
		queue := waitingInOrder(w)
		act := o.decide(0)
		if len(o.plan) == 0 {
			return
		}
		if len(act.Expire) == 0 {
			checkOrder(queue, o.next, act, passed)
		}
		for len(o.plan) > 0 {
			o.step(works)
			w.checkBelief()
		}
	}
	violation("no rest after %d decisions", enough)
}

// waitingInOrder are the claims that wait, by a plain sort.
func waitingInOrder(w *world) (queue []*apiClaim) {
	held := map[types.UID]bool{}
	for _, h := range w.parent.holders() {
		held[h.ClaimUID] = true
	}
	for _, uid := range w.sorted(func(c *apiClaim) bool { return c.facts.Phase == konductorv1.ClaimPending && !c.podEnded }) {
		if !held[uid] {
			queue = append(queue, w.claims[uid])
		}
	}
	slices.SortFunc(queue, func(a, b *apiClaim) int {
		switch {
		case a.facts.Priority != b.facts.Priority:
			return int(b.facts.Priority - a.facts.Priority)
		default:
			return int(a.facts.Revision) - int(b.facts.Revision)
		}
	})
	return queue
}

// checkOrder checks one decision about that queue, after which the object is as in next.
func checkOrder(queue []*apiClaim, next *parent, act rules.HoldActions, passed *passes) {
	free := next.permits()
	for _, h := range next.holders() {
		free -= h.Permits
	}
	granted, refused := map[types.UID]bool{}, map[types.UID]bool{}
	for _, c := range act.Granted {
		granted[c.UID] = true
	}
	for _, v := range act.Refuse {
		refused[v.Claim.UID] = true
	}
	for uid := range granted {
		if !slices.ContainsFunc(queue, func(c *apiClaim) bool { return c.facts.UID == uid }) {
			violation("%s was granted and doesn't wait", uid)
		}
	}
	var first *apiClaim // of those that go on waiting
	behind := 0
	for i, c := range queue {
		uid := c.facts.UID
		switch {
		case granted[uid] && first != nil:
			behind++
		case granted[uid] || refused[uid]:
		case first == nil:
			first = c
			for _, later := range queue[i:] {
				if granted[later.facts.UID] && later.facts.Permits >= c.facts.Permits {
					violation("%s asks for no less than %s, which was before it, and was granted", later.facts.UID, uid)
				}
			}
		}
		if c.facts.Refuse && !granted[uid] && !refused[uid] {
			violation("%s doesn't want to wait and is kept waiting", uid)
		}
	}
	if first == nil {
		*passed = passes{}
		return
	}
	if passed.first != first.facts.UID {
		*passed = passes{first: first.facts.UID}
	}
	passed.count += behind
	if passed.count > rules.MaxOvertaken {
		violation("%s was passed %d times", passed.first, passed.count)
	}
	if h := next.head(); h == nil || h.ClaimUID != first.facts.UID || h.Overtaken < rules.MaxOvertaken {
		for _, c := range queue {
			if uid := c.facts.UID; !granted[uid] && !refused[uid] && c.facts.Permits <= free {
				violation("%s waits for %d permits while %d are free", uid, c.facts.Permits, free)
			}
		}
	}
}

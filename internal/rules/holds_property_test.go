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

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/rules"
)

// TestMain sets the number and length of the property tests' runs so that a grant, its loss and the next grant happen in many of
// them. Command line flags take precedence.
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

func drawAPIServer(t *rapid.T) *fakeAPIServer {
	return newFakeAPIServer(
		rapid.Bool().Draw(t, "lease"),
		rapid.Int32Range(0, 3).Draw(t, "permits"),
		rapid.SampledFrom([]time.Duration{0, 10 * time.Second, 30 * time.Second}).Draw(t, "ttl"),
	)
}

// drawClaim draws a claim as a client may create it, for the present object or for any of its name.
func drawClaim(t *rapid.T, w *fakeAPIServer) rules.Claim {
	c := rules.Claim{
		Permits:    1,
		Priority:   rapid.Int32Range(0, 2).Draw(t, "priority"),
		TTL:        rapid.SampledFrom([]time.Duration{0, 5 * time.Second, 20 * time.Second}).Draw(t, "ttl"),
		BoundToPod: rapid.Bool().Draw(t, "bound"),
		NoWait:     rapid.IntRange(0, 4).Draw(t, "refuse") == 4,
	}
	if w.target == nil {
		return c
	}
	if w.target.sem != nil {
		c.Permits = rapid.Int32Range(1, 4).Draw(t, "permits")
	}
	if rapid.Bool().Draw(t, "owned") {
		c.TargetUID = w.target.uid()
	}
	return c
}

func drawExistingClaim(t *rapid.T, w *fakeAPIServer, f func(*claimVersion) bool) types.UID {
	uids := w.sortedClaimUIDs(f)
	if len(uids) == 0 {
		t.Skip("none")
	}
	return rapid.SampledFrom(uids).Draw(t, "claim")
}

func isAnyClaim(*claimVersion) bool      { return true }
func isGranted(c *claimVersion) bool     { return c.claim.Phase == konductorv1.ClaimGranted }
func hasRunningPod(c *claimVersion) bool { return c.claim.BoundToPod && !c.podEnded }

// oneInThree skips an action two times out of three.
func oneInThree(action func(*rapid.T)) func(*rapid.T) {
	return func(t *rapid.T) {
		if rapid.IntRange(0, 2).Draw(t, "really") == 2 {
			action(t)
		}
	}
}

// apiServerActions are the actions of users, clients and pods, and the passage of time.
func apiServerActions(w *fakeAPIServer) map[string]func(*rapid.T) {
	pass := func(t *rapid.T) { w.now += time.Duration(rapid.IntRange(1, 20).Draw(t, "seconds")) * time.Second }
	return map[string]func(*rapid.T){
		"a client asks":      func(t *rapid.T) { w.createClaim(drawClaim(t, w)) },
		"a claim is deleted": oneInThree(func(t *rapid.T) { w.deleteClaim(drawExistingClaim(t, w, isAnyClaim)) }),
		"a holder releases":  oneInThree(func(t *rapid.T) { w.deleteClaim(drawExistingClaim(t, w, isGranted)) }),
		"a holder renews":    func(t *rapid.T) { w.renewClaim(drawExistingClaim(t, w, isGranted)) },
		"a pod ends":         oneInThree(func(t *rapid.T) { w.endPod(drawExistingClaim(t, w, hasRunningPod)) }),
		"time passes":        pass,
		"more time passes":   pass,
		"the permits are changed": oneInThree(func(t *rapid.T) {
			if w.target == nil || w.target.sem == nil {
				t.Skip("none")
			}
			w.resize(rapid.Int32Range(0, 4).Draw(t, "permits"))
		}),
		"the highest allowed priority is changed": oneInThree(func(t *rapid.T) {
			if w.target == nil {
				t.Skip("none")
			}
			w.setMaxPriority(rapid.SampledFrom([]*int32{nil, new(int32), ptr[int32](1)}).Draw(t, "limit"))
		}),
	}
}

// TestHoldsWithSeveralOperators checks the invariants under everything that can go wrong: two operators that both believe to be
// the leader, and see the object, the claims and the pods late and each in another state; requests and responses that are lost;
// operators that crash between two requests and restart with a list that may be stale; renewals that race with expiry; objects
// that are deleted and created again.
func TestHoldsWithSeveralOperators(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawAPIServer(t)
		ops := []*fakeOperator{w.startOperator(0, len(w.eventLog)), w.startOperator(time.Hour, len(w.eventLog))}
		drawOperator := func(t *rapid.T) *fakeOperator { return ops[rapid.IntRange(0, len(ops)-1).Draw(t, "operator")] }
		drawStream := rapid.SampledFrom([]watchStream{targetStream, claimStream, podStream})
		drawFault := rapid.SampledFrom([]requestFault{noFault, noFault, noFault, noFault, responseLost, requestLost})
		reconcile := func(t *rapid.T) {
			o := drawOperator(t)
			if len(o.pendingRequests) == 0 {
				o.decide(rapid.SampledFrom([]time.Duration{0, 0, time.Hour, -time.Hour}).Draw(t, "skew"))
			}
			for range rapid.IntRange(0, 4).Draw(t, "requests") {
				o.runNextRequest(drawFault.Draw(t, "fault"))
				w.checkClientHolds()
			}
		}
		actions := apiServerActions(w)
		maps.Copy(actions, map[string]func(*rapid.T){
			"":                         func(*rapid.T) { w.checkClientHolds() },
			"an operator acts":         reconcile,
			"an operator acts once":    reconcile,
			"an operator acts again":   reconcile,
			"an operator acts further": reconcile,
			"an operator is told something": func(t *rapid.T) {
				o, s := drawOperator(t), drawStream.Draw(t, "stream")
				for range rapid.IntRange(1, 4).Draw(t, "changes") {
					o.deliverNext(s)
				}
			},
			"an operator is told all": func(t *rapid.T) { drawOperator(t).deliverAll() },
			"an operator crashes": oneInThree(func(t *rapid.T) {
				i := rapid.IntRange(0, len(ops)-1).Draw(t, "operator")
				ops[i] = w.startOperator(ops[i].monotonicOffset+time.Minute, rapid.IntRange(1, len(w.eventLog)).Draw(t, "listed"))
			}),
			"the object is deleted": oneInThree(oneInThree(func(t *rapid.T) {
				if w.target == nil {
					t.Skip("it is gone")
				}
				w.deleteTarget()
			})),
			"the object is created again": func(t *rapid.T) {
				if w.target != nil {
					t.Skip("it is there")
				}
				w.createTarget(2)
			},
			"garbage is collected": func(*rapid.T) { garbageCollectClaims(w) },
		})
		t.Repeat(actions)
		drainAndCheck(w, ops[0])
	})
}

// garbageCollectClaims deletes the claims of an object that was deleted.
func garbageCollectClaims(w *fakeAPIServer) {
	for _, uid := range w.sortedClaimUIDs(isAnyClaim) {
		c := w.claims[uid]
		if c.claim.TargetUID != "" && (w.target == nil || c.claim.TargetUID != w.target.uid()) {
			w.deleteClaim(uid)
		}
	}
}

// drainAndCheck reconciles with one operator until stable and checks that no claim starves and nothing leaks: as holders release,
// every claim that waits is served, and when all are deleted nothing is left.
func drainAndCheck(w *fakeAPIServer, o *fakeOperator) {
	if w.target == nil {
		w.createTarget(2)
	}
	if w.target.permits() == 0 {
		w.resize(1)
	}
	garbageCollectClaims(w)
	o.reconcileUntilStable()
	for range len(w.claims) + 1 {
		held := w.sortedClaimUIDs(isGranted)
		checkStable(w, o, held)
		if len(held) == 0 {
			break
		}
		for _, uid := range held {
			w.deleteClaim(uid)
		}
		o.reconcileUntilStable()
	}
	for _, uid := range w.sortedClaimUIDs(func(c *claimVersion) bool { return c.claim.Phase == konductorv1.ClaimPending && !c.podEnded }) {
		failInvariant("%s still waits though everybody has released", uid)
	}
	for _, uid := range w.sortedClaimUIDs(isAnyClaim) {
		w.deleteClaim(uid)
	}
	o.reconcileUntilStable()
	if n := len(w.target.holders()); n > 0 || o.claims.Len() > 0 || o.claims.QueueLen() > 0 {
		failInvariant("%d holders and %d claims are left when all claims are gone", n, o.claims.Len())
	}
}

// checkStable checks the state when nothing is left to do: the holders are those that were notified of their grant, and nothing
// more is written.
func checkStable(w *fakeAPIServer, o *fakeOperator, held []types.UID) {
	var holders []types.UID
	for _, h := range w.target.holders() {
		holders = append(holders, h.ClaimUID)
	}
	slices.Sort(holders)
	notifiedHolders := slices.DeleteFunc(slices.Clone(held), func(uid types.UID) bool { return w.claims[uid].podEnded })
	if !slices.Equal(holders, notifiedHolders) {
		failInvariant("%v hold, and %v were told so", holders, notifiedHolders)
	}
	before := w.revision
	o.reconcileUntilStable()
	if w.revision != before {
		failInvariant("at rest, and still %d writes", w.revision-before)
	}
}

// TestHoldsWithOneOperator checks what also holds when one operator sees everything at once: the order of the queue, that no
// permit stays free which a claim could have, and that no claim that was notified of its end gets a hold again.
func TestHoldsWithOneOperator(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawAPIServer(t)
		o := w.startOperator(0, len(w.eventLog))
		actions := apiServerActions(w)
		actions["somebody asks for little"] = func(*rapid.T) {
			w.createClaim(rules.Claim{Permits: 1, BoundToPod: true})
		}
		for name, action := range actions {
			actions[name] = func(t *rapid.T) {
				action(t)
				reconcileAndCheckOrder(w, o)
			}
		}
		t.Repeat(actions)
		if w.invalidWrites > 0 {
			t.Fatalf("the API server refused %d writes", w.invalidWrites)
		}
		drainAndCheck(w, o)
	})
}

// reconcileAndCheckOrder reconciles until nothing is left to do, and checks each decision.
func reconcileAndCheckOrder(w *fakeAPIServer, o *fakeOperator) {
	for range maxDecisions {
		o.deliverAll()
		queue := expectedQueue(w)
		act := o.decide(0)
		if len(act.Expire) == 0 {
			checkGrantOrder(queue, o.lastDecided, act)
		}
		if len(o.pendingRequests) == 0 {
			return
		}
		for len(o.pendingRequests) > 0 {
			o.runNextRequest(noFault)
			w.checkClientHolds()
		}
	}
	failInvariant("no rest after %d decisions", maxDecisions)
}

// expectedQueue is the queue, by a simple sort.
func expectedQueue(w *fakeAPIServer) (queue []*claimVersion) {
	held := map[types.UID]bool{}
	for _, h := range w.target.holders() {
		held[h.ClaimUID] = true
	}
	for _, uid := range w.sortedClaimUIDs(func(c *claimVersion) bool { return c.claim.Phase == konductorv1.ClaimPending && !c.podEnded }) {
		if !held[uid] {
			queue = append(queue, w.claims[uid])
		}
	}
	slices.SortFunc(queue, func(a, b *claimVersion) int {
		switch {
		case a.claim.Priority != b.claim.Priority:
			return int(b.claim.Priority - a.claim.Priority)
		default:
			return int(a.claim.CreationRevision) - int(b.claim.CreationRevision)
		}
	})
	return queue
}

// checkGrantOrder checks one decision about that queue, with next as the resulting object.
func checkGrantOrder(queue []*claimVersion, next *targetVersion, act rules.HoldDecision) {
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
		if !slices.ContainsFunc(queue, func(c *claimVersion) bool { return c.claim.UID == uid }) {
			failInvariant("%s was granted and doesn't wait", uid)
		}
	}
	var first *claimVersion // of those that go on waiting
	for i, c := range queue {
		uid := c.claim.UID
		switch {
		case granted[uid] || refused[uid]:
		case first == nil:
			first = c
			for _, later := range queue[i:] {
				if granted[later.claim.UID] && later.claim.Permits >= c.claim.Permits {
					failInvariant("%s asks for no less than %s, which was before it, and was granted", later.claim.UID, uid)
				}
			}
		}
		if c.claim.NoWait && !granted[uid] && !refused[uid] {
			failInvariant("%s doesn't want to wait and is kept waiting", uid)
		}
	}
	for _, o := range next.overtaken() {
		waits := slices.ContainsFunc(queue, func(c *claimVersion) bool { return c.claim.UID == o.ClaimUID }) ||
			// or has been deleted, which is verified first
			slices.ContainsFunc(act.Verify, func(c rules.ClaimRef) bool { return c.UID == o.ClaimUID })
		if waits && o.Times == konductorv1.MaxOvertaken {
			return // the free permits are reserved for it
		}
	}
	for _, c := range queue {
		uid := c.claim.UID
		if !granted[uid] && !refused[uid] && c.claim.Permits <= free {
			failInvariant("%s waits for %d permits while %d are free", uid, c.claim.Permits, free)
		}
	}
}

// TestOvertakingLimitWithTwoOperators has many small claims that come and go while large ones wait, some of which are deleted
// again. Both operators act on what they know.
func TestOvertakingLimitWithTwoOperators(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newFakeAPIServer(false, 4, 0)
		ops := []*fakeOperator{w.startOperator(0, len(w.eventLog)), w.startOperator(time.Hour, len(w.eventLog))}
		reconcile := func(t *rapid.T) {
			o := ops[rapid.IntRange(0, 1).Draw(t, "operator")]
			for o.deliverNext(targetStream) {
			}
			if rapid.IntRange(0, 3).Draw(t, "lags") > 0 {
				o.deliverAll()
			}
			o.decide(0)
			for len(o.pendingRequests) > 0 {
				o.runNextRequest(noFault)
			}
		}
		createClaim := func(t *rapid.T, permits int32) {
			w.createClaim(rules.Claim{Permits: permits, BoundToPod: true, Priority: rapid.Int32Range(0, 2).Draw(t, "priority")})
			reconcile(t)
		}
		holding := func(small bool) func(*claimVersion) bool {
			return func(c *claimVersion) bool { return isGranted(c) && (c.claim.Permits == 1) == small }
		}
		w.createClaim(rules.Claim{Permits: 2, BoundToPod: true}) // holds all the time
		reconcile(t)
		replaceSmallClaim := func(t *rapid.T) {
			if small := w.sortedClaimUIDs(holding(true)); len(small) > 0 {
				w.deleteClaim(small[0])
			}
			createClaim(t, 1)
		}
		t.Repeat(map[string]func(*rapid.T){
			"":                         func(*rapid.T) {},
			"a small one comes":        replaceSmallClaim,
			"another small one comes":  replaceSmallClaim,
			"one more small one comes": replaceSmallClaim,
			"a large one comes":        oneInThree(func(t *rapid.T) { createClaim(t, rapid.Int32Range(3, 4).Draw(t, "permits")) }),
			"one gives up": oneInThree(func(t *rapid.T) {
				w.deleteClaim(drawExistingClaim(t, w, func(c *claimVersion) bool { return c.claim.Phase == konductorv1.ClaimPending }))
				reconcile(t)
			}),
			"one of all releases": oneInThree(func(t *rapid.T) { w.deleteClaim(drawExistingClaim(t, w, isGranted)); reconcile(t) }),
			"an operator acts":    reconcile,
			"an operator starts anew": oneInThree(func(t *rapid.T) {
				ops[rapid.IntRange(0, 1).Draw(t, "operator")] = w.startOperator(0, rapid.IntRange(1, len(w.eventLog)).Draw(t, "listed"))
			}),
		})
		if w.invalidWrites > 0 {
			t.Fatalf("the API server refused %d writes", w.invalidWrites)
		}
	})
}

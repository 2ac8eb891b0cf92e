package rules_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/rules"
)

// epoch is the creation time of all objects in these tests. Like a creationTimestamp it is a whole second.
var epoch = time.Date(2026, time.March, 4, 5, 6, 7, 0, time.UTC)

// instantAt is the instant that long after epoch, on both clocks.
func instantAt(since time.Duration) rules.Instant {
	return rules.Instant{ServerTime: epoch.Add(since), Monotonic: since}
}

// assertEqual fails the test when want and got are not the same.
func assertEqual(t *testing.T, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", what, diff)
	}
}

// formatCondition formats a condition as one line: the type, its status, reason and message.
func formatCondition(conditions []metav1.Condition, kind string) string {
	c := meta.FindStatusCondition(conditions, kind)
	if c == nil {
		return kind + " is missing"
	}
	return fmt.Sprintf("%s=%s %s: %s", c.Type, c.Status, c.Reason, c.Message)
}

// formatEvents formats events as lines, warnings with a mark before them.
func formatEvents(events []rules.Event) (lines []string) {
	for _, e := range events {
		mark := ""
		if e.Warning {
			mark = "! "
		}
		lines = append(lines, mark+e.Reason+": "+e.Message)
	}
	return lines
}

// barrierBuilder builds Barriers.
type barrierBuilder struct{ barrier konductorv1.Barrier }

func newBarrier(expected int32) *barrierBuilder {
	b := &barrierBuilder{}
	b.barrier.ObjectMeta = metav1.ObjectMeta{
		Namespace: "default", Name: "stage", UID: "stage-uid", Generation: 1, CreationTimestamp: metav1.NewTime(epoch),
	}
	b.barrier.Spec.Expected = expected
	return b
}

func (b *barrierBuilder) quorum(n int32) *barrierBuilder { b.barrier.Spec.Quorum = &n; return b }
func (b *barrierBuilder) timeout(d time.Duration) *barrierBuilder {
	b.barrier.Spec.Timeout = konductorv1.NewDuration(d)
	return b
}
func (b *barrierBuilder) ttlAfterFinished(d time.Duration) *barrierBuilder {
	b.barrier.Spec.TTLAfterFinished = konductorv1.NewDuration(d)
	return b
}
func (b *barrierBuilder) build() *konductorv1.Barrier { return b.barrier.DeepCopy() }

// newArrival is the arrival of participant that long after epoch. The API server stamps whole seconds.
func newArrival(participant string, since time.Duration) rules.Arrival {
	return rules.Arrival{Participant: participant, Created: epoch.Add(since).Truncate(time.Second)}
}

// newFailedArrival is an arrival that reports failure.
func newFailedArrival(participant, reason string, since time.Duration) rules.Arrival {
	a := newArrival(participant, since)
	a.Failed, a.Reason = true, reason
	return a
}

// gateBuilder builds Gates.
type gateBuilder struct{ gate konductorv1.Gate }

func newGate(conditions ...konductorv1.GateCondition) *gateBuilder {
	g := &gateBuilder{}
	g.gate.ObjectMeta = metav1.ObjectMeta{
		Namespace: "default", Name: "ready", UID: "ready-uid", Generation: 1, CreationTimestamp: metav1.NewTime(epoch),
	}
	g.gate.Spec.Conditions = conditions
	return g
}

func (g *gateBuilder) timeout(d time.Duration) *gateBuilder {
	g.gate.Spec.Timeout = konductorv1.NewDuration(d)
	return g
}
func (g *gateBuilder) ttlAfterFinished(d time.Duration) *gateBuilder {
	g.gate.Spec.TTLAfterFinished = konductorv1.NewDuration(d)
	return g
}
func (g *gateBuilder) build() *konductorv1.Gate { return g.gate.DeepCopy() }

func conditionOn(t konductorv1.GateConditionType, name string) konductorv1.GateCondition {
	return konductorv1.GateCondition{Type: t, Name: name}
}

func conditionOnState(t konductorv1.GateConditionType, name string, state konductorv1.GateState) konductorv1.GateCondition {
	c := conditionOn(t, name)
	c.State = state
	return c
}

func conditionOnFreePermits(name string, permits int32) konductorv1.GateCondition {
	c := conditionOn(konductorv1.GateOnSemaphore, name)
	c.Value = &permits
	return c
}

// claimBuilder builds the rules' form of Claims.
type claimBuilder struct{ claim rules.Claim }

// newClaim builds a claim that is bound to a Pod, asks for one permit and has no TTL of its own.
func newClaim(name string) *claimBuilder {
	return &claimBuilder{rules.Claim{
		Name: name, UID: types.UID("uid-" + name), Holder: name, Permits: 1, Created: epoch, BoundToPod: true,
		Phase: konductorv1.ClaimPending,
	}}
}

func (c *claimBuilder) permits(n int32) *claimBuilder      { c.claim.Permits = n; return c }
func (c *claimBuilder) priority(n int32) *claimBuilder     { c.claim.Priority = n; return c }
func (c *claimBuilder) revision(n uint64) *claimBuilder    { c.claim.CreationRevision = n; return c }
func (c *claimBuilder) ttl(d time.Duration) *claimBuilder  { c.claim.TTL = d; return c }
func (c *claimBuilder) target(uid types.UID) *claimBuilder { c.claim.TargetUID = uid; return c }
func (c *claimBuilder) renewals(n int64) *claimBuilder     { c.claim.Renewals = n; return c }
func (c *claimBuilder) unbound() *claimBuilder             { c.claim.BoundToPod = false; return c }
func (c *claimBuilder) noWait() *claimBuilder              { c.claim.NoWait = true; return c }
func (c *claimBuilder) created(since time.Duration) *claimBuilder {
	c.claim.Created = epoch.Add(since)
	return c
}
func (c *claimBuilder) granted(token int64) *claimBuilder {
	c.claim.Phase, c.claim.Token = konductorv1.ClaimGranted, token
	return c
}
func (c *claimBuilder) phase(p konductorv1.ClaimPhase) *claimBuilder { c.claim.Phase = p; return c }

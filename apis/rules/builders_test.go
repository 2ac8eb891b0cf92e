package rules_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/LogicIQ/konductor/apis/rules"
	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// epoch is when everything in these tests was created. Like a creationTimestamp it is a whole second.
var epoch = time.Date(2026, time.March, 4, 5, 6, 7, 0, time.UTC)

// at is the moment that long after epoch, on both clocks.
func at(since time.Duration) rules.Now {
	return rules.Now{Server: epoch.Add(since), Elapsed: since}
}

// differ fails the test when want and got are not the same.
func differ(t *testing.T, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", what, diff)
	}
}

// conditionLine is a condition as one line: the type, its status, reason and message.
func conditionLine(conditions []metav1.Condition, kind string) string {
	c := meta.FindStatusCondition(conditions, kind)
	if c == nil {
		return kind + " is missing"
	}
	return fmt.Sprintf("%s=%s %s: %s", c.Type, c.Status, c.Reason, c.Message)
}

// eventLines are events as lines, with a mark before those that ask for attention.
func eventLines(events []rules.Event) (lines []string) {
	for _, e := range events {
		mark := ""
		if e.Warning {
			mark = "! "
		}
		lines = append(lines, mark+e.Reason+": "+e.Message)
	}
	return lines
}

// barrierBuilder makes Barriers.
type barrierBuilder struct{ b konductorv1.Barrier }

func aBarrier(expected int32) *barrierBuilder {
	b := &barrierBuilder{}
	b.b.ObjectMeta = metav1.ObjectMeta{
		Namespace: "default", Name: "stage", UID: "stage-uid", Generation: 1, CreationTimestamp: metav1.NewTime(epoch),
	}
	b.b.Spec.Expected = expected
	return b
}

func (b *barrierBuilder) quorum(n int32) *barrierBuilder { b.b.Spec.Quorum = &n; return b }
func (b *barrierBuilder) timeout(d time.Duration) *barrierBuilder {
	b.b.Spec.Timeout = konductorv1.NewDuration(d)
	return b
}
func (b *barrierBuilder) ttl(d time.Duration) *barrierBuilder {
	b.b.Spec.TTL = konductorv1.NewDuration(d)
	return b
}
func (b *barrierBuilder) build() *konductorv1.Barrier { return b.b.DeepCopy() }

// arrived is the arrival of participant that long after epoch. The API server stamps whole seconds.
func arrived(participant string, since time.Duration) rules.Arrival {
	return rules.Arrival{Participant: participant, Created: epoch.Add(since).Truncate(time.Second)}
}

// failed is an arrival of a participant that can't do its part.
func failed(participant, reason string, since time.Duration) rules.Arrival {
	a := arrived(participant, since)
	a.Failed, a.Reason = true, reason
	return a
}

// gateBuilder makes Gates.
type gateBuilder struct{ g konductorv1.Gate }

func aGate(conditions ...konductorv1.GateCondition) *gateBuilder {
	g := &gateBuilder{}
	g.g.ObjectMeta = metav1.ObjectMeta{
		Namespace: "default", Name: "ready", UID: "ready-uid", Generation: 1, CreationTimestamp: metav1.NewTime(epoch),
	}
	g.g.Spec.Conditions = conditions
	return g
}

func (g *gateBuilder) timeout(d time.Duration) *gateBuilder {
	g.g.Spec.Timeout = konductorv1.NewDuration(d)
	return g
}
func (g *gateBuilder) ttl(d time.Duration) *gateBuilder {
	g.g.Spec.TTL = konductorv1.NewDuration(d)
	return g
}
func (g *gateBuilder) build() *konductorv1.Gate { return g.g.DeepCopy() }

func on(t konductorv1.GateConditionType, name string) konductorv1.GateCondition {
	return konductorv1.GateCondition{Type: t, Name: name}
}

func onState(t konductorv1.GateConditionType, name string, state konductorv1.GateState) konductorv1.GateCondition {
	c := on(t, name)
	c.State = state
	return c
}

func onFree(name string, permits int32) konductorv1.GateCondition {
	c := on(konductorv1.GateOnSemaphore, name)
	c.Value = &permits
	return c
}

// claimBuilder makes Claims as the rules see them.
type claimBuilder struct{ c rules.Claim }

// aClaim is bound to a Pod, asks for one permit and has no TTL of its own.
func aClaim(name string) *claimBuilder {
	return &claimBuilder{rules.Claim{
		Name: name, UID: types.UID("uid-" + name), Holder: name, Permits: 1, Created: epoch, Bound: true,
		Phase: konductorv1.ClaimPending,
	}}
}

func (c *claimBuilder) permits(n int32) *claimBuilder      { c.c.Permits = n; return c }
func (c *claimBuilder) priority(n int32) *claimBuilder     { c.c.Priority = n; return c }
func (c *claimBuilder) revision(n uint64) *claimBuilder    { c.c.Revision = n; return c }
func (c *claimBuilder) ttl(d time.Duration) *claimBuilder  { c.c.TTL = d; return c }
func (c *claimBuilder) target(uid types.UID) *claimBuilder { c.c.Target = uid; return c }
func (c *claimBuilder) renewals(n int64) *claimBuilder     { c.c.Renewals = n; return c }
func (c *claimBuilder) unbound() *claimBuilder             { c.c.Bound = false; return c }
func (c *claimBuilder) refuse() *claimBuilder              { c.c.Refuse = true; return c }
func (c *claimBuilder) created(since time.Duration) *claimBuilder {
	c.c.Created = epoch.Add(since)
	return c
}
func (c *claimBuilder) granted(token int64) *claimBuilder {
	c.c.Phase, c.c.Token = konductorv1.ClaimGranted, token
	return c
}
func (c *claimBuilder) phase(p konductorv1.ClaimPhase) *claimBuilder { c.c.Phase = p; return c }

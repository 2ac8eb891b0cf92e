package konductor

import (
	"context"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// CreateGate creates a gate that opens when all conditions hold. Options: TimeOutAfter, ExpireAfter, DryRun.
func (c *Client) CreateGate(ctx context.Context, name string, conditions []konductorv1.GateCondition, opts ...Option) (*konductorv1.Gate, error) {
	o := collect(opts)
	g, err := c.objects.gates.Create(ctx, NewGate(name, conditions, opts...), metav1.CreateOptions{DryRun: o.dryRun})
	return g, c.explain(err, "create", plural(konductorv1.KindGate), name)
}

// NewGate returns the gate that CreateGate creates.
func NewGate(name string, conditions []konductorv1.GateCondition, opts ...Option) *konductorv1.Gate {
	o := collect(opts)
	return &konductorv1.Gate{
		TypeMeta:   typeMeta(konductorv1.KindGate),
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       konductorv1.GateSpec{Conditions: conditions, Timeout: duration(o.waitAtMost), TTL: duration(o.expireAfter)},
	}
}

// GetGate returns a gate.
func (c *Client) GetGate(ctx context.Context, name string) (*konductorv1.Gate, error) {
	return get(ctx, c, c.objects.gates, konductorv1.KindGate, name)
}

// ListGates returns all gates of the namespace.
func (c *Client) ListGates(ctx context.Context) (*konductorv1.GateList, error) {
	list, err := c.objects.gates.List(ctx, metav1.ListOptions{})
	return list, c.explain(err, "list", plural(konductorv1.KindGate), "")
}

// DeleteGate deletes a gate. Those who wait for it end with a *NotFoundError.
func (c *Client) DeleteGate(ctx context.Context, name string, opts ...Option) error {
	return remove(ctx, c, c.objects.gates, konductorv1.KindGate, name, opts)
}

// WaitGate waits until a gate is open. It returns a *FailedError as soon as the gate has failed or timed out. Options:
// WithTimeout, FailIfMissing.
func (c *Client) WaitGate(ctx context.Context, name string, opts ...Option) error {
	watchdog := c.watchOperator(ref(konductorv1.KindGate, name))
	defer watchdog.stop()
	return waitFor(ctx, c, c.objects.gates.reader, konductorv1.KindGate, name, collect(opts), func(g *konductorv1.Gate) (bool, string, error) {
		watchdog.see(g.Status.ObservedGeneration > 0)
		phase := g.Status.Phase
		return openOr(konductorv1.KindGate, name, phase == konductorv1.GateOpen,
			phase == konductorv1.GateFailed || phase == konductorv1.GateTimeout, string(phase),
			g.Generation == g.Status.ObservedGeneration, g.Status.Conditions)
	})
}

// openOr says whether waiting for a barrier or gate is over. A failure that speaks of a former spec is not believed: the
// timeout may just have been raised.
func openOr(kind, name string, open, ended bool, phase string, current bool, conditions []metav1.Condition) (done bool, status string, err error) {
	if c := meta.FindStatusCondition(conditions, konductorv1.ConditionOpen); c != nil {
		status = c.Message
	}
	if ended && current {
		return true, status, &FailedError{Object: ref(kind, name), Phase: phase, Message: status}
	}
	return open, status, nil
}

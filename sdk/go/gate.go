package konductor

import (
	"context"

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
	return c.waitOpen(ctx, konductorv1.KindGate, name, opts)
}

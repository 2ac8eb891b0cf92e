package konductor

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// CreateGate creates a gate that opens when all conditions are met. Options: WithTimeoutAfterCreation,
// WithTTLAfterFinished, DryRun.
func (c *Client) CreateGate(ctx context.Context, name string, conditions []konductorv1.GateCondition, opts ...CreateGateOption) (*konductorv1.Gate, error) {
	o := applyOptions(opts)
	g, err := create(ctx, c, c.clients.gates, newGate(name, conditions, o), metav1.CreateOptions{DryRun: o.dryRun})
	return g, c.explain(err, "create", groupResource(konductorv1.KindGate), name)
}

// NewGate returns the gate that CreateGate creates.
func NewGate(name string, conditions []konductorv1.GateCondition, opts ...GateOption) *konductorv1.Gate {
	return newGate(name, conditions, applyOptions(opts))
}

func newGate(name string, conditions []konductorv1.GateCondition, o options) *konductorv1.Gate {
	return &konductorv1.Gate{
		TypeMeta:   typeMeta(konductorv1.KindGate),
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       konductorv1.GateSpec{Conditions: conditions, Timeout: durationOrNil(o.timeoutAfterCreation), TTLAfterFinished: durationOrNil(o.ttlAfterFinished)},
	}
}

// GetGate returns a gate, or a *NotFoundError.
func (c *Client) GetGate(ctx context.Context, name string) (*konductorv1.Gate, error) {
	return getInteractive(ctx, c, c.clients.gates, konductorv1.KindGate, name)
}

// ListGates returns all gates of the namespace.
func (c *Client) ListGates(ctx context.Context) (*konductorv1.GateList, error) {
	return listInteractive(ctx, c, c.clients.gates, konductorv1.KindGate, metav1.ListOptions{})
}

// DeleteGate deletes a gate. Waiters get a *NotFoundError. Options: OnlyUID, DryRun.
func (c *Client) DeleteGate(ctx context.Context, name string, opts ...DeleteOption) error {
	return deleteObject(ctx, c, c.clients.gates, konductorv1.KindGate, name, applyOptions(opts))
}

// WaitGate waits until a gate is open. It returns a *FailedError as soon as the gate has failed or timed out. Options:
// WithTimeout, FailIfMissing.
func (c *Client) WaitGate(ctx context.Context, name string, opts ...WaitOption) error {
	return c.waitOpen(ctx, konductorv1.KindGate, name, applyOptions(opts))
}

package install

import (
	"context"
	"errors"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic/fake"
)

// Of an interrupt nobody is told that the time was over.
func TestWaitingThatIsInterruptedSaysSo(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	c := &Cluster{Objects: fake.NewSimpleDynamicClient(runtime.NewScheme()), Say: func(string) {}}
	if err := c.Await(ctx, plan(t, nil)); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting for the operator: %v", err)
	}
	if err := c.awaitServed(ctx, "leases.konductor.io"); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting for a resource type: %v", err)
	}
}

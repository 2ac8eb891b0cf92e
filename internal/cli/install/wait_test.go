package install

import (
	"context"
	"errors"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic/fake"
)

// TestWaitCanceled checks that an interrupt isn't reported as a timeout.
func TestWaitCanceled(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	c := &Cluster{Client: fake.NewSimpleDynamicClient(runtime.NewScheme()), Notify: func(string) {}}
	if err := c.WaitOperatorReady(ctx, newTestManifest(t, nil)); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting for the operator: %v", err)
	}
	if err := c.waitCRDEstablished(ctx, "leases.konductor.io"); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting for a resource type: %v", err)
	}
}

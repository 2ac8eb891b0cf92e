package integration

import (
	"context"

	"github.com/LogicIQ/konductor/e2e/cluster"
	"github.com/LogicIQ/konductor/e2e/install"
)

// installKonductor installs konductor's CRDs, and the operator's account with its rights, on a control plane.
func installKonductor(ctx context.Context, on *cluster.ControlPlane) (*testCluster, error) {
	if err := install.CRDs(ctx, on, nil); err != nil {
		return nil, err
	}
	config, err := install.CreateOperatorAccount(ctx, on.Config())
	return &testCluster{ControlPlane: on, operatorConfig: config}, err
}

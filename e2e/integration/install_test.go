package integration

import (
	"context"

	"github.com/LogicIQ/konductor/e2e/cluster"
	"github.com/LogicIQ/konductor/e2e/install"
)

// installOn puts konductor's resource types, and the operator's account with its rights, on a control plane.
func installOn(ctx context.Context, on *cluster.ControlPlane) (*site, error) {
	if err := install.ResourceTypes(ctx, on, nil); err != nil {
		return nil, err
	}
	config, err := install.OperatorAccount(ctx, on.Config())
	return &site{ControlPlane: on, operator: config}, err
}

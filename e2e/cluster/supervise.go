package cluster

import (
	"context"

	"github.com/LogicIQ/konductor/e2e/cluster/internal/supervisor"
)

// Supervise is the process in the background that a cluster consists of. Up starts
// it, as "cluster supervise"; there is no other use for it. It returns when
// the process is told to end.
func Supervise(ctx context.Context, dir string, log func(format string, args ...any)) error {
	return supervisor.Run(ctx, dir, log)
}

package cluster

import (
	"context"

	"github.com/LogicIQ/konductor/e2e/cluster/internal/supervisor"
)

// Supervise is the supervisor of a detached cluster. Up starts it, as "cluster supervise"; there is no other use for it. It
// returns when the process gets SIGTERM.
func Supervise(ctx context.Context, dir string, log func(format string, args ...any)) error {
	return supervisor.Run(ctx, dir, log)
}

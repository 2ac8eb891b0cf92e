package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/LogicIQ/konductor/e2e/cluster/internal/filelock"
	"github.com/LogicIQ/konductor/e2e/cluster/internal/supervisor"
	"github.com/LogicIQ/konductor/e2e/cluster/toolchain"
)

// Options configures a cluster.
type Options struct {
	// Dir is the directory of the cluster; empty: that of the checkout.
	Dir string
	// ControlPlaneOnly starts no node even where one is possible.
	ControlPlaneOnly bool
	// Log gets a line per step; nil: no log.
	Log func(format string, args ...any)
}

// upTimeout limits the start, builds not included.
const upTimeout = 3 * time.Minute

// errNoNode marks a failure that concerns the node alone, so that a control plane is still possible.
var errNoNode = errors.New("no node is possible here")

// Up starts a cluster and returns when it is ready: the API server and everything else is healthy, and the node, if there is one,
// runs Pods. A running cluster is returned as it is; the remains of a dead one are removed first.
//
// Where no node is possible (not root, not Linux, no runc and no means to build it) the control plane is started alone, and
// HasNode is false.
func Up(ctx context.Context, o Options) (*Cluster, error) {
	if o.Log == nil {
		o.Log = func(string, ...any) {}
	}
	if o.Dir == "" {
		dir, err := DefaultDir()
		if err != nil {
			return nil, err
		}
		o.Dir = dir
	}
	dir, err := canonicalPath(o.Dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	unlock, err := filelock.Acquire(ctx, supervisor.LockFile(dir), func() {
		o.Log("waiting for another command on the cluster in %s", dir)
	})
	if err != nil {
		return nil, fmt.Errorf("cluster in %s: %w", dir, err)
	}
	defer unlock()

	if c, err := findRunning(ctx, dir, o.Log); c != nil || err != nil {
		return c, err
	}
	tools, err := toolchain.Open(o.Log)
	if err != nil {
		return nil, err
	}
	starter := clusterStarter{dir: dir, tools: tools, log: o.Log}
	if o.ControlPlaneOnly {
		return starter.start(ctx, "not asked for")
	}
	noNode := noNodeReason()
	if noNode == "" {
		c, err := starter.start(ctx, "")
		if !errors.Is(err, errNoNode) {
			return c, err
		}
		noNode = err.Error()
	}
	o.Log("starting the control plane alone, Pods won't run: %s", noNode)
	return starter.start(ctx, noNode)
}

// findRunning returns the cluster of dir if one runs and is healthy. It waits for one that is still starting, because an earlier
// "up" was killed. The remains of a dead one are removed.
func findRunning(ctx context.Context, dir string, log func(string, ...any)) (*Cluster, error) {
	record, err := supervisor.Load(dir)
	if err == nil && record.Supervisor.IsAlive() {
		c := newCluster(record)
		if err := c.waitReady(ctx); err != nil {
			return nil, fmt.Errorf("a cluster runs in %s but isn't well: %w: see \"cluster status\", or end it with \"cluster down\"", dir, err)
		}
		what := ""
		if !c.HasNode() {
			what = ", the control plane alone"
		}
		log("already running in %s%s", dir, what)
		return c, nil
	}
	leftovers, markedErr := clusterProcesses(dir)
	if markedErr != nil {
		return nil, markedErr
	}
	if len(leftovers) > 0 || !errors.Is(err, fs.ErrNotExist) {
		log("removing what is left of a cluster in %s", dir)
	}
	if err := endProcesses(ctx, dir); err != nil {
		return nil, err
	}
	return nil, supervisor.RemoveFiles(dir)
}

// waitReady waits until the supervisor has started everything, all of it is healthy, and Pods can be created and run.
func (c *Cluster) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, upTimeout, fmt.Errorf("not ready within %s", upTimeout))
	defer cancel()
	status, err := c.client.WaitStarted(ctx)
	if err != nil {
		return errors.Join(err, context.Cause(ctx))
	}
	switch {
	case status.NodeRefused:
		return fmt.Errorf("%w: %s", errNoNode, status.Error)
	case status.Error != "":
		return errors.New(status.Error)
	}
	waits, waitCtx := errgroup.WithContext(ctx)
	waits.Go(func() error { return waitDefaultServiceAccount(waitCtx, c.Config()) })
	if c.HasNode() {
		waits.Go(func() error { return waitNodeReady(waitCtx, c.Config()) })
	}
	waitErr := waits.Wait()
	// An unhealthy component is the better explanation.
	if status, err = c.client.Status(context.WithoutCancel(ctx)); err == nil && status.Problem() != "" {
		return errors.New(status.Problem())
	}
	return errors.Join(waitErr, err)
}

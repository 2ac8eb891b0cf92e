package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/LogicIQ/konductor/e2e/cluster/internal/component"
	"github.com/LogicIQ/konductor/e2e/cluster/internal/process"
	"github.com/LogicIQ/konductor/e2e/cluster/internal/state"
	"github.com/LogicIQ/konductor/e2e/cluster/internal/supervise"
	"github.com/LogicIQ/konductor/e2e/cluster/toolchain"
	"k8s.io/client-go/rest"
)

// ControlPlaneOptions says what to start.
type ControlPlaneOptions struct {
	// ControllerManager adds kube-controller-manager: Jobs create Pods (which
	// stay Pending), deletion of namespaces finishes, owners take their
	// dependents with them, namespaces get a ServiceAccount.
	ControllerManager bool
	// Log gets a line per step; nil is silent.
	Log func(format string, args ...any)
}

// ControlPlane is etcd, kube-apiserver and perhaps kube-controller-manager on
// loopback. They die with the calling process.
type ControlPlane struct {
	dir    string
	access component.Access
	etcd   string
	group  *process.Group
	set    *supervise.Set
}

// tempPrefix begins the names of the folders that control planes live in.
const tempPrefix = "konductor-cp-"

// ownerFile, in such a folder, identifies the process that it belongs to.
const ownerFile = "owner.json"

// StartControlPlane starts a control plane and returns when it is ready to use.
// The first call on a machine builds the programs, which takes minutes; after
// that it takes seconds.
func StartControlPlane(ctx context.Context, o ControlPlaneOptions) (*ControlPlane, error) {
	if o.Log == nil {
		o.Log = func(string, ...any) {}
	}
	tools, err := toolchain.Open(o.Log)
	if err != nil {
		return nil, err
	}
	names := []string{component.Etcd, component.APIServer}
	if o.ControllerManager {
		names = append(names, component.ControllerManager)
	}
	binaries, err := controlPlaneBinaries(ctx, tools, os.Getenv("KUBEBUILDER_ASSETS"), names...)
	if err != nil {
		return nil, err
	}
	removeAbandoned(os.TempDir())

	// Another process may take a port between its choice and its use.
	const attempts = 3
	for attempt := 1; ; attempt++ {
		c, err := startControlPlane(ctx, o, binaries)
		if err == nil || attempt == attempts || !strings.Contains(err.Error(), "address already in use") {
			return c, err
		}
		o.Log("a port was taken by another process, trying others")
	}
}

func startControlPlane(ctx context.Context, o ControlPlaneOptions, binaries map[string]string) (_ *ControlPlane, err error) {
	start := time.Now()
	dir, err := newOwnedDir()
	if err != nil {
		return nil, err
	}
	plan, err := loopbackPlan(component.Layout{Dir: dir, Logs: filepath.Join(dir, "logs")}, binaries)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	group := process.NewGroup()
	c := &ControlPlane{
		dir:    dir,
		access: plan.Access,
		etcd:   plan.EtcdURL(),
		group:  group,
		set:    supervise.NewSet(group, supervise.Options{Log: o.Log}),
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	c.set.Add(plan.Etcd())
	c.set.Add(plan.APIServer())
	if o.ControllerManager {
		c.set.Add(plan.ControllerManager())
	}
	if err := c.set.BringUp(ctx); err != nil {
		return nil, err
	}
	if o.ControllerManager {
		if err := waitDefaultServiceAccount(ctx, c.Config()); err != nil {
			return nil, err
		}
	}
	o.Log("control plane ready in %s", time.Since(start).Round(10*time.Millisecond))
	return c, nil
}

// loopbackPlan makes the files of a control plane that listens on free ports of
// loopback.
func loopbackPlan(layout component.Layout, binaries map[string]string) (component.Plan, error) {
	ports, err := freePorts()
	if err != nil {
		return component.Plan{}, err
	}
	access, err := component.WriteCredentials(layout, fmt.Sprintf("https://127.0.0.1:%d", ports.APIServer))
	if err != nil {
		return component.Plan{}, err
	}
	return component.Plan{Layout: layout, Ports: ports, Access: access, Binaries: binaries}, nil
}

// Config is a client configuration with all rights and without a client-side
// rate limit. Each call gives a copy of its own.
func (c *ControlPlane) Config() *rest.Config { return restConfig(c.access) }

// Kubeconfig is the path of a kubeconfig file with the rights of Config.
func (c *ControlPlane) Kubeconfig() string {
	return component.Layout{Dir: c.dir}.AdminKubeconfig()
}

// StopComponent sends sig to "etcd", "kube-apiserver" or
// "kube-controller-manager" and waits until it is gone. It is killed should it
// take too long. Stopping what doesn't run is no error.
func (c *ControlPlane) StopComponent(name string, sig os.Signal) error {
	return c.set.Stop(context.Background(), name, sig)
}

// StartComponent starts a stopped component as it was, with the same port and
// data, and waits until it is well.
func (c *ControlPlane) StartComponent(ctx context.Context, name string) error {
	return c.set.Start(ctx, name)
}

// Close ends everything and removes the files. It may be called twice.
func (c *ControlPlane) Close() error {
	err := c.set.Close(context.Background())
	return errors.Join(err, os.RemoveAll(c.dir))
}

// newOwnedDir makes a temporary folder marked as this process's.
func newOwnedDir() (string, error) {
	self, err := state.Self()
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", tempPrefix)
	if err != nil {
		return "", err
	}
	if err := state.WriteJSON(filepath.Join(dir, ownerFile), self); err != nil {
		return "", errors.Join(err, os.RemoveAll(dir))
	}
	return dir, nil
}

// removeAbandoned removes the folders of control planes whose process was
// killed before it could. It touches only those that name a process that is gone.
func removeAbandoned(temp string) {
	owners, err := filepath.Glob(filepath.Join(temp, tempPrefix+"*", ownerFile))
	if err != nil {
		return
	}
	for _, file := range owners {
		var owner state.ProcessID
		if err := state.ReadJSON(file, &owner); err == nil && owner.PID > 0 && !owner.Alive() {
			_ = os.RemoveAll(filepath.Dir(file)) // of another user, perhaps: not ours to remove
		}
	}
}

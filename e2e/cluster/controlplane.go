package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/LogicIQ/konductor/e2e/cluster/internal/component"
	"github.com/LogicIQ/konductor/e2e/cluster/internal/componentset"
	"github.com/LogicIQ/konductor/e2e/cluster/internal/relay"
	"github.com/LogicIQ/konductor/e2e/cluster/internal/state"
	"github.com/LogicIQ/konductor/e2e/cluster/toolchain"
	"github.com/LogicIQ/konductor/e2e/internal/process"
	"k8s.io/client-go/rest"
)

// ControlPlaneOptions configures a control plane.
type ControlPlaneOptions struct {
	// ControllerManager adds kube-controller-manager: Jobs create Pods (which stay Pending), namespaces are finalized, dependents
	// are garbage collected, namespaces get a ServiceAccount.
	ControllerManager bool
	// SecondAPIServer adds another kube-apiserver to the same etcd. It can be made to lag behind the first.
	SecondAPIServer bool
	// APIServerFlags are further flags of kube-apiserver, to enable features that are off by default.
	APIServerFlags []string
	// Log gets a line per step; nil: no log.
	Log func(format string, args ...any)
}

// ControlPlane is etcd, kube-apiserver and optionally kube-controller-manager on loopback. They die with the calling process.
type ControlPlane struct {
	dir        string
	access     component.Access
	secondHost string // URL of the second API server; empty: there is none
	secondLag  relay.Delay
	stopRelay  func() // stops the relay between the second API server and etcd
	etcdURL    string
	processes  *process.Group
	components *componentset.Set
}

// tempPrefix is the prefix of the names of control planes' directories.
const tempPrefix = "konductor-cp-"

// ownerFile is a file in such a directory that identifies the process that it belongs to.
const ownerFile = "owner.json"

// StartControlPlane starts a control plane and returns when it is ready to use. Its version of Kubernetes is the newest that is
// pinned, or the one in the environment variable KONDUCTOR_KUBERNETES, such as 1.32. The first call on a machine builds the
// programs, which takes minutes; later calls take seconds.
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
	binaries, err := controlPlaneBinaries(ctx, tools, names...)
	if err != nil {
		return nil, err
	}
	removeAbandonedDirs(os.TempDir())

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
		dir:        dir,
		access:     plan.Access,
		etcdURL:    plan.EtcdClientURL(),
		processes:  group,
		components: componentset.NewSet(group, componentset.Options{Log: o.Log}),
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	c.components.Add(plan.Etcd())
	server := plan.APIServer()
	server.Args = append(server.Args, o.APIServerFlags...)
	c.components.Add(server)
	if o.SecondAPIServer {
		if err := c.addSecondAPIServer(plan, o.APIServerFlags); err != nil {
			return nil, err
		}
	}
	if o.ControllerManager {
		c.components.Add(plan.ControllerManager())
	}
	if err := c.components.BringUp(ctx); err != nil {
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

func (c *ControlPlane) addSecondAPIServer(plan component.Plan, flags []string) error {
	link, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = relay.Serve(ctx, link, func(context.Context) (*net.TCPConn, error) {
			return net.DialTCP("tcp", nil, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: plan.Ports.Etcd})
		}, &c.secondLag) // if it fails, the second API server doesn't become ready
	}()
	c.stopRelay = func() {
		cancel()
		<-ended
	}
	server := plan.SecondAPIServer("http://" + link.Addr().String())
	server.Args = append(server.Args, flags...)
	c.components.Add(server)
	c.secondHost = fmt.Sprintf("https://127.0.0.1:%d", plan.Ports.SecondAPIServer)
	return nil
}

// loopbackPlan writes the files of a control plane that listens on free ports of loopback.
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

// Config returns a client configuration with all rights and without a client-side rate limit. Each call returns a copy.
func (c *ControlPlane) Config() *rest.Config { return c.access.Config() }

// SecondHost returns the URL of the second API server, for a copy of Config; empty when there is none.
func (c *ControlPlane) SecondHost() string { return c.secondHost }

// SetLag delays everything that the second API server gets from etcd. More than 2 s makes it unready.
func (c *ControlPlane) SetLag(by time.Duration) { c.secondLag.Set(by) }

// Kubeconfig returns the path of a kubeconfig file with the rights of Config.
func (c *ControlPlane) Kubeconfig() string {
	return component.Layout{Dir: c.dir}.AdminKubeconfig()
}

// EtcdURL returns the client URL of etcd, for callers that read what is stored instead of what the API server returns.
func (c *ControlPlane) EtcdURL() string { return c.etcdURL }

// EtcdDataDir returns etcd's data directory. While etcd is stopped it may be copied, as a backup, and replaced, as by a restore.
func (c *ControlPlane) EtcdDataDir() string { return component.Layout{Dir: c.dir}.Data(component.Etcd) }

// ComponentPID returns the process id of a component; 0: it isn't running.
func (c *ControlPlane) ComponentPID(name string) int { return c.components.PID(name) }

// StopComponent sends sig to "etcd", "kube-apiserver", "kube-apiserver-2" or "kube-controller-manager" and waits until it has
// ended. If that takes too long, it is killed. Stopping a stopped component is no error.
func (c *ControlPlane) StopComponent(name string, sig os.Signal) error {
	return c.components.Stop(context.Background(), name, sig)
}

// StartComponent starts a stopped component with the same port and data, and waits until it is healthy.
func (c *ControlPlane) StartComponent(ctx context.Context, name string) error {
	return c.components.Start(ctx, name)
}

// Close stops everything and removes the files. It may be called twice.
func (c *ControlPlane) Close() error {
	err := c.components.Close(context.Background())
	if c.stopRelay != nil {
		c.stopRelay()
	}
	return errors.Join(err, os.RemoveAll(c.dir))
}

// newOwnedDir creates a temporary directory marked as this process's.
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

// removeAbandonedDirs removes the directories of control planes whose process was killed before it could. It removes only those
// whose process no longer exists.
func removeAbandonedDirs(temp string) {
	owners, err := filepath.Glob(filepath.Join(temp, tempPrefix+"*", ownerFile))
	if err != nil {
		return
	}
	for _, file := range owners {
		var owner state.ProcessID
		if err := state.ReadJSON(file, &owner); err == nil && owner.PID > 0 && !owner.IsAlive() {
			_ = os.RemoveAll(filepath.Dir(file)) // it may belong to another user; then it can't be removed
		}
	}
}

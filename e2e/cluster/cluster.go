package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"k8s.io/client-go/rest"

	"github.com/LogicIQ/konductor/e2e/cluster/internal/componentset"
	"github.com/LogicIQ/konductor/e2e/cluster/internal/supervisor"
	"github.com/LogicIQ/konductor/e2e/cluster/toolchain"
)

// ErrNoCluster means that the directory has no cluster, or one that has ended.
var ErrNoCluster = errors.New("no cluster is running")

// Cluster is a detached cluster. Any number of processes may use it at once.
type Cluster struct {
	record supervisor.Record
	client *componentset.Client
}

// DefaultDir returns the directory of the cluster of the checkout that the working directory is in.
func DefaultDir() (string, error) {
	e2e, err := toolchain.ModuleRoot()
	if err != nil {
		return "", err
	}
	return filepath.Join(filepath.Dir(e2e), ".cluster"), nil
}

// Open returns the running cluster of dir. Its error is ErrNoCluster if there is none.
func Open(dir string) (*Cluster, error) {
	dir, err := canonicalPath(dir)
	if err != nil {
		return nil, err
	}
	record, err := supervisor.Load(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err != nil || !record.Supervisor.IsAlive() {
		return nil, fmt.Errorf("%w in %s: start one with \"cluster up\"", ErrNoCluster, dir)
	}
	return newCluster(record), nil
}

func newCluster(record supervisor.Record) *Cluster {
	return &Cluster{record: record, client: componentset.NewClient(record.ControlSocket)}
}

// canonicalPath returns the canonical name of a directory: the id of a cluster depends on it.
func canonicalPath(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	// dir itself may not exist yet.
	if parent, err := filepath.EvalSymlinks(filepath.Dir(abs)); err == nil {
		abs = filepath.Join(parent, filepath.Base(abs))
	}
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		abs = real
	}
	return abs, nil
}

// Config returns a client configuration with all rights and without a client-side rate limit. Each call returns a copy.
func (c *Cluster) Config() *rest.Config { return c.record.Access.Config() }

// Kubeconfig returns the path of a kubeconfig file with the rights of Config.
func (c *Cluster) Kubeconfig() string { return supervisor.Kubeconfig(c.record.Dir) }

// LogDir returns the directory with a log file per component, and the Pods' logs in its subdirectory pods.
func (c *Cluster) LogDir() string { return supervisor.LogDir(c.record.Dir) }

// HasNode reports whether there is a node to run Pods. If not, NoNodeReason says why.
func (c *Cluster) HasNode() bool { return c.record.Node != nil }

// NoNodeReason says why there is no node; it is empty if there is one.
func (c *Cluster) NoNodeReason() string { return c.record.NoNodeReason }

// Status returns the state of the cluster and of every component.
func (c *Cluster) Status(ctx context.Context) (Status, error) {
	status, err := c.client.Status(ctx)
	if err != nil {
		return Status{}, fmt.Errorf("cluster in %s: %w", c.record.Dir, err)
	}
	return status, nil
}

// Status is the state of a cluster and its components.
type Status = componentset.Status

// StopComponent sends sig to a component and waits until it has ended; it stays stopped until StartComponent. The components are
// etcd, kube-apiserver and kube-controller-manager, and with a node kube-scheduler, containerd and kubelet.
func (c *Cluster) StopComponent(name string, sig os.Signal) error {
	return c.client.Stop(context.Background(), name, sig)
}

// StartComponent starts a stopped component with the data it had, and waits until it is healthy.
func (c *Cluster) StartComponent(ctx context.Context, name string) error {
	return c.client.Start(ctx, name)
}

// LoadImage loads the images of an archive, as "image build" or "docker save" write them, onto the node. The node has no
// registry: Pods use such images with imagePullPolicy IfNotPresent or Never.
func (c *Cluster) LoadImage(ctx context.Context, tarPath string) error {
	if !c.HasNode() {
		return fmt.Errorf("load %s: the cluster has no node: %s", tarPath, c.NoNodeReason())
	}
	f, err := os.Open(tarPath)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if err := c.client.ImportImage(ctx, f); err != nil {
		return fmt.Errorf("load %s: %w", tarPath, err)
	}
	return nil
}

// Down stops the cluster and removes all that belongs to it.
func (c *Cluster) Down() error { return Down(context.Background(), c.record.Dir) }

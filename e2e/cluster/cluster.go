package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"k8s.io/client-go/rest"

	"github.com/LogicIQ/konductor/e2e/cluster/internal/supervise"
	"github.com/LogicIQ/konductor/e2e/cluster/internal/supervisor"
	"github.com/LogicIQ/konductor/e2e/cluster/toolchain"
)

// ErrNone means that there is no cluster in the folder asked about, or one that has
// ended.
var ErrNone = errors.New("no cluster is running")

// Cluster is a detached cluster. Any number of processes may use it at once.
type Cluster struct {
	record supervisor.Record
	client *supervise.Client
}

// DefaultDir is where the cluster of the checkout lives that one stands in.
func DefaultDir() (string, error) {
	e2e, err := toolchain.SourceRoot()
	if err != nil {
		return "", err
	}
	return filepath.Join(filepath.Dir(e2e), ".cluster"), nil
}

// Open gives the running cluster of dir. Its error is ErrNone if there is none.
func Open(dir string) (*Cluster, error) {
	dir, err := canonical(dir)
	if err != nil {
		return nil, err
	}
	record, err := supervisor.Load(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err != nil || !record.Supervisor.Alive() {
		return nil, fmt.Errorf("%w in %s: start one with \"cluster up\"", ErrNone, dir)
	}
	return open(record), nil
}

func open(record supervisor.Record) *Cluster {
	return &Cluster{record: record, client: supervise.NewClient(record.Control)}
}

// canonical is the one name that a folder has: the id of a cluster depends on it.
func canonical(dir string) (string, error) {
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

// Dir is the folder that the cluster lives in.
func (c *Cluster) Dir() string { return c.record.Dir }

// Config is a client configuration with all rights and without a client-side
// rate limit. Each call gives a copy of its own.
func (c *Cluster) Config() *rest.Config { return restConfig(c.record.Access) }

// Kubeconfig is the path of a kubeconfig file with the rights of Config.
func (c *Cluster) Kubeconfig() string { return supervisor.Kubeconfig(c.record.Dir) }

// LogDir holds a log file per component, and the Pods' logs in the folder pods.
func (c *Cluster) LogDir() string { return supervisor.LogDir(c.record.Dir) }

// HasNode tells whether Pods run. If not, NoNode says why.
func (c *Cluster) HasNode() bool { return c.record.Node != nil }

// NoNode says why there is no node; it is empty if there is one.
func (c *Cluster) NoNode() string { return c.record.NoNode }

// Status asks every component how it is.
func (c *Cluster) Status(ctx context.Context) (Status, error) {
	status, err := c.client.Status(ctx)
	if err != nil {
		return Status{}, fmt.Errorf("cluster in %s: %w", c.record.Dir, err)
	}
	return status, nil
}

// Status is how a cluster and each of its components is.
type Status = supervise.Status

// StopComponent sends sig to a component and waits until it is gone; it stays
// stopped until StartComponent. The components are etcd, kube-apiserver and
// kube-controller-manager, and with a node kube-scheduler, containerd and kubelet.
func (c *Cluster) StopComponent(name string, sig os.Signal) error {
	return c.client.Stop(context.Background(), name, sig)
}

// StartComponent starts a stopped component with the data it had, and waits until
// it is well.
func (c *Cluster) StartComponent(ctx context.Context, name string) error {
	return c.client.Start(ctx, name)
}

// LoadImage puts the images of an archive, as "image build" or "docker save"
// write them, on the node. The node has no registry: Pods use such images with
// imagePullPolicy IfNotPresent or Never.
func (c *Cluster) LoadImage(ctx context.Context, tarPath string) error {
	if !c.HasNode() {
		return fmt.Errorf("load %s: the cluster has no node: %s", tarPath, c.NoNode())
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

// Down ends the cluster and removes every trace of it.
func (c *Cluster) Down() error { return Down(context.Background(), c.record.Dir) }

// Package benchenv is the environment of measurements: a control plane with konductor installed by its chart, the real operator
// as a process of its own, and participants in Pods.
package benchenv

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/LogicIQ/konductor/e2e/cluster"
	"github.com/LogicIQ/konductor/e2e/cluster/toolchain"
	"github.com/LogicIQ/konductor/e2e/install"
	"github.com/LogicIQ/konductor/e2e/internal/credentials"
	"github.com/LogicIQ/konductor/operator"
)

// Options configures the environment.
type Options struct {
	// Koncli is the binary that is measured.
	Koncli string
	// Log gets a line per step.
	Log func(format string, args ...any)
}

// Env is a cluster without a node, and konductor in it.
type Env struct {
	*cluster.ControlPlane
	// Objects and Kube are clients with all rights.
	Objects client.WithWatch
	Kube    kubernetes.Interface
	// Etcd is a client of the API server's etcd.
	Etcd *clientv3.Client
	// Koncli and Kubectl are paths of programs.
	Koncli, Kubectl string
	// Dir is a directory for files. Close removes it.
	Dir string

	namespaceControllerClient client.Client // for ClearNamespace
	operatorConfig            *rest.Config
	operatorKubeconfig        string
	namespaceCount            int
}

// Start starts a control plane and installs the chart. No operator is running yet.
func Start(ctx context.Context, o Options) (_ *Env, err error) {
	tools, err := toolchain.Open(o.Log)
	if err != nil {
		return nil, err
	}
	s := &Env{Koncli: o.Koncli}
	if s.Kubectl, err = tools.Path(ctx, "kubectl"); err != nil {
		return nil, err
	}
	if s.ControlPlane, err = cluster.StartControlPlane(ctx, cluster.ControlPlaneOptions{ControllerManager: true, Log: o.Log}); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.Dir, err = os.MkdirTemp("", "konductor-bench-"); err != nil {
		return nil, err
	}
	if err := s.createClients(); err != nil {
		return nil, err
	}
	operators, err := install.ChartWithoutOperator(ctx, tools, s.ControlPlane)
	if err != nil {
		return nil, err
	}
	s.operatorConfig, s.operatorKubeconfig = operators, filepath.Join(s.Dir, "operator.yaml")
	return s, credentials.WriteKubeconfig(operators, install.Namespace, s.operatorKubeconfig)
}

// Close stops everything.
func (s *Env) Close() error {
	var err error
	if s.Etcd != nil {
		err = s.Etcd.Close()
	}
	return errors.Join(err, s.ControlPlane.Close(), os.RemoveAll(s.Dir))
}

func (s *Env) createClients() error {
	scheme, err := operator.NewScheme()
	if err != nil {
		return err
	}
	if s.Objects, err = client.NewWithWatch(s.Config(), client.Options{Scheme: scheme}); err != nil {
		return err
	}
	sweeper := rest.CopyConfig(s.Config())
	sweeper.Impersonate.UserName = namespaceControllerUser
	if s.namespaceControllerClient, err = client.New(sweeper, client.Options{Scheme: scheme}); err != nil {
		return err
	}
	if s.Kube, err = kubernetes.NewForConfig(s.Config()); err != nil {
		return err
	}
	s.Etcd, err = clientv3.New(clientv3.Config{Endpoints: []string{s.EtcdURL()}, DialTimeout: 10 * time.Second})
	return err
}

// Versions returns the versions of Kubernetes and etcd.
func (s *Env) Versions(ctx context.Context) (kubernetes, etcd string, err error) {
	version, err := s.Kube.Discovery().ServerVersion()
	if err != nil {
		return "", "", err
	}
	status, err := s.Etcd.Status(ctx, s.EtcdURL())
	if err != nil {
		return "", "", err
	}
	return version.GitVersion, status.Version, nil
}

// OperatorConfig returns the access of the operator's account.
func (s *Env) OperatorConfig() *rest.Config { return s.operatorConfig }

// CreateNamespace creates a namespace whose Pods may be participants.
func (s *Env) CreateNamespace(ctx context.Context) (string, error) {
	s.namespaceCount++
	name := fmt.Sprintf("bench-%d", s.namespaceCount)
	return name, install.CreateParticipantNamespace(ctx, s.Config(), name)
}

// WithOwnConnection returns a copy of config whose clients share no connection with others.
func WithOwnConnection(config *rest.Config) *rest.Config {
	config = rest.CopyConfig(config)
	transport, ok := http.DefaultTransport.(*http.Transport)
	if ok {
		config.Dial = transport.Clone().DialContext
	}
	return config
}

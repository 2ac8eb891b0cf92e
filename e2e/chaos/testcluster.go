package chaos

import (
	"context"
	"errors"
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/LogicIQ/konductor/e2e/cluster"
	"github.com/LogicIQ/konductor/e2e/cluster/toolchain"
	"github.com/LogicIQ/konductor/e2e/install"
	"github.com/LogicIQ/konductor/operator"
)

// TestCluster is a control plane of two API servers with konductor's CRDs. It runs one campaign at a time.
type TestCluster struct {
	controlPlane   *cluster.ControlPlane
	operatorConfig *rest.Config
	client         client.Client
	adminUser      string // the user that objects impersonates
	podRole        string // the ClusterRole of Pods
	campaignCount  int
}

// NewTestCluster starts a control plane and installs the chart. With withoutStatusValidation it installs only CRDs, without the
// rules with which the API server rejects a wrong status of a primitive, so that it is up to the operator, and to the checks,
// that the guarantees hold.
func NewTestCluster(ctx context.Context, withoutStatusValidation bool, log func(format string, args ...any)) (_ *TestCluster, err error) {
	plane, err := cluster.StartControlPlane(ctx, cluster.ControlPlaneOptions{ControllerManager: true, SecondAPIServer: true, Log: log})
	if err != nil {
		return nil, fmt.Errorf("starting the control plane: %w", err)
	}
	s := &TestCluster{controlPlane: plane}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.operatorConfig, err = s.install(ctx, withoutStatusValidation, log); err != nil {
		return nil, fmt.Errorf("installing konductor: %w", err)
	}
	scheme, err := operator.NewScheme()
	if err != nil {
		return nil, err
	}
	for _, add := range []func(*runtime.Scheme) error{rbacv1.AddToScheme, authenticationv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	if s.client, err = client.New(plane.Config(), client.Options{Scheme: scheme}); err != nil {
		return nil, err
	}
	review := &authenticationv1.SelfSubjectReview{}
	err = s.client.Create(ctx, review)
	s.adminUser = review.Status.UserInfo.Username
	return s, err
}

// install returns the config for operators.
func (s *TestCluster) install(ctx context.Context, withoutStatusValidation bool, log func(format string, args ...any)) (*rest.Config, error) {
	if withoutStatusValidation {
		s.podRole = "cluster-admin"
		if err := install.CRDs(ctx, s.controlPlane, removeStatusValidation); err != nil {
			return nil, err
		}
		return install.CreateOperatorAccount(ctx, s.controlPlane.Config())
	}
	s.podRole = "konductor-participant"
	tools, err := toolchain.Open(log)
	if err != nil {
		return nil, err
	}
	config, err := install.ChartWithoutOperator(ctx, tools, s.controlPlane)
	if err != nil {
		return nil, err
	}
	return config, install.AllowLeaderElectionEverywhere(ctx, s.controlPlane.Config())
}

// Close stops the control plane.
func (s *TestCluster) Close() error { return s.controlPlane.Close() }

// createNamespace creates a namespace for a campaign, in which Pods may be participants.
func (s *TestCluster) createNamespace(ctx context.Context, name string) error {
	if err := s.client.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil {
		return err
	}
	return s.client.Create(ctx, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: "pods"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: s.podRole},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: name, Name: "default"}},
	})
}

// removeStatusValidation removes the rules by which the API server rejects a wrong status. Those on claims stay: that an ended
// claim can't be renewed is a guarantee of the API itself.
func removeStatusValidation(crd map[string]any) {
	spec, _ := crd["spec"].(map[string]any)
	names, _ := spec["names"].(map[string]any)
	if names["kind"] != "Claim" && names["kind"] != "Arrival" {
		removeKey(spec, "x-kubernetes-validations")
	}
}

// removeKey removes a key everywhere in a tree of maps and slices.
func removeKey(tree any, key string) {
	switch t := tree.(type) {
	case map[string]any:
		delete(t, key)
		for _, branch := range t {
			removeKey(branch, key)
		}
	case []any:
		for _, branch := range t {
			removeKey(branch, key)
		}
	}
}

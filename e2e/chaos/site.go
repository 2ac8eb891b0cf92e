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

// Site is a control plane with konductor's resource types on it. It takes one campaign at a time.
type Site struct {
	plane     *cluster.ControlPlane
	operators *rest.Config
	objects   client.Client
	admin     string // the name of whom objects acts as
	podRole   string // what Pods may do
	campaigns int
}

// NewSite starts a control plane and installs the chart. On one that is unguarded there are the resource types alone, and
// the API server accepts every status of a primitive, so that it is up to the operator, and to the checks, that it keeps
// its promises.
func NewSite(ctx context.Context, unguarded bool, log func(format string, args ...any)) (_ *Site, err error) {
	plane, err := cluster.StartControlPlane(ctx, cluster.ControlPlaneOptions{ControllerManager: true, Log: log})
	if err != nil {
		return nil, fmt.Errorf("starting the control plane: %w", err)
	}
	s := &Site{plane: plane}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.operators, err = s.install(ctx, unguarded, log); err != nil {
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
	if s.objects, err = client.New(plane.Config(), client.Options{Scheme: scheme}); err != nil {
		return nil, err
	}
	review := &authenticationv1.SelfSubjectReview{}
	err = s.objects.Create(ctx, review)
	s.admin = review.Status.UserInfo.Username
	return s, err
}

// install returns how operators reach the API server.
func (s *Site) install(ctx context.Context, unguarded bool, log func(format string, args ...any)) (*rest.Config, error) {
	if unguarded {
		s.podRole = "cluster-admin"
		if err := install.ResourceTypes(ctx, s.plane, removeGuards); err != nil {
			return nil, err
		}
		return install.OperatorAccount(ctx, s.plane.Config())
	}
	s.podRole = "konductor-participant"
	tools, err := toolchain.Open(log)
	if err != nil {
		return nil, err
	}
	config, err := install.ChartAlone(ctx, tools, s.plane)
	if err != nil {
		return nil, err
	}
	return config, install.ElectAnywhere(ctx, s.plane.Config())
}

// Close ends the control plane.
func (s *Site) Close() error { return s.plane.Close() }

// namespace creates a namespace for a campaign, in which Pods may take part.
func (s *Site) namespace(ctx context.Context, name string) error {
	if err := s.objects.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil {
		return err
	}
	return s.objects.Create(ctx, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: "pods"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: s.podRole},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: name, Name: "default"}},
	})
}

// removeGuards removes the rules by which the API server refuses a wrong status. Those on claims stay: that an ended
// claim can't be renewed is a promise of the API's own.
func removeGuards(crd map[string]any) {
	spec, _ := crd["spec"].(map[string]any)
	names, _ := spec["names"].(map[string]any)
	if names["kind"] != "Claim" && names["kind"] != "Arrival" {
		without(spec, "x-kubernetes-validations")
	}
}

// without removes a key from a tree.
func without(tree any, key string) {
	switch t := tree.(type) {
	case map[string]any:
		delete(t, key)
		for _, branch := range t {
			without(branch, key)
		}
	case []any:
		for _, branch := range t {
			without(branch, key)
		}
	}
}

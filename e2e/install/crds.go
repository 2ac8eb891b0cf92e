package install

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"github.com/LogicIQ/konductor/e2e/cluster"
	"github.com/LogicIQ/konductor/e2e/manifest"
)

// CRDs installs konductor's CRDs from the chart on a control plane with a controller manager, and waits until they are served.
// edit, unless it is nil, may change each before.
func CRDs(ctx context.Context, on *cluster.ControlPlane, edit func(*apiextensionsv1.CustomResourceDefinition)) error {
	if err := ApplyCRDs(on.Config(), edit); err != nil {
		return err
	}
	return RestartGarbageCollector(ctx, on)
}

// RestartGarbageCollector makes the garbage collector discover new resource types. By itself it looks for them only every half
// minute.
func RestartGarbageCollector(ctx context.Context, on *cluster.ControlPlane) error {
	const in = "kube-controller-manager"
	return errors.Join(on.StopComponent(in, syscall.SIGKILL), on.StartComponent(ctx, in))
}

// ApplyCRDs is CRDs for an API server without a controller manager.
func ApplyCRDs(config *rest.Config, edit func(*apiextensionsv1.CustomResourceDefinition)) error {
	chart, err := chartFilesDir()
	if err != nil {
		return err
	}
	found := envtest.CRDInstallOptions{Paths: []string{filepath.Join(chart, "crds")}, ErrorIfPathMissing: true}
	if err := envtest.ReadCRDFiles(&found); err != nil {
		return err
	}
	if len(found.CRDs) == 0 {
		return errors.New("no resource types in the chart")
	}
	for _, crd := range found.CRDs {
		if edit != nil {
			edit(crd)
		}
	}
	_, err = envtest.InstallCRDs(config, envtest.CRDInstallOptions{CRDs: found.CRDs, MaxTime: time.Minute})
	return err
}

// CreateOperatorAccount creates a ServiceAccount with the same role that the chart gives to the operator, and the rights for
// leader election, and returns its config.
func CreateOperatorAccount(ctx context.Context, config *rest.Config) (*rest.Config, error) {
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	chart, err := chartFilesDir()
	if err != nil {
		return nil, err
	}
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: Deployment}}
	for _, name := range []string{"rbac/role.yaml", "rbac/held-workloads.yaml"} {
		text, err := os.ReadFile(filepath.Join(chart, name))
		if err != nil {
			return nil, err
		}
		part := &rbacv1.ClusterRole{}
		if err := yaml.Unmarshal(text, part); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		role.Rules = append(role.Rules, part.Rules...)
	}
	_, err = kube.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: Namespace}}, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: Deployment}}
	if _, err := kube.CoreV1().ServiceAccounts(Namespace).Create(ctx, account, metav1.CreateOptions{}); err != nil {
		return nil, err
	}
	if err := errors.Join(bindOperatorRole(ctx, kube, role), AllowLeaderElectionEverywhere(ctx, config)); err != nil {
		return nil, err
	}
	return OperatorConfig(ctx, config)
}

// AllowLeaderElectionEverywhere lets operators elect a leader in any namespace, so that there can be several groups of them.
func AllowLeaderElectionEverywhere(ctx context.Context, config *rest.Config) error {
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	return bindOperatorRole(ctx, kube, &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "e2e-leader-election"},
		Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, Verbs: []string{"create"}},
			{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, ResourceNames: []string{"konductor-operator"}, Verbs: []string{"get", "update"}},
		},
	})
}

// bindOperatorRole creates a role and binds it to the operator's account in all namespaces.
func bindOperatorRole(ctx context.Context, kube kubernetes.Interface, role *rbacv1.ClusterRole) error {
	if _, err := kube.RbacV1().ClusterRoles().Create(ctx, role, metav1.CreateOptions{}); err != nil {
		return err
	}
	_, err := kube.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: role.Name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: Deployment, Namespace: Namespace}},
	}, metav1.CreateOptions{})
	return err
}

// chartFilesDir returns the directory of the chart's generated files.
func chartFilesDir() (string, error) {
	root, err := manifest.RepoRoot()
	return filepath.Join(root, "charts/konductor/files"), err
}

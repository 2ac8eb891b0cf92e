package install

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/LogicIQ/konductor/e2e/cluster"
	"github.com/LogicIQ/konductor/e2e/manifest"
)

// CRDs creates konductor's CRDs from the chart on a control plane with a controller manager, and waits until they are served.
// edit, unless it is nil, may change each before.
func CRDs(ctx context.Context, on *cluster.ControlPlane, edit func(crd map[string]any)) error {
	if err := ApplyCRDs(ctx, on.Config(), edit); err != nil {
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
func ApplyCRDs(ctx context.Context, config *rest.Config, edit func(crd map[string]any)) error {
	c, err := client.NewWithWatch(config, client.Options{})
	if err != nil {
		return err
	}
	chart, err := chartFilesDir()
	if err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(chart, "crds/*.yaml"))
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return errors.New("no resource types in the chart")
	}
	for _, file := range files {
		crd := &unstructured.Unstructured{}
		if err := readYAML(file, &crd.Object); err != nil {
			return err
		}
		if edit != nil {
			edit(crd.Object)
		}
		if err := c.Create(ctx, crd); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("%s: %w", file, err)
		}
		if err := awaitEstablished(ctx, c, crd.GetName()); err != nil {
			return err
		}
	}
	return nil
}

// awaitEstablished waits until the CRD of that name is established.
func awaitEstablished(ctx context.Context, c client.WithWatch, name string) error {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinitionList"})
	w, err := c.Watch(ctx, list, client.MatchingFields{"metadata.name": name})
	if err != nil {
		return err
	}
	defer w.Stop()
	for e := range w.ResultChan() {
		crd, ok := e.Object.(*unstructured.Unstructured)
		if !ok {
			continue
		}
		conditions, _, _ := unstructured.NestedSlice(crd.Object, "status", "conditions")
		for _, c := range conditions {
			if c, ok := c.(map[string]any); ok && c["type"] == "Established" && c["status"] == "True" {
				return nil
			}
		}
	}
	return fmt.Errorf("%s was not established: %w", name, context.Cause(ctx))
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
	role := &rbacv1.ClusterRole{}
	if err := readYAML(filepath.Join(chart, "rbac/role.yaml"), role); err != nil {
		return nil, err
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

func readYAML(file string, into any) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := yaml.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

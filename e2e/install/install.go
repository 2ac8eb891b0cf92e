// Package install installs konductor into a cluster as a user would: with its Helm chart.
package install

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/LogicIQ/konductor/e2e/cluster"
	"github.com/LogicIQ/konductor/e2e/cluster/toolchain"
	"github.com/LogicIQ/konductor/e2e/internal/credentials"
	"github.com/LogicIQ/konductor/e2e/manifest"
)

// Namespace is the operator's namespace.
const Namespace = "konductor-system"

// Deployment is the name of the operator's Deployment.
const Deployment = "konductor-operator"

// Image is the name under which the koncli image is loaded into the node, and which the examples use.
const Image = "logiciq/koncli:dev"

// Chart installs or upgrades the chart and waits until the operator is ready. set are further values, as KEY=VALUE.
func Chart(ctx context.Context, tools *toolchain.Toolchain, kubeconfig string, set ...string) error {
	helm, err := tools.Path(ctx, "helm")
	if err != nil {
		return err
	}
	root, err := manifest.RepoRoot()
	if err != nil {
		return err
	}
	repository, tag, _ := strings.Cut(Image, ":")
	args := []string{
		"upgrade", "--install", "konductor", filepath.Join(root, "charts/konductor"), "--kubeconfig", kubeconfig,
		"--namespace", Namespace, "--create-namespace", "--wait", "--timeout", "3m",
		"--set", "image.repository=" + repository, "--set", "image.tag=" + tag,
	}
	for _, value := range set {
		args = append(args, "--set", value)
	}
	cmd := exec.CommandContext(ctx, helm, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	// Keep Helm's files out of the user's home.
	home, err := os.MkdirTemp("", "konductor-helm-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(home) }()
	cmd.Env = append(os.Environ(), "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home)
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("installing the chart: %w\n%s", err, out.String())
	}
	return nil
}

// ChartWithoutOperator installs the chart without an operator, for operators that run beside the cluster, where they can be
// measured and killed, and returns their config.
func ChartWithoutOperator(ctx context.Context, tools *toolchain.Toolchain, on *cluster.ControlPlane) (*rest.Config, error) {
	if err := Chart(ctx, tools, on.Kubeconfig(), "replicas=0"); err != nil {
		return nil, err
	}
	if err := RestartGarbageCollector(ctx, on); err != nil {
		return nil, err
	}
	return OperatorConfig(ctx, on.Config())
}

// OperatorConfig returns the config of an operator that runs beside the cluster, with the installed account and exactly its
// rights.
func OperatorConfig(ctx context.Context, config *rest.Config) (*rest.Config, error) {
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return credentials.ForAccount(ctx, kube, config, Namespace, Deployment, nil)
}

// CreateParticipantNamespace creates a namespace with the right that a user grants once per namespace, so that its Pods may be
// participants.
func CreateParticipantNamespace(ctx context.Context, config *rest.Config, namespace string) error {
	return CreateNamespace(ctx, config, namespace, "konductor-participant")
}

// CreateNamespace creates a namespace whose Pods have the rights of a ClusterRole in it.
func CreateNamespace(ctx context.Context, config *rest.Config, namespace, role string) error {
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	_, err = kube.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	_, err = kube.RbacV1().RoleBindings(namespace).Create(ctx, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: role},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: "default", Namespace: namespace}},
	}, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

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

// CreateParticipantNamespace creates a namespace with the right that a user grants once per namespace, so that its Pods may be
// participants.
func CreateParticipantNamespace(ctx context.Context, config *rest.Config, namespace string) error {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	_, err = client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	_, err = client.RbacV1().RoleBindings(namespace).Create(ctx, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "konductor-participant"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "konductor-participant"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: "default", Namespace: namespace}},
	}, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

package chart

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"github.com/LogicIQ/konductor/e2e/cluster/toolchain/toolchaintest"
	"github.com/LogicIQ/konductor/e2e/install"
	"github.com/LogicIQ/konductor/internal/cli"
)

// TestClusterCommandExamples runs the examples in the help of the commands that install konductor and inspect the installation,
// in the order in which users would.
func TestClusterCommandExamples(t *testing.T) {
	cp := startControlPlane(t)
	kube := kubernetes.NewForConfigOrDie(cp.Config())
	for _, name := range []string{"etl", "reports", "ci"} {
		if _, err := kube.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the namespace has its account", func() bool {
		_, err := kube.CoreV1().ServiceAccounts("etl").Get(t.Context(), "default", metav1.GetOptions{})
		return err == nil
	})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		const often = 200 * time.Millisecond
		// It fails until the namespace and its Pods exist, and is retried.
		wait.UntilWithContext(ctx, func(ctx context.Context) { _ = markOperatorPodsReady(ctx, kube) }, often)
	}()
	t.Cleanup(func() { stop(); <-ended })

	dir := t.TempDir()
	kubectl := toolchaintest.ProgramPath(t, "kubectl")
	for name, target := range map[string]string{"koncli": buildPlugin(t, "v1.2.0"), "kubectl": kubectl} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{
		"values.yaml": "replicas: 2",
		"job.yaml":    `{apiVersion: batch/v1, kind: Job, metadata: {name: load}, spec: {template: {spec: {serviceAccountName: worker, restartPolicy: Never, containers: [{name: c, image: i}]}}}}`,
		"held.yaml":   jobYAML("konductor.io/hold: lease/db", "", heldJobSpec),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	sh := func(t *testing.T, line string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "bash", "-e", "-o", "pipefail", "-c", line)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "HOME="+dir, "PATH="+dir+":"+os.Getenv("PATH"), "KUBECONFIG="+cp.Kubeconfig())
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", line, err, out)
		}
	}
	sh(t, "kubectl config set-context --current --namespace etl >/dev/null; kubectl create serviceaccount worker; kubectl create serviceaccount deployer -n ci")
	for _, name := range []string{"install", "rbac", "doctor", "upgrade", "uninstall"} {
		cmd, _, err := cli.CommandTree("koncli").Find([]string{name})
		if err != nil {
			t.Fatal(err)
		}
		examples := cli.Examples(cmd)
		if len(examples) < 2 {
			t.Errorf("%s has no two examples: %q", name, examples)
		}
		for _, example := range examples {
			t.Run(example, func(t *testing.T) { sh(t, example) })
		}
		if name == "install" {
			startOperator(t, cp)
			eventually(t, "an operator leads", func() bool {
				_, err := kube.CoordinationV1().Leases(install.Namespace).Get(t.Context(), "konductor-operator", metav1.GetOptions{})
				return err == nil
			})
		}
	}
}

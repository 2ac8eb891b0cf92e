// Package chart tests the Helm chart against a real API server: that the server accepts what it renders, and that its admission
// policy isolates Pods.
package chart

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"github.com/LogicIQ/konductor/e2e/cluster"
	"github.com/LogicIQ/konductor/e2e/cluster/toolchain/toolchaintest"
	"github.com/LogicIQ/konductor/e2e/manifest"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

const (
	namespace       = "default"
	otherNamespace  = "elsewhere"
	systemNamespace = "konductor-system"
)

// startWithChart starts an API server and applies the chart with those settings, by kubectl as some users do.
func startWithChart(t *testing.T, settings ...string) *cluster.ControlPlane {
	t.Helper()
	cp := startControlPlaneWithNamespaces(t)
	applyChart(t, cp, settings...)
	return cp
}

// startControlPlaneWithNamespaces starts an API server with only the namespaces that are needed.
func startControlPlaneWithNamespaces(t *testing.T) *cluster.ControlPlane {
	t.Helper()
	cp := startControlPlane(t)
	client := kubernetes.NewForConfigOrDie(cp.Config())
	for _, name := range []string{systemNamespace, otherNamespace} {
		_, err := client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
	}
	return cp
}

// applyChart applies the chart with those settings.
func applyChart(t *testing.T, cp *cluster.ControlPlane, settings ...string) {
	t.Helper()
	version, err := kubernetes.NewForConfigOrDie(cp.Config()).Discovery().ServerVersion()
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"template", "konductor", chartDir(t), "--namespace", systemNamespace, "--kube-version", version.GitVersion}
	for _, s := range settings {
		args = append(args, "--set", s)
	}
	rendered := runTool(t, nil, "helm", args...)
	runTool(t, rendered, "kubectl", "--kubeconfig", cp.Kubeconfig(), "apply", "-f", "-")
}

func chartDir(t *testing.T) string {
	t.Helper()
	root, err := manifest.RepoRoot()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(root, "charts/konductor")
}

// runTool runs one of the pinned tools and returns its output.
func runTool(t *testing.T, stdin []byte, tool string, args ...string) []byte {
	t.Helper()
	path := toolchaintest.ProgramPath(t, tool)
	cmd := exec.CommandContext(t.Context(), path, args...)
	home := t.TempDir()
	cmd.Env = append(os.Environ(), "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home, "HOME="+home)
	cmd.Stdin = io.Reader(bytes.NewReader(stdin))
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s%s", tool, strings.Join(args, " "), err, errOut.String(), out.String())
	}
	return out.Bytes()
}

func TestHelmLintStrict(t *testing.T) {
	runTool(t, nil, "helm", "lint", "--strict", chartDir(t))
}

func TestUnknownValueRejected(t *testing.T) {
	helm := toolchaintest.ProgramPath(t, "helm")
	out, err := exec.CommandContext(t.Context(), helm, "template", "k", chartDir(t), "--set", "replica=3").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "replica") {
		t.Errorf("helm template with a misspelt value: %v\n%s", err, out)
	}
}

// createPodClient creates a Pod object and returns a client with a token that is bound to it, as the kubelet would mount it.
func createPodClient(t *testing.T, cp *cluster.ControlPlane, name string) (*konductor.Client, *corev1.Pod) {
	t.Helper()
	ctx := t.Context()
	admin := kubernetes.NewForConfigOrDie(cp.Config())
	p, err := admin.CoreV1().Pods(namespace).Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "work", Image: "busybox:1.37"}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	config := podTokenConfig(t, cp, p)
	client, err := konductor.New(config, konductor.InNamespace(namespace), konductor.NotifyFunc(func(s string) { t.Log(s) }))
	if err != nil {
		t.Fatal(err)
	}
	return client, p
}

func TestPodCannotImpersonateAnotherPod(t *testing.T) {
	cp := startWithChart(t)
	ctx := t.Context()
	admin := kubernetes.NewForConfigOrDie(cp.Config())
	allowParticipants(t, admin)
	people, err := konductor.New(cp.Config(), konductor.InNamespace(namespace))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := people.CreateLease(ctx, "db"); err != nil {
		t.Fatal(err)
	}
	if _, err := people.CreateBarrier(ctx, "done", 2); err != nil {
		t.Fatal(err)
	}
	victim, victimPod := createPodClient(t, cp, "victim")
	_, attackerPod := createPodClient(t, cp, "attacker")
	attacker := newPodRESTClient(t, cp, attackerPod)

	awaitAdmissionPolicy(t, attacker, victimPod)
	if err := victim.ArriveBarrier(ctx, "done"); err != nil {
		t.Fatalf("a Pod arrives in its own name: %v", err)
	}
	// No operator runs, so there is no grant; only the claim matters. The call ends with the test.
	claimed, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { _, _ = victim.AcquireLease(claimed, "db") }()
	name := awaitClaimName(t, people)

	for what, attempt := range map[string]func() error{
		"a claim bound to another Pod": func() error {
			return createObject(ctx, attacker, "claims", boundClaimJSON("spoof", victimPod.Name, victimPod.UID))
		},
		"an arrival bound to another Pod": func() error {
			return createObject(ctx, attacker, "arrivals", boundArrivalJSON("spoof", victimPod.Name, victimPod.UID))
		},
		"deleting another Pod's claim": func() error {
			return attacker.Delete().Namespace(namespace).Resource("claims").Name(name).Do(ctx).Error()
		},
		"renewing another Pod's claim": func() error {
			return attacker.Patch(types.MergePatchType).Namespace(namespace).Resource("claims").Name(name).Body([]byte(`{"metadata":{"labels":{"a":"b"}}}`)).Do(ctx).Error()
		},
	} {
		err := attempt()
		if err == nil {
			t.Errorf("%s was accepted", what)
		} else if !strings.Contains(err.Error(), "konductor-participants") {
			t.Errorf("%s was refused, but not by the policy: %v", what, err)
		}
	}
	if err := createObject(ctx, attacker, "claims", boundClaimJSON("own", attackerPod.Name, attackerPod.UID)); err != nil {
		t.Errorf("a claim bound to the Pod itself was refused: %v", err)
	}

}

func TestGarbageCollectorDeletesArrivals(t *testing.T) {
	cp := startWithChart(t)
	ctx := t.Context()
	admin := kubernetes.NewForConfigOrDie(cp.Config())
	allowParticipants(t, admin)
	people, err := konductor.New(cp.Config(), konductor.InNamespace(namespace))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := people.CreateBarrier(ctx, "done", 2); err != nil {
		t.Fatal(err)
	}
	participant, _ := createPodClient(t, cp, "participant")
	if err := participant.ArriveBarrier(ctx, "done"); err != nil {
		t.Fatal(err)
	}
	if err := people.DeleteBarrier(ctx, "done"); err != nil {
		t.Fatal(err)
	}
	raw := newRESTClient(t, cp.Config())
	eventually(t, "the arrivals of a deleted barrier are collected", func() bool {
		body, err := raw.Get().Namespace(namespace).Resource("arrivals").DoRaw(ctx)
		return err == nil && strings.Contains(string(body), `"items":[]`)
	})
}

func allowParticipants(t *testing.T, admin kubernetes.Interface) {
	t.Helper()
	_, err := admin.RbacV1().RoleBindings(namespace).Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "konductor-participant"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "konductor-participant"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: "default", Namespace: namespace}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// eventually polls for a condition that can't be watched.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, 2*time.Minute, true, func(context.Context) (bool, error) { return condition(), nil })
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

package chart

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"

	"github.com/LogicIQ/konductor/e2e/cluster"
	"github.com/LogicIQ/konductor/e2e/install"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

func dayToken() *authenticationv1.TokenRequest {
	day := int64(24 * time.Hour / time.Second)
	return &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &day}}
}

// exits checks the exit code, and that what was said has all parts.
func (a answer) exits(t *testing.T, code int, parts ...string) answer {
	t.Helper()
	if a.code != code {
		t.Errorf("the exit code is %d, want %d\nstdout:\n%s\nstderr:\n%s", a.code, code, a.stdout, a.stderr)
	}
	for _, part := range parts {
		if !strings.Contains(a.stdout+a.stderr, part) {
			t.Errorf("%q was not said\nstdout:\n%s\nstderr:\n%s", part, a.stdout, a.stderr)
		}
	}
	return a
}

func TestThePluginPrintsTheObjectsOfTheChart(t *testing.T) {
	program := plugin(t, "dev")
	for name, values := range map[string]string{"as it is": "{}", "much asked for": "replicas: 3\nwatchNamespaces: [etl]\nnetworkPolicy: {enabled: true}\nmetrics: {serve: always, dashboard: {enabled: true}}"} {
		file := filepath.Join(t.TempDir(), "values.yaml")
		if err := os.WriteFile(file, []byte(values), 0o600); err != nil {
			t.Fatal(err)
		}
		got := call(t, program, "install", "--dry-run=client", "--kube-version", kubeVersion, "-f", file, "-o", "json").exits(t, 0)
		list := &unstructured.UnstructuredList{}
		if err := json.Unmarshal([]byte(got.stdout), list); err != nil {
			t.Fatal(err)
		}
		var objects []*unstructured.Unstructured
		for i := range list.Items {
			obj := &list.Items[i]
			if obj.GetKind() == "Namespace" {
				continue
			}
			manageByHelm(obj.Object)
			objects = append(objects, obj)
		}
		if diff := cmp.Diff(byKey(t, rendered(t, "helm", values)), byKey(t, objects)); diff != "" {
			t.Errorf("%s: -Helm +plugin:\n%s", name, diff)
		}
	}
	call(t, program, "install", "--dry-run=client", "--set", "replica=3").exits(t, 1, `value "replica" is not known to the chart`)
	call(t, program, "install", "--dry-run=maybe").exits(t, 1, "--dry-run must be none, client or server")
	call(t, program, "install", "--timeout=0s").exits(t, 1, "--timeout must be longer than zero")
	call(t, program, "install", "--dry-run=client", "-f", "/nowhere.yaml").exits(t, 1, "reading values")
}

// manageByHelm makes the one difference that there is to be: who manages an object.
func manageByHelm(m map[string]any) {
	for key, value := range m {
		switch v := value.(type) {
		case string:
			if key == "app.kubernetes.io/managed-by" {
				m[key] = "Helm"
			}
		case map[string]any:
			manageByHelm(v)
		}
	}
}

func TestThePluginInstallsUpgradesAndUninstalls(t *testing.T) {
	cp := controlPlane(t)
	ctx := t.Context()
	kube := kubernetes.NewForConfigOrDie(cp.Config())
	do := func(version string, args ...string) answer {
		t.Helper()
		return call(t, plugin(t, version), append(args, "--kubeconfig", cp.Kubeconfig())...)
	}
	do("v1.2.0", "upgrade").exits(t, 2, "konductor is not installed in namespace konductor-system", "kubectl konductor install")
	do("v1.2.0", "uninstall", "--yes").exits(t, 2, "konductor is not installed")
	do("v1.2.0", "uninstall", "--yes", "--ignore-not-found").exits(t, 0)
	do("v1.2.0", "install", "--dry-run=server").exits(t, 0, "leases.konductor.io created (server dry run)", "namespace konductor-system does not exist yet", "deployment.apps/konductor-operator created (server dry run)")
	if _, err := kube.CoreV1().Namespaces().Get(ctx, install.Namespace, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Fatalf("a dry run has made the namespace: %v", err)
	}

	// No node runs Pods here, so that the operator never becomes ready.
	do("v1.1.0", "install", "--timeout=5s", "--set", "networkPolicy.enabled=true", "--set", "flowControl.enabled=true").exits(t, 3,
		"deployment.apps/konductor-operator created", "waiting for the operator", "timed out waiting for the operator: pod/konductor-operator-", "no scheduler has given it a node")
	again := do("v1.1.0", "install", "--wait=false").exits(t, 0, "deployment.apps/konductor-operator unchanged", "kubectl -n konductor-system rollout status")
	if strings.Contains(again.stdout, " created") || strings.Contains(again.stdout, " configured") || strings.Contains(again.stdout, " deleted") {
		t.Errorf("installing again has changed something:\n%s", again.stdout)
	}
	waiting := []string{"install", "--kubeconfig", cp.Kubeconfig()}
	listen(t, plugin(t, "v1.1.0"), waiting, func(line string, p *os.Process) {
		if strings.Contains(line, "0 of 2 Pods are ready") {
			_ = p.Signal(os.Interrupt)
		}
	}).exits(t, 1, "error: interrupted")
	listen(t, plugin(t, "v1.1.0"), waiting, func(line string, _ *os.Process) {
		if strings.Contains(line, " of 2 Pods are ready") {
			onePodIsReady(t, kube)
		}
	}).exits(t, 0, "waiting for the operator: 0 of 2 Pods are ready", "waiting for the operator: 1 of 2 Pods are ready", "Konductor is installed in namespace konductor-system")
	startOperator(t, cp)
	w := begin(t, cp)

	// Nobody loses the cluster-wide objects of an installation by a wrong namespace, be it recorded or not.
	for _, verb := range []string{"upgrade", "uninstall"} {
		do("v1.1.0", verb, "-n", "typo").exits(t, 2, "konductor is not installed in namespace typo but in konductor-system: name it with -n")
	}
	do("v1.1.0", "uninstall", "-n", "typo", "--delete-data", "--yes").exits(t, 1, "the operator in namespace konductor-system works with the same resource types")

	do("v1.2.0", "install", "--wait=false").exits(t, 1, "konductor v1.1.0 is installed", "upgrade")
	do("v1.2.0", "upgrade", "--dry-run=server", "-o", "name").exits(t, 0, "deployment.apps/konductor-operator")
	version(t, cp, "v1.1.0")
	do("v1.2.0", "upgrade", "--wait=false", "--set", "networkPolicy.enabled=false").exits(t, 0,
		"deployment.apps/konductor-operator configured", "networkpolicy.networking.k8s.io/konductor-operator deleted")
	version(t, cp, "v1.2.0")
	if _, err := kube.NetworkingV1().NetworkPolicies(install.Namespace).Get(ctx, install.Deployment, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("what is no longer asked for is still there: %v", err)
	}
	w.stands("after the upgrade")
	for _, verb := range []string{"upgrade", "install"} {
		do("v1.1.0", verb, "--wait=false").exits(t, 1, "konductor v1.2.0 is installed, which is newer than v1.1.0")
	}
	version(t, cp, "v1.2.0")
	do("v1.2.0", "upgrade", "--wait=false", "--set", "replicas=3").exits(t, 0)
	do("v1.2.0", "upgrade", "--wait=false", "--set", "log.level=debug").exits(t, 0)
	d, err := kube.AppsV1().Deployments(install.Namespace).Get(ctx, install.Deployment, metav1.GetOptions{})
	if err != nil || *d.Spec.Replicas != 3 || !slices.Contains(d.Spec.Template.Spec.Containers[0].Args, "--log-level=debug") {
		t.Errorf("an upgrade keeps the values of the one before: %v", err)
	}
	do("v1.2.0", "install", "-n", "other", "--wait=false").exits(t, 1, "an operator of konductor runs in namespace konductor-system")

	// What somebody else has set is not overwritten by accident.
	if _, err := kube.AppsV1().Deployments(install.Namespace).Patch(ctx, install.Deployment, "application/merge-patch+json", []byte(`{"spec":{"replicas":5}}`), metav1.PatchOptions{FieldManager: "autoscaler"}); err != nil {
		t.Fatal(err)
	}
	do("v1.2.0", "upgrade", "--wait=false").exits(t, 1, "--force-conflicts", "autoscaler")
	do("v1.2.0", "upgrade", "--wait=false", "--force-conflicts").exits(t, 0)

	do("v1.2.0", "uninstall").exits(t, 1, "uninstall konductor from namespace konductor-system", "confirm with --yes")
	do("v1.2.0", "uninstall", "--dry-run=server").exits(t, 0, "deployment.apps/konductor-operator deleted (server dry run)")
	version(t, cp, "v1.2.0")
	do("v1.2.0", "uninstall", "--yes").exits(t, 0, "deployment.apps/konductor-operator deleted", "the resource types and all objects stay")
	w.stands("after uninstall")
	left(t, cp, "after uninstall")
	// The types that were left are newer than this.
	do("v1.1.0", "install", "--wait=false").exits(t, 1, "konductor v1.2.0 is installed")

	do("v1.2.0", "install", "--wait=false").exits(t, 0)
	startOperator(t, cp)
	w.stands("after the next installation")
	w.end()
}

// listen runs a program and passes on what it says on stderr, line by line.
func listen(t *testing.T, path string, args []string, heard func(line string, p *os.Process)) answer {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), path, args...)
	home := t.TempDir()
	cmd.Env = append(os.Environ(), "HOME="+home, "TMPDIR="+home)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		said.WriteString(lines.Text() + "\n")
		heard(lines.Text(), cmd.Process)
	}
	_ = cmd.Wait() // the exit code tells
	return answer{"", said.String(), cmd.ProcessState.ExitCode()}
}

// onePodIsReady makes one more of the operator's Pods ready, as the kubelet would.
func onePodIsReady(t *testing.T, kube kubernetes.Interface) {
	t.Helper()
	pods := kube.CoreV1().Pods(install.Namespace)
	list, err := pods.List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=konductor"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range list.Items {
		pod := &list.Items[i]
		if slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodReady }) {
			continue
		}
		pod.Status.Phase = corev1.PodRunning
		pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()})
		if _, err := pods.UpdateStatus(t.Context(), pod, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		return
	}
}

// version checks what is installed.
func version(t *testing.T, cp *cluster.ControlPlane, want string) {
	t.Helper()
	d, err := kubernetes.NewForConfigOrDie(cp.Config()).AppsV1().Deployments(install.Namespace).Get(t.Context(), install.Deployment, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got := d.Labels["app.kubernetes.io/version"]; got != want || !strings.HasSuffix(d.Spec.Template.Spec.Containers[0].Image, ":"+want) {
		t.Errorf("version %s is installed, with image %s; want %s", got, d.Spec.Template.Spec.Containers[0].Image, want)
	}
}

// left checks that nothing of konductor's is left but what was there before, and its resource types.
func left(t *testing.T, cp *cluster.ControlPlane, when string) {
	t.Helper()
	server := newApplier(t, cp.Config())
	ours := metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=konductor"}
	for _, resource := range []schema.GroupVersionResource{
		{Group: "apps", Version: "v1", Resource: "deployments"}, {Version: "v1", Resource: "services"}, {Version: "v1", Resource: "configmaps"}, {Version: "v1", Resource: "serviceaccounts"},
		{Group: rbacv1.GroupName, Version: "v1", Resource: "clusterroles"}, {Group: rbacv1.GroupName, Version: "v1", Resource: "clusterrolebindings"},
		{Group: rbacv1.GroupName, Version: "v1", Resource: "roles"}, {Group: rbacv1.GroupName, Version: "v1", Resource: "rolebindings"},
		{Group: "policy", Version: "v1", Resource: "poddisruptionbudgets"}, {Group: "networking.k8s.io", Version: "v1", Resource: "networkpolicies"},
		{Group: "admissionregistration.k8s.io", Version: "v1", Resource: "validatingadmissionpolicies"},
		{Group: "admissionregistration.k8s.io", Version: "v1", Resource: "validatingadmissionpolicybindings"},
		{Group: "admissionregistration.k8s.io", Version: "v1", Resource: "mutatingadmissionpolicies"},
		{Group: "admissionregistration.k8s.io", Version: "v1", Resource: "mutatingadmissionpolicybindings"},
		{Group: "flowcontrol.apiserver.k8s.io", Version: "v1", Resource: "flowschemas"},
		{Group: "flowcontrol.apiserver.k8s.io", Version: "v1", Resource: "prioritylevelconfigurations"},
	} {
		list, err := server.objects.Resource(resource).List(t.Context(), ours)
		if err != nil {
			t.Fatal(err)
		}
		for i := range list.Items {
			t.Errorf("%s there is still %s", when, key(&list.Items[i]))
		}
	}
}

func TestUninstallNeverHangsOnLeftovers(t *testing.T) {
	cp := controlPlane(t)
	ctx := t.Context()
	kube := kubernetes.NewForConfigOrDie(cp.Config())
	do := func(args ...string) answer {
		t.Helper()
		return call(t, plugin(t, "v1.2.0"), append(args, "--kubeconfig", cp.Kubeconfig())...)
	}
	do("install", "--wait=false", "--set", "flowControl.enabled=true").exits(t, 0)

	// The record is lost, and something was deleted by hand.
	if err := kube.CoreV1().ConfigMaps(install.Namespace).Delete(ctx, "konductor-installation", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := kube.AppsV1().Deployments(install.Namespace).Delete(ctx, install.Deployment, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	do("uninstall", "--yes").exits(t, 0, "serviceaccount/konductor-operator deleted")
	left(t, cp, "after an uninstallation without a record")

	// An object has a finalizer that nobody takes away.
	do("install", "--wait=false").exits(t, 0)
	people := someone(t, cp, namespace)
	if _, err := people.CreateLease(ctx, "stuck"); err != nil {
		t.Fatal(err)
	}
	finalizers := func(value string) {
		t.Helper()
		body := []byte(fmt.Sprintf(`{"metadata":{"finalizers":%s}}`, value))
		if err := restFor(t, cp.Config()).Patch("application/merge-patch+json").Namespace(namespace).Resource("leases").Name("stuck").Body(body).Do(ctx).Error(); err != nil {
			t.Fatal(err)
		}
	}
	finalizers(`["example.com/never"]`)
	do("uninstall", "--delete-data").exits(t, 1, "delete 1 leases in all namespaces", "confirm with --yes")
	got := do("uninstall", "--delete-data", "--yes", "--timeout=4s").exits(t, 3, "timed out waiting for the end of customresourcedefinition.apiextensions.k8s.io/leases.konductor.io",
		"lease.konductor.io/stuck in namespace default waits for its finalizers example.com/never", "kubectl patch leases.konductor.io stuck -n default")
	if strings.Contains(got.stderr, "barriers.konductor.io") {
		t.Errorf("types that are gone are named:\n%s", got.stderr)
	}
	do("install", "--wait=false").exits(t, 1, "leases.konductor.io is being deleted")
	finalizers("null")
	eventually(t, "the resource type is gone", func() bool {
		_, err := people.ListLeases(ctx)
		return uninstalled(err)
	})
	// Of what is gone already, nothing is missed.
	do("uninstall", "--delete-data", "--yes", "--ignore-not-found").exits(t, 0)
	do("uninstall", "--delete-data", "--yes").exits(t, 2)
	left(t, cp, "at the end")

	// A namespace that is being deleted doesn't get a new installation, and an uninstallation from it ends.
	if err := kube.CoreV1().Namespaces().Delete(ctx, install.Namespace, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	do("uninstall", "--yes").exits(t, 2)
}

func uninstalled(err error) bool {
	_, ok := err.(*konductor.UninstalledError) //nolint:errorlint // the SDK returns it as it is
	return ok
}

func TestThePluginLeavesAloneTheResourceTypesOfOthers(t *testing.T) {
	cp := controlPlane(t)
	server := newApplier(t, cp.Config())
	types := server.objects.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	for _, kind := range []string{"Lease", "Mutex"} {
		if err := server.apply(t.Context(), anyKind("konductor.io", "v1", kind), false); err != nil {
			t.Fatal(err)
		}
	}
	do := func(args ...string) answer {
		t.Helper()
		return call(t, plugin(t, "v1.2.0"), append(args, "--kubeconfig", cp.Kubeconfig())...)
	}
	got := do("install", "--wait=false").exits(t, 1, "customresourcedefinition.apiextensions.k8s.io/leases.konductor.io is there already and not from konductor's chart", "--force-conflicts")
	if got.stdout != "" {
		t.Errorf("something was done before:\n%s", got.stdout)
	}
	do("uninstall", "--delete-data", "--yes").exits(t, 2)
	do("install", "--wait=false", "--force-conflicts").exits(t, 0, "leases.konductor.io configured")
	do("upgrade", "--wait=false").exits(t, 0)
	do("uninstall", "--delete-data", "--yes").exits(t, 0, "leases.konductor.io deleted")
	if _, err := types.Get(t.Context(), "mutexs.konductor.io", metav1.GetOptions{}); err != nil {
		t.Errorf("a resource type that konductor doesn't have is gone with its own: %v", err)
	}
}

func TestThePluginLeavesAloneWhatHelmHasInstalled(t *testing.T) {
	cp := controlPlane(t)
	run(t, nil, "helm", "install", "konductor", chartDir(t), "--kubeconfig", cp.Kubeconfig(), "--namespace", install.Namespace, "--create-namespace")
	do := func(args ...string) answer {
		t.Helper()
		return call(t, plugin(t, "v1.2.0"), append(args, "--kubeconfig", cp.Kubeconfig())...)
	}
	do("install").exits(t, 1, "installed in namespace konductor-system by Helm: use helm upgrade konductor -n konductor-system")
	do("upgrade").exits(t, 1, "by Helm")
	do("uninstall", "--yes").exits(t, 1, "use helm uninstall konductor -n konductor-system")
	do("install", "-n", "other").exits(t, 1, "an operator of konductor runs in namespace konductor-system")

	// The types that Helm keeps are taken over.
	run(t, nil, "helm", "uninstall", "konductor", "--kubeconfig", cp.Kubeconfig(), "--namespace", install.Namespace, "--wait")
	do("install", "--wait=false").exits(t, 0, "leases.konductor.io configured")

	// Who may not is told what is missing.
	kube := kubernetes.NewForConfigOrDie(cp.Config())
	if _, err := kube.CoreV1().ServiceAccounts(namespace).Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "nobody"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	nobody := accountKubeconfig(t.Context(), t, cp, "nobody")
	call(t, plugin(t, "v1.2.0"), "install", "--kubeconfig", nobody).exits(t, 4, "cannot get resource \"configmaps\"", "cluster administrator")
}

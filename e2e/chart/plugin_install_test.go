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

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"

	"github.com/LogicIQ/konductor/e2e/cluster"
	"github.com/LogicIQ/konductor/e2e/install"
	"github.com/LogicIQ/konductor/e2e/internal/versions"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// expectExit checks the exit code, and that the output contains all parts.
func (a commandResult) expectExit(t *testing.T, code int, parts ...string) commandResult {
	t.Helper()
	if a.exitCode != code {
		t.Errorf("the exit code is %d, want %d\nstdout:\n%s\nstderr:\n%s", a.exitCode, code, a.stdout, a.stderr)
	}
	for _, part := range parts {
		if !strings.Contains(a.stdout+a.stderr, part) {
			t.Errorf("%q was not said\nstdout:\n%s\nstderr:\n%s", part, a.stdout, a.stderr)
		}
	}
	return a
}

func TestPluginInstallDryRun(t *testing.T) {
	program := buildPlugin(t, "dev")
	for name, values := range map[string]string{"as it is": "{}", "much asked for": "replicas: 3\nwatchNamespaces: [etl]\nnetworkPolicy: {enabled: true}\nmetrics: {serve: always, dashboard: {enabled: true}}"} {
		file := filepath.Join(t.TempDir(), "values.yaml")
		if err := os.WriteFile(file, []byte(values), 0o600); err != nil {
			t.Fatal(err)
		}
		got := runCommand(t, program, "install", "--dry-run=client", "--kube-version", kubeVersion, "-f", file, "-o", "json").expectExit(t, 0)
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
			setManagedByHelm(obj.Object)
			objects = append(objects, obj)
		}
		if diff := cmp.Diff(objectsByKey(t, renderWithHelm(t, "helm", kubeVersion, values)), objectsByKey(t, objects)); diff != "" {
			t.Errorf("%s: -Helm +plugin:\n%s", name, diff)
		}
	}
	runCommand(t, program, "install", "--dry-run=client", "--set", "replica=3").expectExit(t, 1, `value "replica" is not known to the chart`)
	runCommand(t, program, "install", "--dry-run=maybe").expectExit(t, 1, "--dry-run must be none, client or server")
	runCommand(t, program, "install", "--timeout=0s").expectExit(t, 1, "--timeout must be longer than zero")
	runCommand(t, program, "install", "--dry-run=client", "-f", "/nowhere.yaml").expectExit(t, 1, "reading values")
}

// setManagedByHelm applies the only expected difference: the manager of an object.
func setManagedByHelm(m map[string]any) {
	for key, value := range m {
		switch v := value.(type) {
		case string:
			if key == "app.kubernetes.io/managed-by" {
				m[key] = "Helm"
			}
		case map[string]any:
			setManagedByHelm(v)
		}
	}
}

func TestPluginInstallUpgradeUninstall(t *testing.T) {
	cp := startControlPlane(t)
	ctx := t.Context()
	kube := kubernetes.NewForConfigOrDie(cp.Config())
	do := func(version string, args ...string) commandResult {
		t.Helper()
		return runCommand(t, buildPlugin(t, version), append(args, "--kubeconfig", cp.Kubeconfig())...)
	}
	do("v1.2.0", "upgrade").expectExit(t, 2, "konductor is not installed in namespace konductor-system", "kubectl konductor install")
	do("v1.2.0", "uninstall", "--yes").expectExit(t, 2, "konductor is not installed")
	do("v1.2.0", "uninstall", "--yes", "--ignore-not-found").expectExit(t, 0)
	do("v1.2.0", "install", "--dry-run=server").expectExit(t, 0, "leases.konductor.io created (server dry run)", "namespace konductor-system does not exist yet", "deployment.apps/konductor-operator created (server dry run)")
	if _, err := kube.CoreV1().Namespaces().Get(ctx, install.Namespace, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Fatalf("a dry run has made the namespace: %v", err)
	}

	// No node runs Pods here, so that the operator never becomes ready.
	do("v1.1.0", "install", "--timeout=5s", "--set", "networkPolicy.enabled=true", "--set", "flowControl.enabled=true").expectExit(t, 3,
		"deployment.apps/konductor-operator created", "waiting for the operator", "timed out waiting for the operator: pod/konductor-operator-", "not scheduled to a node yet")
	again := do("v1.1.0", "install", "--wait=false").expectExit(t, 0, "deployment.apps/konductor-operator unchanged", "kubectl -n konductor-system rollout status")
	if strings.Contains(again.stdout, " created") || strings.Contains(again.stdout, " configured") || strings.Contains(again.stdout, " deleted") {
		t.Errorf("installing again has changed something:\n%s", again.stdout)
	}
	waiting := []string{"install", "--kubeconfig", cp.Kubeconfig()}
	runFollowingStderr(t, buildPlugin(t, "v1.1.0"), waiting, func(line string, p *os.Process) {
		if strings.Contains(line, "0 of 2 Pods are ready") {
			_ = p.Signal(os.Interrupt)
		}
	}).expectExit(t, 130, "error: interrupted")
	runFollowingStderr(t, buildPlugin(t, "v1.1.0"), waiting, func(line string, _ *os.Process) {
		if strings.Contains(line, " of 2 Pods are ready") {
			markOnePodReady(t, kube)
		}
	}).expectExit(t, 0, "waiting for the operator: 0 of 2 Pods are ready", "waiting for the operator: 1 of 2 Pods are ready", "Konductor is installed in namespace konductor-system")
	startOperator(t, cp)
	w := startContendedLease(t, cp)

	// A wrong namespace must not remove the cluster-wide objects of an installation, be it recorded or not.
	for _, verb := range []string{"upgrade", "uninstall"} {
		do("v1.1.0", verb, "-n", "typo").expectExit(t, 2, "konductor is not installed in namespace typo, but in konductor-system: select its namespace with -n")
	}
	do("v1.1.0", "uninstall", "-n", "typo", "--delete-data", "--yes").expectExit(t, 1, "the operator in namespace konductor-system uses the same resource types")

	do("v1.2.0", "install", "--wait=false").expectExit(t, 1, "konductor v1.1.0 is installed", "upgrade")
	do("v1.2.0", "upgrade", "--dry-run=server", "-o", "name").expectExit(t, 0, "deployment.apps/konductor-operator")
	checkInstalledVersion(t, cp, "v1.1.0")
	do("v1.2.0", "upgrade", "--wait=false", "--set", "networkPolicy.enabled=false").expectExit(t, 0,
		"deployment.apps/konductor-operator configured", "networkpolicy.networking.k8s.io/konductor-operator deleted")
	checkInstalledVersion(t, cp, "v1.2.0")
	if _, err := kube.NetworkingV1().NetworkPolicies(install.Namespace).Get(ctx, install.Deployment, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("what is no longer asked for is still there: %v", err)
	}
	w.checkUnchanged("after the upgrade")
	for _, verb := range []string{"upgrade", "install"} {
		do("v1.1.0", verb, "--wait=false").expectExit(t, 1, "konductor v1.2.0 is installed, which is newer than v1.1.0")
	}
	checkInstalledVersion(t, cp, "v1.2.0")
	do("v1.2.0", "upgrade", "--wait=false", "--set", "replicas=3").expectExit(t, 0)
	do("v1.2.0", "upgrade", "--wait=false", "--set", "log.level=debug").expectExit(t, 0)
	d, err := kube.AppsV1().Deployments(install.Namespace).Get(ctx, install.Deployment, metav1.GetOptions{})
	if err != nil || *d.Spec.Replicas != 3 || !slices.Contains(d.Spec.Template.Spec.Containers[0].Args, "--log-level=debug") {
		t.Errorf("an upgrade keeps the values of the one before: %v", err)
	}
	do("v1.2.0", "install", "-n", "other", "--wait=false").expectExit(t, 1, "a konductor operator is running in namespace konductor-system")

	// Fields that another manager has set are not overwritten by accident.
	if _, err := kube.AppsV1().Deployments(install.Namespace).Patch(ctx, install.Deployment, "application/merge-patch+json", []byte(`{"spec":{"replicas":5}}`), metav1.PatchOptions{FieldManager: "autoscaler"}); err != nil {
		t.Fatal(err)
	}
	do("v1.2.0", "upgrade", "--wait=false").expectExit(t, 1, "--force-conflicts", "autoscaler")
	do("v1.2.0", "upgrade", "--wait=false", "--force-conflicts").expectExit(t, 0)

	do("v1.2.0", "uninstall").expectExit(t, 1, "not uninstalling konductor from namespace konductor-system without confirmation; pass --yes")
	do("v1.2.0", "uninstall", "--dry-run=server").expectExit(t, 0, "deployment.apps/konductor-operator deleted (server dry run)")
	checkInstalledVersion(t, cp, "v1.2.0")
	do("v1.2.0", "uninstall", "--yes").expectExit(t, 0, "deployment.apps/konductor-operator deleted", "the resource types, all their objects and namespace konductor-system were kept")
	w.checkUnchanged("after uninstall")
	checkNothingLeft(t, cp, "after uninstall")
	// The remaining CRDs are newer than this version.
	do("v1.1.0", "install", "--wait=false").expectExit(t, 1, "konductor v1.2.0 is installed")

	do("v1.2.0", "install", "--wait=false").expectExit(t, 0)
	startOperator(t, cp)
	w.checkUnchanged("after the next installation")
	w.releaseAndCheck()
}

// runFollowingStderr runs a program and calls onLine with each line of its stderr.
func runFollowingStderr(t *testing.T, path string, args []string, onLine func(line string, p *os.Process)) commandResult {
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
		onLine(lines.Text(), cmd.Process)
	}
	_ = cmd.Wait() // the exit code is in ProcessState
	return commandResult{"", said.String(), cmd.ProcessState.ExitCode()}
}

// markOnePodReady makes one more of the operator's Pods ready, as the kubelet would.
func markOnePodReady(t *testing.T, kube kubernetes.Interface) {
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

// checkInstalledVersion checks the version of all installed objects.
func checkInstalledVersion(t *testing.T, cp *cluster.ControlPlane, want string) {
	t.Helper()
	d, err := kubernetes.NewForConfigOrDie(cp.Config()).AppsV1().Deployments(install.Namespace).Get(t.Context(), install.Deployment, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got := d.Labels["app.kubernetes.io/version"]; got != want || !strings.HasSuffix(d.Spec.Template.Spec.Containers[0].Image, ":"+want) {
		t.Errorf("version %s is installed, with image %s; want %s", got, d.Spec.Template.Spec.Containers[0].Image, want)
	}
}

// checkNothingLeft checks that nothing of konductor is left except its CRDs and what existed before.
func checkNothingLeft(t *testing.T, cp *cluster.ControlPlane, when string) {
	t.Helper()
	server := newApplier(t, cp.Config())
	for _, resource := range mutatingPolicyResources("v1") {
		list, err := server.client.Resource(resource).List(t.Context(), metav1.ListOptions{})
		if served := err == nil; served != versions.ForTest(t, cp.Config()).HasMutatingAdmissionPolicy() {
			t.Errorf("%s are served: %v (%v)", resource.Resource, served, err)
		} else if served && len(list.Items) > 0 {
			t.Errorf("%s there is still %s", when, objectKey(&list.Items[0]))
		}
	}
	ours := metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=konductor"}
	for _, resource := range []schema.GroupVersionResource{
		{Group: "apps", Version: "v1", Resource: "deployments"}, {Version: "v1", Resource: "services"}, {Version: "v1", Resource: "configmaps"}, {Version: "v1", Resource: "serviceaccounts"},
		{Group: rbacv1.GroupName, Version: "v1", Resource: "clusterroles"}, {Group: rbacv1.GroupName, Version: "v1", Resource: "clusterrolebindings"},
		{Group: rbacv1.GroupName, Version: "v1", Resource: "roles"}, {Group: rbacv1.GroupName, Version: "v1", Resource: "rolebindings"},
		{Group: "policy", Version: "v1", Resource: "poddisruptionbudgets"}, {Group: "networking.k8s.io", Version: "v1", Resource: "networkpolicies"},
		{Group: "admissionregistration.k8s.io", Version: "v1", Resource: "validatingadmissionpolicies"},
		{Group: "admissionregistration.k8s.io", Version: "v1", Resource: "validatingadmissionpolicybindings"},
		{Group: "flowcontrol.apiserver.k8s.io", Version: "v1", Resource: "flowschemas"},
		{Group: "flowcontrol.apiserver.k8s.io", Version: "v1", Resource: "prioritylevelconfigurations"},
	} {
		list, err := server.client.Resource(resource).List(t.Context(), ours)
		if err != nil {
			t.Fatal(err)
		}
		for i := range list.Items {
			t.Errorf("%s there is still %s", when, objectKey(&list.Items[i]))
		}
	}
}

// mutatingPolicyResources returns the resources of MutatingAdmissionPolicies and their bindings.
func mutatingPolicyResources(version string) []schema.GroupVersionResource {
	of := schema.GroupVersion{Group: "admissionregistration.k8s.io", Version: version}
	return []schema.GroupVersionResource{of.WithResource("mutatingadmissionpolicies"), of.WithResource("mutatingadmissionpolicybindings")}
}

func TestPluginUninstallLeftovers(t *testing.T) {
	cp := startControlPlane(t)
	ctx := t.Context()
	kube := kubernetes.NewForConfigOrDie(cp.Config())
	do := func(args ...string) commandResult {
		t.Helper()
		return runCommand(t, buildPlugin(t, "v1.2.0"), append(args, "--kubeconfig", cp.Kubeconfig())...)
	}
	do("install", "--wait=false", "--set", "flowControl.enabled=true").expectExit(t, 0)

	// The record is lost, and an object was deleted by hand.
	if err := kube.CoreV1().ConfigMaps(install.Namespace).Delete(ctx, "konductor-installation", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := kube.AppsV1().Deployments(install.Namespace).Delete(ctx, install.Deployment, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	do("uninstall", "--yes").expectExit(t, 0, "serviceaccount/konductor-operator deleted")
	checkNothingLeft(t, cp, "after an uninstallation without a record")

	// An object has a finalizer that is never removed.
	do("install", "--wait=false").expectExit(t, 0)
	people := newAdminClient(t, cp, namespace)
	if _, err := people.CreateLease(ctx, "stuck"); err != nil {
		t.Fatal(err)
	}
	finalizers := func(value string) {
		t.Helper()
		body := []byte(fmt.Sprintf(`{"metadata":{"finalizers":%s}}`, value))
		if err := newRESTClient(t, cp.Config()).Patch("application/merge-patch+json").Namespace(namespace).Resource("leases").Name("stuck").Body(body).Do(ctx).Error(); err != nil {
			t.Fatal(err)
		}
	}
	finalizers(`["example.com/never"]`)
	do("uninstall", "--delete-data").expectExit(t, 1, "deletes its resource types, and 1 leases in all namespaces", "without confirmation; pass --yes")
	got := do("uninstall", "--delete-data", "--yes", "--timeout=4s").expectExit(t, 3, "timed out waiting for the deletion of customresourcedefinition.apiextensions.k8s.io/leases.konductor.io",
		"lease.konductor.io/stuck in namespace default is blocked by finalizers (example.com/never)", "kubectl patch leases.konductor.io stuck -n default")
	if strings.Contains(got.stderr, "barriers.konductor.io") {
		t.Errorf("types that are gone are named:\n%s", got.stderr)
	}
	do("install", "--wait=false").expectExit(t, 1, "leases.konductor.io is being deleted")
	finalizers("null")
	eventually(t, "the resource type is gone", func() bool {
		_, err := people.ListLeases(ctx)
		return isUninstalledError(err)
	})
	// Objects that are already gone are no error.
	do("uninstall", "--delete-data", "--yes", "--ignore-not-found").expectExit(t, 0)
	do("uninstall", "--delete-data", "--yes").expectExit(t, 2)
	checkNothingLeft(t, cp, "at the end")

	// A terminating namespace doesn't get a new installation, and an uninstallation from it ends.
	if err := kube.CoreV1().Namespaces().Delete(ctx, install.Namespace, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	do("uninstall", "--yes").expectExit(t, 2)
}

func isUninstalledError(err error) bool {
	_, ok := err.(*konductor.UninstalledError) //nolint:errorlint // the SDK returns it as it is
	return ok
}

func TestPluginKeepsThirdPartyCRDs(t *testing.T) {
	cp := startControlPlane(t)
	server := newApplier(t, cp.Config())
	types := server.client.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	for _, kind := range []string{"Lease", "Mutex"} {
		if err := server.apply(t.Context(), newSchemalessCRD("konductor.io", "v1", kind), false); err != nil {
			t.Fatal(err)
		}
	}
	do := func(args ...string) commandResult {
		t.Helper()
		return runCommand(t, buildPlugin(t, "v1.2.0"), append(args, "--kubeconfig", cp.Kubeconfig())...)
	}
	got := do("install", "--wait=false").expectExit(t, 1, "customresourcedefinition.apiextensions.k8s.io/leases.konductor.io already exists and isn't from konductor's chart", "--force-conflicts")
	if got.stdout != "" {
		t.Errorf("something was done before:\n%s", got.stdout)
	}
	do("uninstall", "--delete-data", "--yes").expectExit(t, 2)
	do("install", "--wait=false", "--force-conflicts").expectExit(t, 0, "leases.konductor.io configured")
	do("upgrade", "--wait=false").expectExit(t, 0)
	do("uninstall", "--delete-data", "--yes").expectExit(t, 0, "leases.konductor.io deleted")
	if _, err := types.Get(t.Context(), "mutexs.konductor.io", metav1.GetOptions{}); err != nil {
		t.Errorf("a resource type that konductor doesn't have is gone with its own: %v", err)
	}
}

func TestPluginRefusesHelmInstallation(t *testing.T) {
	cp := startControlPlane(t)
	runTool(t, nil, "helm", "install", "konductor", chartDir(t), "--kubeconfig", cp.Kubeconfig(), "--namespace", install.Namespace, "--create-namespace")
	do := func(args ...string) commandResult {
		t.Helper()
		return runCommand(t, buildPlugin(t, "v1.2.0"), append(args, "--kubeconfig", cp.Kubeconfig())...)
	}
	do("install").expectExit(t, 1, "installed in namespace konductor-system by Helm: use helm upgrade konductor -n konductor-system")
	do("upgrade").expectExit(t, 1, "by Helm")
	do("uninstall", "--yes").expectExit(t, 1, "use helm uninstall konductor -n konductor-system")
	do("install", "-n", "other").expectExit(t, 1, "a konductor operator is running in namespace konductor-system")

	// The CRDs that Helm keeps are taken over.
	runTool(t, nil, "helm", "uninstall", "konductor", "--kubeconfig", cp.Kubeconfig(), "--namespace", install.Namespace, "--wait")
	do("install", "--wait=false").expectExit(t, 0, "leases.konductor.io configured")

	// A user without the rights is told which ones are missing.
	kube := kubernetes.NewForConfigOrDie(cp.Config())
	if _, err := kube.CoreV1().ServiceAccounts(namespace).Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "nobody"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	nobody := accountKubeconfig(t.Context(), t, cp, "nobody")
	runCommand(t, buildPlugin(t, "v1.2.0"), "install", "--kubeconfig", nobody).expectExit(t, 4, "cannot get resource \"configmaps\"", "needs cluster-admin")
}

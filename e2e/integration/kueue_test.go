//go:build kueue

package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/e2e/cluster"
	"github.com/LogicIQ/konductor/e2e/cluster/toolchain"
	"github.com/LogicIQ/konductor/e2e/cluster/toolchain/toolchaintest"
	"github.com/LogicIQ/konductor/e2e/internal/credentials"
	"github.com/LogicIQ/konductor/operator"
)

const (
	kueueNamespace = "kueue-system"
	kueueAccount   = "kueue-controller-manager"
	// kueueManager is the field manager of Kueue: the name of its program.
	kueueManager = "kueue"
)

// kueueModuleDir returns the directory with the sources of the pinned Kueue, which has its CRDs and roles.
func (w *testEnv) kueueModuleDir() string {
	w.Helper()
	e2e, err := toolchain.ModuleRoot()
	w.must(err)
	cmd := exec.CommandContext(w.ctx, "go", "mod", "download", "-json", "sigs.k8s.io/kueue")
	cmd.Dir = filepath.Join(e2e, "tools", "kueue")
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=")
	out, err := cmd.Output()
	w.must(err)
	var module struct{ Dir string }
	w.must(json.Unmarshal(out, &module))
	return module.Dir
}

// installKueue installs the CRDs of Kueue, and its account with the rights that its own manifests give it, and returns the path of
// a kubeconfig with that account. Its webhooks are not registered: no node runs the Service that they are called by.
func (w *testEnv) installKueue(config string) (kubeconfig string) {
	w.Helper()
	crds := envtest.CRDInstallOptions{Paths: []string{filepath.Join(config, "components/crd/bases")}, ErrorIfPathMissing: true}
	w.must(envtest.ReadCRDFiles(&crds))
	for _, crd := range crds.CRDs {
		// Kueue doesn't start unless it finds these webhooks. They are called only for objects of another version than the stored one.
		path := "/convert"
		if _, err := os.Stat(filepath.Join(config, "components/crd/patches/webhook_in_"+crd.Spec.Names.Plural+".yaml")); err == nil {
			crd.Spec.Conversion = &apiextensionsv1.CustomResourceConversion{
				Strategy: apiextensionsv1.WebhookConverter,
				Webhook: &apiextensionsv1.WebhookConversion{
					ConversionReviewVersions: []string{"v1"},
					ClientConfig:             &apiextensionsv1.WebhookClientConfig{Service: &apiextensionsv1.ServiceReference{Namespace: kueueNamespace, Name: "kueue-webhook-service", Path: &path}},
				},
			}
		}
	}
	_, err := envtest.InstallCRDs(w.adminConfig, envtest.CRDInstallOptions{CRDs: crds.CRDs, MaxTime: time.Minute})
	w.must(err)

	readRules := func(file string) (rules []rbacv1.PolicyRule) {
		text, err := os.ReadFile(filepath.Join(config, "components/rbac", file))
		w.must(err)
		var role rbacv1.ClusterRole
		w.must(yaml.Unmarshal(text, &role))
		return role.Rules
	}
	in := metav1.ObjectMeta{Name: kueueAccount, Namespace: kueueNamespace}
	subjects := []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: kueueAccount, Namespace: kueueNamespace}}
	_, err = w.kube.CoreV1().Namespaces().Create(w.ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: kueueNamespace}}, metav1.CreateOptions{})
	w.must(err)
	_, err = w.kube.CoreV1().ServiceAccounts(kueueNamespace).Create(w.ctx, &corev1.ServiceAccount{ObjectMeta: in}, metav1.CreateOptions{})
	w.must(err)
	w.createClusterRole(kueueAccount, readRules("role.yaml")...)
	_, err = w.kube.RbacV1().ClusterRoleBindings().Create(w.ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: kueueAccount},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: kueueAccount}, Subjects: subjects,
	}, metav1.CreateOptions{})
	w.must(err)
	_, err = w.kube.RbacV1().Roles(kueueNamespace).Create(w.ctx, &rbacv1.Role{ObjectMeta: in, Rules: readRules("manager_secrets_role.yaml")}, metav1.CreateOptions{})
	w.must(err)
	_, err = w.kube.RbacV1().RoleBindings(kueueNamespace).Create(w.ctx, &rbacv1.RoleBinding{
		ObjectMeta: in, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: kueueAccount}, Subjects: subjects,
	}, metav1.CreateOptions{})
	w.must(err)
	account, err := credentials.ForAccount(w.ctx, w.kube, w.adminConfig, kueueNamespace, kueueAccount, nil)
	w.must(err)
	kubeconfig = filepath.Join(w.TempDir(), "kubeconfig")
	w.must(credentials.WriteKubeconfig(account, kueueNamespace, kubeconfig))
	return kubeconfig
}

// startKueue installs and starts the real Kueue for Jobs on a control plane, and returns when it is ready.
func (w *testEnv) startKueue(on *testCluster, program string, manageJobsWithoutQueueName bool) {
	w.Helper()
	kubeconfig := w.installKueue(filepath.Join(w.kueueModuleDir(), "config"))
	_, port, err := net.SplitHostPort(w.freeAddress())
	w.must(err)
	dir := w.TempDir()
	certificates, configFile := filepath.Join(dir, "certificates"), filepath.Join(dir, "config.yaml")
	w.must(os.Mkdir(certificates, 0o700))
	// Kueue fills the Secret, and expects its content as files.
	const secretName = "kueue-webhook-server-cert"
	secrets := w.kube.CoreV1().Secrets(kueueNamespace)
	_, err = secrets.Create(w.ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: secretName}}, metav1.CreateOptions{})
	w.must(err)
	w.must(os.WriteFile(configFile, fmt.Appendf(nil, `
apiVersion: config.kueue.x-k8s.io/v1beta2
kind: Configuration
namespace: %s
health: {healthProbeBindAddress: "0"}
metrics: {bindAddress: "0"}
webhook: {host: 127.0.0.1, port: %s, certDir: %q}
leaderElection: {leaderElect: false}
manageJobsWithoutQueueName: %t
internalCertManagement: {enable: true, webhookSecretName: %s}
integrations: {frameworks: [batch/job]}
featureGates: {VisibilityOnDemand: false}
`, kueueNamespace, port, certificates, manageJobsWithoutQueueName, secretName), 0o600))
	kueue, err := on.StartProgram("kueue", program, []string{"--config=" + configFile, "--kubeconfig=" + kubeconfig, "--zap-log-level=2"}, []string{"HOME=" + dir, "TMPDIR=" + dir})
	w.must(err)
	w.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), waitTimeout)
		defer cancel()
		if err := kueue.Stop(ctx, syscall.SIGTERM, 10*time.Second); err != nil {
			w.Errorf("stopping kueue: %v", err)
		}
		if w.Failed() {
			lines := strings.Split(kueue.Output(), "\n")
			w.Logf("kueue said:\n%s", strings.Join(lines[max(0, len(lines)-100):], "\n"))
		}
	})
	w.waitUntil("certificates of kueue", func() bool {
		secret, err := secrets.Get(w.ctx, secretName, metav1.GetOptions{})
		w.must(err)
		for _, name := range []string{"tls.key", "tls.crt"} { // It waits for the latter.
			if len(secret.Data[name]) == 0 {
				return false
			}
			w.must(os.WriteFile(filepath.Join(certificates, name), secret.Data[name], 0o600))
		}
		return true
	})
	for _, text := range []string{
		"{kind: ResourceFlavor, metadata: {name: default}}",
		`
kind: ClusterQueue
metadata: {name: one-at-a-time}
spec:
  namespaceSelector: {}
  resourceGroups: [{coveredResources: [cpu], flavors: [{name: default, resources: [{name: cpu, nominalQuota: 1}]}]}]`,
		"{kind: LocalQueue, metadata: {name: default, namespace: " + w.namespace + "}, spec: {clusterQueue: one-at-a-time}}",
	} {
		obj := &unstructured.Unstructured{}
		w.must(yaml.Unmarshal([]byte(text), &obj.Object))
		obj.SetAPIVersion("kueue.x-k8s.io/v1beta2")
		w.must(w.client.Create(w.ctx, obj))
	}
	queue := kueueObject("LocalQueue", w.namespace, "default")
	w.waitUntil("an active queue", func() bool {
		select {
		case <-kueue.Done():
			w.Fatal("kueue has ended")
		default:
		}
		w.must(w.client.Get(w.ctx, client.ObjectKeyFromObject(queue), queue))
		conditions, _, err := unstructured.NestedSlice(queue.Object, "status", "conditions")
		w.must(err)
		return slices.ContainsFunc(conditions, func(c any) bool {
			condition, _ := c.(map[string]any)
			return condition["type"] == "Active" && condition["status"] == "True"
		})
	})
}

func kueueObject(kind, namespace, name string) *unstructured.Unstructured {
	obj := &unstructured.Unstructured{}
	obj.SetGroupVersionKind(schema.GroupVersionKind{Group: "kueue.x-k8s.io", Version: "v1beta2", Kind: kind})
	obj.SetNamespace(namespace)
	obj.SetName(name)
	return obj
}

// setKueueStopPolicy stops or starts all that is admitted by the ClusterQueue.
func (w *testEnv) setKueueStopPolicy(policy string) {
	w.Helper()
	patch := client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"spec":{"stopPolicy":%q}}`, policy))
	w.must(w.client.Patch(w.ctx, kueueObject("ClusterQueue", "", "one-at-a-time"), patch))
}

// kueueWorkloads returns the names of the Jobs that Kueue has made Workloads for.
func (w *testEnv) kueueWorkloads() (jobs []string) {
	w.Helper()
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(schema.GroupVersionKind{Group: "kueue.x-k8s.io", Version: "v1beta2", Kind: "WorkloadList"})
	w.must(w.client.List(w.ctx, list, client.InNamespace(w.namespace)))
	for i := range list.Items {
		for _, owner := range list.Items[i].GetOwnerReferences() {
			jobs = append(jobs, owner.Name)
		}
	}
	return jobs
}

// queuedJob returns a Job with the label of Kueue that needs the whole quota.
func queuedJob(name string, annotations map[string]string, suspend bool) *batchv1.Job {
	job := newHeldJob(name, annotations, suspend)
	job.Labels = map[string]string{kueueQueueLabel: "default"}
	job.Spec.Template.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")}
	return job
}

// hasWritten reports whether a field manager has written to a Job in any revision.
func (r *jobRecord) hasWritten(manager string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.revisions, func(j *batchv1.Job) bool {
		return slices.ContainsFunc(j.ManagedFields, func(f metav1.ManagedFieldsEntry) bool { return f.Manager == manager })
	})
}

// wasSuspended reports whether a Job was suspended in any revision.
func (r *jobRecord) wasSuspended() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.revisions, func(j *batchv1.Job) bool { return *j.Spec.Suspend })
}

// TestKueueJobsBesideHeldJobs has the real Kueue admit, stop and start annotated Jobs, and a held Job beside them.
func TestKueueJobsBesideHeldJobs(t *testing.T) {
	program := toolchaintest.ProgramPath(t, "kueue")
	t.Parallel()
	plane, err := cluster.StartControlPlane(t.Context(), cluster.ControlPlaneOptions{ControllerManager: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = plane.Close() })
	on, err := installKonductor(t.Context(), plane)
	if err != nil {
		t.Fatal(err)
	}
	w := newTestEnvOn(t, on)
	w.startKueue(on, program, false)
	config, wire := w.hookTransport(w.operatorConfig)
	w.startOperatorWith(func(o *operator.Options) { o.Config, o.HeldWorkloads = config, true })
	w.createLease("report")
	createBarrier(w, "done", 3)
	hold := w.newParticipant("somebody").mustAcquire(konductorv1.KindLease, "report")
	annotations := holding("lease/report")
	annotations[konductorv1.ArriveAnnotation] = "barrier/done"

	// Nobody suspends the first at its creation, so Kueue does.
	first, second, held := queuedJob("first", annotations, false), queuedJob("second", annotations, true), heldJob("held", holding("lease/report"))
	w.createObjects(held)
	heldRecord := w.recordJob(held)
	w.waitJobState("held", konductorv1.HeldWaiting)
	w.createObjects(first)
	firstRecord := w.recordJob(first)
	isStarted := func(j *batchv1.Job) bool { return !*j.Spec.Suspend && j.Status.Active == 1 }
	w.waitUntil("kueue to stop the first job", firstRecord.wasSuspended)
	waitFor(w, "first", "started by kueue", isStarted)
	const stops = 3
	for range stops {
		w.setKueueStopPolicy("HoldAndDrain")
		waitFor(w, "first", "stopped by kueue", func(j *batchv1.Job) bool { return *j.Spec.Suspend && j.Status.Active == 0 })
		w.setKueueStopPolicy("None")
		waitFor(w, "first", "started by kueue", isStarted)
	}
	w.createObjects(second)
	secondRecord := w.recordJob(second)
	w.expectNotHeld("second", "Kueue writes spec.suspend")
	if j := getObject[*batchv1.Job](w, "second"); !*j.Spec.Suspend {
		t.Error("kueue has started two jobs at the same time")
	}
	before, quiet := firstRecord.current().ResourceVersion, time.NewTimer(quietPeriod)
	<-quiet.C
	if after := firstRecord.current().ResourceVersion; after != before {
		t.Errorf("the first job is written although nothing happens:\n%s", firstRecord.describe())
	}
	if j := getObject[*batchv1.Job](w, "held"); !*j.Spec.Suspend || j.Labels[konductorv1.HeldLabel] != konductorv1.HeldWaiting {
		t.Error("the held job was started")
	}
	finish := func(j *batchv1.Job) {
		w.waitUntil("the end of "+j.Name, func() bool {
			w.finishPods(j.UID, corev1.PodSucceeded)
			return getObject[*batchv1.Job](w, j.Name).Status.Succeeded == 1
		})
	}
	finish(first)
	waitFor(w, "second", "started by kueue", isStarted)
	finish(second)
	if writes := wire.writesOf("arrivals"); len(writes) > 0 {
		t.Errorf("the operator wrote %v", writes)
	}
	w.mustRelease(hold)
	w.waitForPodOf(w.waitJobState("held", konductorv1.HeldStarted))
	finish(held)
	w.waitJobState("held", konductorv1.HeldFinished)
	w.waitLeaseFree("report")

	// Kueue starts a Job with one write, and stops it with two.
	for name, kueueWrites := range map[string]int{"first": (1 + stops) * 3, "second": 1} {
		record := firstRecord
		if name == "second" {
			record = secondRecord
		}
		changed, statusOnly := record.writes()
		t.Logf("%s: %d revisions of spec or metadata, %d of the status", name, changed, statusOnly)
		if changed != kueueWrites {
			t.Errorf("%s: %d revisions of spec or metadata, want %d:\n%s", name, changed, kueueWrites, record.describe())
		}
		if !record.hasWritten(kueueManager) {
			t.Errorf("kueue has not written to %s:\n%s", name, record.describe())
		}
		w.expectNotHeld(name, "Kueue writes spec.suspend")
	}
	for _, s := range wire.writesOf("jobs") {
		if !strings.HasSuffix(s, "/jobs/held") {
			t.Errorf("the operator wrote to a job of kueue: %s", s)
		}
	}
	if heldRecord.hasWritten(kueueManager) {
		t.Errorf("kueue has written to the held job:\n%s", heldRecord.describe())
	}
	// Waiting, started and finished.
	if changed, _ := heldRecord.writes(); changed != 3 {
		t.Errorf("%d revisions of the held job:\n%s", changed, heldRecord.describe())
	}
	if jobs := w.kueueWorkloads(); slices.Contains(jobs, "held") {
		t.Errorf("kueue has workloads of %v", jobs)
	}
}

package chart

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/LogicIQ/konductor/e2e/internal/versions"
	"github.com/LogicIQ/konductor/internal/doctor"
)

// pluginCaller runs the plugin as one user.
type pluginCaller struct {
	env        *testEnv
	kubeconfig string
}

func (w *testEnv) newPluginCaller(config *rest.Config) pluginCaller {
	w.Helper()
	file := filepath.Join(w.TempDir(), "kubeconfig")
	w.must(clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{"c": {Server: config.Host, CertificateAuthorityData: config.CAData, CertificateAuthority: config.CAFile}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{"u": {Token: config.BearerToken}},
		Contexts:       map[string]*clientcmdapi.Context{"x": {Cluster: "c", AuthInfo: "u"}},
		CurrentContext: "x",
	}, file))
	return pluginCaller{w, file}
}

// run returns the output of the plugin and its exit code.
func (c pluginCaller) run(args ...string) (out string, code int) {
	c.env.Helper()
	got := runCommand(c.env.T, buildPlugin(c.env.T, "v1.2.0"), append(args, "--kubeconfig="+c.kubeconfig)...)
	c.env.Logf("%s: %d\n%s%s", strings.Join(args, " "), got.exitCode, got.stdout, got.stderr)
	return got.stdout, got.exitCode
}

// doctor runs doctor and returns the report; the exit code must be the expected one.
func (c pluginCaller) doctor(exit int, args ...string) *doctor.Report {
	c.env.Helper()
	out, code := c.run(append([]string{"doctor", "-o", "json"}, args...)...)
	if code != exit {
		c.env.Errorf("doctor %v exits with %d, want %d", args, code, exit)
	}
	report := &doctor.Report{}
	c.env.must(json.Unmarshal([]byte(out), report))
	if report.APIVersion != doctor.APIVersion || report.Healthy != (exit == 0) {
		c.env.Errorf("the report has version %s, and healthy is %v", report.APIVersion, report.Healthy)
	}
	return report
}

// expectFailedChecks compares the checks that were not OK, as NAME=STATUS.
func (w *testEnv) expectFailedChecks(report *doctor.Report, want ...string) {
	w.Helper()
	var odd []string
	for _, c := range report.Checks {
		if c.Status != doctor.OK {
			odd = append(odd, c.Name+"="+string(c.Status))
		}
	}
	if strings.Join(odd, " ") != strings.Join(want, " ") {
		w.Errorf("what stands out is %v, want %v", odd, want)
	}
}

// markOperatorPodsReady sets the status of the operator's Pods, which no node runs here, as a kubelet would.
func markOperatorPodsReady(ctx context.Context, kube kubernetes.Interface) error {
	pods, err := kube.CoreV1().Pods(systemNamespace).List(ctx, metav1.ListOptions{FieldSelector: "status.phase=Pending"})
	if err != nil {
		return err
	}
	for i := range pods.Items {
		_, err := kube.CoreV1().Pods(systemNamespace).Patch(ctx, pods.Items[i].Name, types.MergePatchType,
			[]byte(`{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}`), metav1.PatchOptions{}, "status")
		if client.IgnoreNotFound(err) != nil {
			return err
		}
	}
	return nil
}

// makeOperatorReady waits until the operator's Pods exist, and makes them ready.
func (w *testEnv) makeOperatorReady() {
	w.Helper()
	eventually(w.T, "the operator's Pods are ready", func() bool {
		w.must(markOperatorPodsReady(w.Context(), w.kube))
		d, err := w.kube.AppsV1().Deployments(systemNamespace).Get(w.Context(), "konductor-operator", metav1.GetOptions{})
		w.must(err)
		return d.Status.ReadyReplicas == *d.Spec.Replicas
	})
}

func TestDoctor(t *testing.T) {
	w := &testEnv{T: t, controlPlane: startControlPlaneWithNamespaces(t)}
	w.kube = kubernetes.NewForConfigOrDie(w.controlPlane.Config())
	ctx := t.Context()
	admin := pluginCaller{w, w.controlPlane.Kubeconfig()}
	// Not OK although nothing is wrong: before Kubernetes 1.36 the creator of a claim isn't recorded.
	var gap []string
	if !versions.ForTest(t, w.controlPlane.Config()).HasMutatingAdmissionPolicy() {
		gap = []string{"Creators=Warning"}
	}

	w.expectFailedChecks(admin.doctor(1), "ResourceTypes=Failed")

	applyChart(t, w.controlPlane)
	// No node runs the operator's Pods here.
	eventually(t, "the new types are described, and the policies in force", func() bool {
		report := admin.doctor(1)
		want := map[string]doctor.Status{doctor.CheckResourceTypes: doctor.OK, doctor.CheckAdmission: doctor.OK, doctor.CheckCreators: doctor.OK}
		if len(gap) > 0 {
			want[doctor.CheckCreators] = doctor.Warning
		}
		for _, c := range report.Checks {
			if want[c.Name] == c.Status {
				delete(want, c.Name)
			}
		}
		return len(want) == 0
	})
	w.expectFailedChecks(admin.doctor(1), append([]string{"Operator=Failed", "Leader=Failed"}, gap...)...)

	w.runOperator()
	w.makeOperatorReady()
	eventually(t, "an operator leads, and the policy is in force", func() bool {
		out, code := admin.run("doctor")
		return code == 0 && strings.Count(out, "warning") == len(gap)
	})
	w.expectFailedChecks(admin.doctor(0), gap...)
	if out, _ := admin.run("doctor"); !strings.Contains(out, "can participate in namespace default, and create leases, resize semaphores, delete barriers, break the holds of others") {
		t.Error("doctor doesn't say what an administrator may do")
	}

	t.Run("somebody without rights", func(t *testing.T) {
		nobody := w.newPluginCaller(w.createServiceAccount("nobody", ""))
		report := nobody.doctor(4)
		w.expectFailedChecks(report, "Operator=Unknown", "Leader=Unknown", "Lag=Unknown", "Admission=Unknown", "Rights=Failed")
		if len(report.MissingRights) != 21 || len(report.ApplyObjects) != 2 {
			t.Errorf("%d rights are missing, %d objects to apply", len(report.MissingRights), len(report.ApplyObjects))
		}
		// The printed manifests can be applied, and are enough.
		out, _ := nobody.run("doctor")
		_, role, found := strings.Cut(out, "# Missing permissions, ready to apply:\n")
		if !found {
			t.Fatal("the Role that is missing isn't printed")
		}
		runTool(t, []byte(role), "kubectl", "--kubeconfig", w.controlPlane.Kubeconfig(), "apply", "-f", "-")
		eventually(t, "the rights are there", func() bool { _, code := nobody.run("doctor"); return code == 0 })
	})

	t.Run("a workload", func(t *testing.T) {
		job := filepath.Join(t.TempDir(), "job.yaml")
		// Older kubectls parse a file that begins with a brace as JSON.
		w.must(os.WriteFile(job, []byte("apiVersion: batch/v1\nkind: Job\nmetadata: {name: load}\nspec: {template: {spec: {serviceAccountName: worker, restartPolicy: Never, containers: [{name: c, image: i}]}}}\n"), 0o600))
		w.expectFailedChecks(admin.doctor(1, "--for", "-f", job), slices.Concat(gap, []string{"Workload=Failed", "Rights=Failed"})...)
		_, err := w.kube.CoreV1().ServiceAccounts(namespace).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "worker"}}, metav1.CreateOptions{})
		w.must(err)
		w.expectFailedChecks(admin.doctor(4, "-f", job), append(slices.Clone(gap), "Rights=Failed")...)

		// A namespace's administrator may run that too; a user without the right gets only that message.
		boss := w.newPluginCaller(w.createServiceAccount("chief", "admin", namespace))
		awaitAggregatedRoles(w)
		eventually(t, "an administrator of the namespace may ask", func() bool {
			_, code := boss.run("doctor", "--for", "serviceaccount/worker")
			return code == 4
		})
		w.expectFailedChecks(w.newPluginCaller(w.tokenConfig(namespace, "worker")).doctor(0, "--for", "serviceaccount/other"),
			"Operator=Unknown", "Leader=Unknown", "Lag=Unknown", "Admission=Unknown", "Rights=Unknown")

		role, code := boss.run("rbac", "--for", "-f", job)
		if code != 0 {
			t.Fatalf("rbac exits with %d", code)
		}
		runTool(t, []byte(role), "kubectl", "--kubeconfig", w.controlPlane.Kubeconfig(), "apply", "-f", "-")
		runTool(t, nil, "kubectl", "--kubeconfig", w.controlPlane.Kubeconfig(), "create", "-f", job)
		eventually(t, "the rights are there", func() bool { _, code := admin.run("doctor", "--for", "job/load"); return code == 0 })
		w.expectFailedChecks(admin.doctor(0, "--for", "job/load"), gap...)
		if _, code := admin.run("doctor", "--for", "job/none"); code != 2 {
			t.Errorf("doctor for a Job that isn't there exits with %d", code)
		}
	})

	t.Run("held Jobs", func(t *testing.T) { testDoctorOfHeldJobs(t, w, admin, gap) })

	t.Run("a role that is narrower than it must be", func(t *testing.T) {
		narrow := w.createServiceAccount("narrow", "view", namespace)
		eventually(t, "the right to look is there", func() bool {
			out, _ := w.newPluginCaller(narrow).run("doctor")
			return strings.Contains(out, "can't create arrivals.konductor.io; create,patch,delete claims.konductor.io in namespace default")
		})
	})

	t.Run("types that are older", func(t *testing.T) {
		runTool(t, nil, "kubectl", "--kubeconfig", w.controlPlane.Kubeconfig(), "patch", "crd", "barriers.konductor.io", "--type=json",
			"--patch", `[{"op": "remove", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/status/properties/endedAt"}]`)
		eventually(t, "the API server describes the older type", func() bool {
			out, code := admin.run("doctor")
			return code == 1 && strings.Contains(out, "the resource types are older than this program: Barrier.status.endedAt missing")
		})
	})
}

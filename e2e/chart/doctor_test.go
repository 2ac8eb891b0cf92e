package chart

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
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

	"github.com/LogicIQ/konductor/plugins/konductor/doctor"
)

// caller runs the plugin as somebody.
type caller struct {
	w          *town
	kubeconfig string
}

func (w *town) caller(config *rest.Config) caller {
	w.Helper()
	file := filepath.Join(w.TempDir(), "kubeconfig")
	w.ok(clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{"c": {Server: config.Host, CertificateAuthorityData: config.CAData, CertificateAuthority: config.CAFile}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{"u": {Token: config.BearerToken}},
		Contexts:       map[string]*clientcmdapi.Context{"x": {Cluster: "c", AuthInfo: "u"}},
		CurrentContext: "x",
	}, file))
	return caller{w, file}
}

// run returns what the plugin prints and its exit code.
func (c caller) run(args ...string) (out string, code int) {
	c.w.Helper()
	got := call(c.w.T, plugin(c.w.T, "v1.2.0"), append(args, "--kubeconfig="+c.kubeconfig)...)
	c.w.Logf("%s: %d\n%s%s", strings.Join(args, " "), got.code, got.stdout, got.stderr)
	return got.stdout, got.code
}

// doctor runs doctor and returns the report; the exit code must be the one that is expected.
func (c caller) doctor(exit int, args ...string) *doctor.Report {
	c.w.Helper()
	out, code := c.run(append([]string{"doctor", "-o", "json"}, args...)...)
	if code != exit {
		c.w.Errorf("doctor %v exits with %d, want %d", args, code, exit)
	}
	report := &doctor.Report{}
	c.w.ok(json.Unmarshal([]byte(out), report))
	if report.APIVersion != doctor.Version || report.Healthy != (exit == 0) {
		c.w.Errorf("the report has version %s, and healthy is %v", report.APIVersion, report.Healthy)
	}
	return report
}

// expect compares the checks that were not OK, as NAME=STATUS.
func (w *town) expect(report *doctor.Report, want ...string) {
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

// readyPods says of the operator's Pods, which no node runs here, what a kubelet would say of them.
func readyPods(ctx context.Context, kube kubernetes.Interface) error {
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

// pretendReady waits until the operator is ready, as far as its Pods say.
func (w *town) pretendReady() {
	w.Helper()
	eventually(w.T, "the operator's Pods are ready", func() bool {
		w.ok(readyPods(w.Context(), w.kube))
		d, err := w.kube.AppsV1().Deployments(systemNamespace).Get(w.Context(), "konductor-operator", metav1.GetOptions{})
		w.ok(err)
		return d.Status.ReadyReplicas == *d.Spec.Replicas
	})
}

func TestDoctor(t *testing.T) {
	w := &town{T: t, plane: startPlane(t)}
	w.kube = kubernetes.NewForConfigOrDie(w.plane.Config())
	ctx := t.Context()
	admin := caller{w, w.plane.Kubeconfig()}

	w.expect(admin.doctor(1), "ResourceTypes=Failed")

	applyChart(t, w.plane)
	// No node runs the operator's Pods here.
	eventually(t, "the new types are described", func() bool {
		report := admin.doctor(1)
		return len(report.Checks) > 2 && report.Checks[2].Status == doctor.OK
	})
	w.expect(admin.doctor(1), "Operator=Failed", "Leader=Failed")

	w.operate()
	w.pretendReady()
	eventually(t, "an operator leads, and the policy is in force", func() bool {
		out, code := admin.run("doctor")
		return code == 0 && !strings.Contains(out, "warning")
	})
	w.expect(admin.doctor(0))
	if out, _ := admin.run("doctor"); !strings.Contains(out, "may take part in namespace default, and create leases, resize semaphores, delete barriers, break what others hold") {
		t.Error("doctor doesn't say what an administrator may do")
	}

	t.Run("somebody without rights", func(t *testing.T) {
		nobody := w.caller(w.account("nobody", ""))
		report := nobody.doctor(4)
		w.expect(report, "Operator=Unknown", "Leader=Unknown", "Lag=Unknown", "Admission=Unknown", "Rights=Failed")
		if len(report.Missing) != 21 || len(report.Apply) != 2 {
			t.Errorf("%d rights are missing, %d objects to apply", len(report.Missing), len(report.Apply))
		}
		// What is printed is ready to be applied, and enough.
		out, _ := nobody.run("doctor")
		_, role, found := strings.Cut(out, "# What is missing, ready to apply:\n")
		if !found {
			t.Fatal("the Role that is missing isn't printed")
		}
		run(t, []byte(role), "kubectl", "--kubeconfig", w.plane.Kubeconfig(), "apply", "-f", "-")
		eventually(t, "the rights are there", func() bool { _, code := nobody.run("doctor"); return code == 0 })
	})

	t.Run("a workload", func(t *testing.T) {
		job := filepath.Join(t.TempDir(), "job.yaml")
		w.ok(os.WriteFile(job, []byte(`{apiVersion: batch/v1, kind: Job, metadata: {name: load}, spec: {template: {spec: {serviceAccountName: worker, restartPolicy: Never, containers: [{name: c, image: i}]}}}}`), 0o600))
		w.expect(admin.doctor(1, "--for", "-f", job), "Workload=Failed", "Rights=Failed")
		_, err := w.kube.CoreV1().ServiceAccounts(namespace).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "worker"}}, metav1.CreateOptions{})
		w.ok(err)
		w.expect(admin.doctor(4, "-f", job), "Rights=Failed")

		// A namespace's administrator may ask that too; who has no right is told so, and nothing else.
		boss := w.caller(w.account("chief", "admin", namespace))
		awaitRoles(w)
		eventually(t, "an administrator of the namespace may ask", func() bool {
			_, code := boss.run("doctor", "--for", "serviceaccount/worker")
			return code == 4
		})
		w.expect(w.caller(w.token(namespace, "worker")).doctor(0, "--for", "serviceaccount/other"),
			"Operator=Unknown", "Leader=Unknown", "Lag=Unknown", "Admission=Unknown", "Rights=Unknown")

		role, code := boss.run("rbac", "--for", "-f", job)
		if code != 0 {
			t.Fatalf("rbac exits with %d", code)
		}
		run(t, []byte(role), "kubectl", "--kubeconfig", w.plane.Kubeconfig(), "apply", "-f", "-")
		run(t, nil, "kubectl", "--kubeconfig", w.plane.Kubeconfig(), "create", "-f", job)
		eventually(t, "the rights are there", func() bool { _, code := admin.run("doctor", "--for", "job/load"); return code == 0 })
		w.expect(admin.doctor(0, "--for", "job/load"))
		if _, code := admin.run("doctor", "--for", "job/none"); code != 2 {
			t.Errorf("doctor for a Job that isn't there exits with %d", code)
		}
	})

	t.Run("a role that is narrower than it must be", func(t *testing.T) {
		narrow := w.account("narrow", "view", namespace)
		eventually(t, "the right to look is there", func() bool {
			out, _ := w.caller(narrow).run("doctor")
			return strings.Contains(out, "may not create arrivals.konductor.io; create,patch,delete claims.konductor.io in namespace default")
		})
	})

	t.Run("types that are older", func(t *testing.T) {
		run(t, nil, "kubectl", "--kubeconfig", w.plane.Kubeconfig(), "patch", "crd", "barriers.konductor.io", "--type=json",
			"--patch", `[{"op": "remove", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/status/properties/endedAt"}]`)
		eventually(t, "the API server describes the older type", func() bool {
			out, code := admin.run("doctor")
			return code == 1 && strings.Contains(out, "the resource types are older than this program: Barrier.status.endedAt missing")
		})
	})
}

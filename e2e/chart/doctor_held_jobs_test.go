package chart

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	"github.com/LogicIQ/konductor/e2e/internal/versions"
)

// heldJobSpec is the spec of a Job that the API server accepts.
const heldJobSpec = "suspend: true, template: {spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}"

// jobYAML is a Job with annotations, and with further metadata. Older kubectls parse what begins with a brace as JSON.
func jobYAML(annotations, metadata, spec string) string {
	return "apiVersion: batch/v1\nkind: Job\nmetadata: {name: report, " + metadata + "annotations: {" + annotations + "}}\nspec: {" + spec + "}\n"
}

func cronJobYAML(metadata, annotations string) string {
	return "apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: nightly" + metadata + "}\nspec: {schedule: '0 1 * * *', jobTemplate: {metadata: {annotations: {" + annotations + "}}, spec: {" + heldJobSpec + "}}}\n"
}

// testDoctorOfHeldJobs checks what doctor says of manifests against what the API server does with them.
func testDoctorOfHeldJobs(t *testing.T, w *testEnv, admin pluginCaller, gap []string) {
	file := filepath.Join(t.TempDir(), "jobs.yaml")
	write := func(text string) { w.must(os.WriteFile(file, []byte(text), 0o600)) }
	// refuses reports whether the API server refuses to create the first document.
	refuses := func(text string) bool {
		body, err := yaml.YAMLToJSON([]byte(text))
		w.must(err)
		var object metav1.TypeMeta
		w.must(json.Unmarshal(body, &object))
		return w.kube.BatchV1().RESTClient().Post().Namespace(namespace).Resource(strings.ToLower(object.Kind)+"s").Param("dryRun", metav1.DryRunAll).
			SetHeader("Content-Type", "application/json").Body(body).Do(t.Context()).Error() != nil
	}
	const held = "konductor.io/hold: 'lease/db, semaphore/api:2', konductor.io/arrive: barrier/done"
	const semaphore = "---\napiVersion: konductor.io/v1\nkind: Semaphore\nmetadata: {name: api}\nspec: {permits: 2, maxPriority: 10}\n"
	eventually(t, "Jobs are held", func() bool { return refuses(jobYAML("konductor.io/hold: none", "", heldJobSpec)) })
	// The lease doesn't exist.
	const missing = "Workload=Warning"
	unsuspended, mustSuspend := missing, !versions.ForTest(t, w.controlPlane.Config()).HasMutatingAdmissionPolicy()
	if mustSuspend {
		unsuspended = "Workload=Failed " + missing
	}
	for what, test := range map[string]struct {
		manifest string
		want     string
		refused  bool
	}{
		"a Job":                             {jobYAML("konductor.io/hold: lease/db", "", heldJobSpec), missing, false},
		"a CronJob":                         {cronJobYAML("", "konductor.io/hold: lease/db"), missing, false},
		"a wrong value":                     {jobYAML("konductor.io/hold: gate/x", "", heldJobSpec), "Workload=Failed", true},
		"what only the API server finds":    {jobYAML("konductor.io/max-wait: 1ms", "", heldJobSpec), "Workload=Failed", true},
		"a misspelled name":                 {jobYAML("konductor.io/holds: lease/db", "", heldJobSpec), "Workload=Failed", true},
		"a number":                          {cronJobYAML("", "konductor.io/hold: lease/db, konductor.io/priority: 10"), "Workload=Failed Workload=Warning", true},
		"annotations of the CronJob itself": {cronJobYAML(", annotations: {konductor.io/hold: lease/db}", ""), "Workload=Failed", true},
		"a paused CronJob":                  {cronJobYAML("", "konductor.io/pause: 'true'"), "Workload=Failed", true},
		"no suspend":                        {jobYAML("konductor.io/hold: lease/db", "", strings.TrimPrefix(heldJobSpec, "suspend: true, ")), unsuspended, mustSuspend},
		"Kueue's":                           {jobYAML("konductor.io/hold: lease/db", "labels: {kueue.x-k8s.io/queue-name: q}, ", heldJobSpec), "Workload=Failed Workload=Warning", false},
		"annotations of the Pods":           {jobYAML("a: b", "", strings.Replace(heldJobSpec, "{spec:", "{metadata: {annotations: {konductor.io/hold: lease/db}}, spec:", 1)), unsuspended, mustSuspend},
		"more than there is": {jobYAML("konductor.io/hold: 'semaphore/api:3', konductor.io/priority: '11'", "", heldJobSpec) + semaphore,
			"Workload=Failed Workload=Failed", false},
	} {
		write(test.manifest)
		exit := 0
		if strings.Contains(test.want, "Failed") {
			exit = 1
		}
		t.Log(what)
		w.expectFailedChecks(admin.doctor(exit, "-f", file), slices.Concat(gap, strings.Fields(test.want))...)
		if document, _, _ := strings.Cut(test.manifest, "---\n"); refuses(document) != test.refused {
			t.Errorf("%s: that the API server refuses it is %v", what, !test.refused)
		}
	}

	// Whoever creates the Job needs rights: no more than rbac prints, and its Pods need none.
	config := w.createServiceAccount("pipeline", "")
	runTool(t, nil, "kubectl", "--kubeconfig", w.controlPlane.Kubeconfig(), "create", "role", "job-creator", "--verb=create", "--resource=jobs", "-n", namespace)
	runTool(t, nil, "kubectl", "--kubeconfig", w.controlPlane.Kubeconfig(), "create", "rolebinding", "job-creator", "--role=job-creator", "--serviceaccount="+namespace+":pipeline", "-n", namespace)
	pipeline := w.newPluginCaller(config)
	write(jobYAML(held, "", heldJobSpec) + semaphore)
	create := func() error {
		body, err := yaml.YAMLToJSON([]byte(jobYAML(held, "", heldJobSpec)))
		w.must(err)
		return kubernetes.NewForConfigOrDie(config).BatchV1().RESTClient().Post().Namespace(namespace).Resource("jobs").SetHeader("Content-Type", "application/json").Body(body).Do(t.Context()).Error()
	}
	eventually(t, "the pipeline lacks only konductor's rights", func() bool {
		err := create()
		return err != nil && strings.Contains(err.Error(), "needs the right to create claims.konductor.io")
	})
	missingObjects := []string{"Workload=Warning", "Workload=Warning"} // The lease and the barrier; the semaphore is in the file.
	w.expectFailedChecks(admin.doctor(4, "-f", file, "--for=serviceaccount/pipeline"), slices.Concat(gap, missingObjects, []string{"Rights=Failed"})...)
	w.expectFailedChecks(admin.doctor(4, "-f", file, "--as=system:serviceaccount:"+namespace+":pipeline"),
		"Operator=Unknown", "Leader=Unknown", "Lag=Unknown", "Admission=Unknown", "Workload=Unknown", "Workload=Unknown", "Rights=Failed")
	out, _ := pipeline.run("doctor", "-f", file)
	_, role, found := strings.Cut(out, "# Missing permissions, ready to apply:\n")
	printed, code := admin.run("rbac", "-f", file, "--for=serviceaccount/pipeline")
	if !found || code != 0 || role != printed {
		t.Fatalf("doctor prints %q, rbac %q", role, printed)
	}
	runTool(t, []byte(printed), "kubectl", "--kubeconfig", w.controlPlane.Kubeconfig(), "apply", "-f", "-")
	eventually(t, "the pipeline may create the Job", func() bool { return create() == nil })
	w.expectFailedChecks(admin.doctor(0, "-f", file, "--for=serviceaccount/pipeline"), slices.Concat(gap, missingObjects)...)
	// Of the Job in the cluster, the semaphore is missing too.
	w.expectFailedChecks(admin.doctor(0, "--for", "job/report"), slices.Concat(gap, missingObjects, missingObjects[:1])...)

	w.must(w.kube.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings().Delete(t.Context(), "konductor-held-jobs", metav1.DeleteOptions{}))
	eventually(t, "Jobs are not held any more", func() bool {
		out, code := admin.run("doctor", "-f", file)
		return code == 1 && strings.Contains(out, "the policies for held Jobs are not installed, or not bound to namespace "+namespace)
	})
}

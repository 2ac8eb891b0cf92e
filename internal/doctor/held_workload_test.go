package doctor

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"github.com/LogicIQ/konductor/internal/rbac"
	"github.com/LogicIQ/konductor/internal/rules"
)

func parseManifest(t *testing.T, text string) []*unstructured.Unstructured {
	t.Helper()
	var objects []*unstructured.Unstructured
	for document := range strings.SplitSeq(text, "\n---\n") {
		obj := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(document), &obj.Object); err != nil {
			t.Fatal(err)
		}
		objects = append(objects, obj)
	}
	return objects
}

// jobManifest is a Job with annotations, and with a spec besides suspend: true.
func jobManifest(annotations, spec string) string {
	return "{apiVersion: batch/v1, kind: Job, metadata: {name: load, annotations: {" + annotations + "}}, spec: {suspend: true, " + spec + "}}"
}

func cronJobManifest(spec, template string) string {
	return "{apiVersion: batch/v1, kind: CronJob, metadata: {name: nightly}, spec: {" + spec + "jobTemplate: {metadata: {annotations: {konductor.io/hold: lease/db}}, spec: {" + template + "}}}}"
}

func TestHeldWorkloadChecks(t *testing.T) {
	const refused = "Kubernetes v1.35.0 refuses the Job without it"
	semaphore, lease := rules.WorkloadRef{Kind: "Semaphore", Name: "api"}, rules.WorkloadRef{Kind: "Lease", Name: "db"}
	gate := rules.WorkloadRef{Kind: "Gate", Name: "ready"}
	tests := map[string]struct {
		manifest string
		facts    WorkloadFacts
		want     []string // the checks, as "STATUS message"
	}{
		"a valid Job": {manifest: jobManifest("konductor.io/hold: lease/db", ""),
			want: []string{"OK job/load: its annotations are valid, and the objects that they name exist"}},
		"a wrong value": {manifest: jobManifest("konductor.io/hold: db", ""),
			want: []string{`Failed job/load: annotation konductor.io/hold: "db": write lease/NAME, semaphore/NAME or semaphore/NAME:PERMITS`}},
		"a misspelled name": {manifest: jobManifest("konductor.io/holds: lease/db", ""),
			want: []string{"Failed job/load: metadata.annotations: konductor.io/holds is unknown: of konductor.io/, write after, hold, arrive, when-busy, max-wait or priority"}},
		"a number without quotes": {manifest: strings.Replace(cronJobManifest("", "suspend: true"), "lease/db", "lease/db, konductor.io/priority: 10", 1),
			want: []string{"Failed cronjob/nightly: spec.jobTemplate.metadata.annotations: the value of konductor.io/priority must be a string: write it in quotes"}},
		"annotations of the Pod template, before 1.36": {manifest: jobManifest("", "template: {metadata: {annotations: {konductor.io/after: gate/ready}}, spec: {}}"),
			want: []string{"Failed job/load: spec.template.spec.schedulingGates: add {name: konductor.io/hold}: Kubernetes v1.35.0 refuses the Pods without it"}},
		"annotations of the Pod template and of the Job": {manifest: jobManifest("konductor.io/hold: lease/db", "template: {metadata: {annotations: {konductor.io/hold: lease/db}}, spec: {schedulingGates: [{name: konductor.io/hold}]}}"),
			want: []string{"Failed job/load: spec.template.metadata: write the annotations on the Job, not on its Pod template as well: its Pods would wait for what it holds"}},
		"a Pod": {manifest: "{apiVersion: v1, kind: Pod, metadata: {name: p, annotations: {konductor.io/hold: lease/db, konductor.io/when-busy: Replace}}, spec: {schedulingGates: [{name: konductor.io/hold}]}}",
			want: []string{"Failed pod/p: metadata: annotation konductor.io/when-busy of a Pod: write Wait or Skip"}},
		"a paused Pod": {manifest: "{apiVersion: v1, kind: Pod, metadata: {name: p, annotations: {konductor.io/pause: 'true'}}, spec: {}}",
			want: []string{"Failed pod/p: metadata.annotations: konductor.io/pause is unknown: of konductor.io/, write after, hold, arrive, when-busy, max-wait or priority"}},
		"annotations of the CronJob itself": {manifest: "{apiVersion: batch/v1, kind: CronJob, metadata: {name: nightly, annotations: {konductor.io/after: gate/ready}}, spec: {jobTemplate: {spec: {}}}}",
			want: []string{"Failed cronjob/nightly: metadata.annotations: konductor.io/after has no effect there: write it in spec.jobTemplate.metadata.annotations"}},
		"a paused template": {manifest: "{apiVersion: batch/v1, kind: CronJob, metadata: {name: nightly}, spec: {jobTemplate: {metadata: {annotations: {konductor.io/pause: 'true'}}}}}",
			want: []string{"Failed cronjob/nightly: spec.jobTemplate.metadata.annotations: konductor.io/pause has no effect there: set spec.suspend of the CronJob to true, or annotate its Jobs"}},
		"a Deployment": {manifest: "{apiVersion: apps/v1, kind: Deployment, metadata: {name: web, annotations: {konductor.io/hold: lease/db}}, spec: {template: {metadata: {annotations: {konductor.io/hold: db}}, spec: {}}}}",
			want: []string{
				"Failed deployment/web: metadata.annotations: konductor.io/hold has no effect on a Deployment, only on a Job, a CronJob, a Pod, and the template of Pods: write it in the metadata of its Pod template",
				`Failed deployment/web: spec.template.metadata: annotation konductor.io/hold: "db": write lease/NAME, semaphore/NAME or semaphore/NAME:PERMITS`,
			}},
		"a JobSet": {manifest: "{apiVersion: jobset.x-k8s.io/v1alpha2, kind: JobSet, metadata: {name: set}, spec: {replicatedJobs: [{template: {spec: {template: {metadata: {annotations: {konductor.io/hold: lease/db}}, spec: {schedulingGates: [{name: konductor.io/hold}]}}}}}]}}",
			want: []string{"OK jobset/set: its annotations are valid, and the objects that they name exist"}},
		"suspend is missing, before 1.36": {manifest: "{apiVersion: batch/v1, kind: Job, metadata: {generateName: load-, annotations: {konductor.io/after: gate/ready}}, spec: {}}",
			want: []string{"Failed job/load-: spec.suspend: write true: " + refused}},
		"suspend is missing in a template": {manifest: cronJobManifest("", ""), want: []string{"Failed cronjob/nightly: spec.jobTemplate.spec.suspend: write true: " + refused}},
		"suspend is missing, and not needed": {manifest: cronJobManifest("", ""), facts: WorkloadFacts{AddsSuspend: true},
			want: []string{"OK cronjob/nightly: its annotations are valid, and the objects that they name exist"}},
		"a Job that only arrives": {manifest: "{apiVersion: batch/v1, kind: Job, metadata: {name: load, annotations: {konductor.io/arrive: barrier/done}}}",
			want: []string{"OK job/load: its annotations are valid, and the objects that they name exist"}},
		"Kueue": {manifest: strings.Replace(jobManifest("konductor.io/hold: lease/db", ""), "name: load,", "name: load, labels: {kueue.x-k8s.io/queue-name: q},", 1),
			want: []string{"Failed job/load: metadata: Kueue decides when this Job runs, so its annotations have no effect: remove kueue.x-k8s.io/queue-name, or annotate its Pod template instead"}},
		"managedBy": {manifest: cronJobManifest("", "suspend: true, managedBy: example.com/runner"),
			want: []string{"Failed cronjob/nightly: spec.jobTemplate.spec.managedBy: example.com/runner decides when this Job runs, so its annotations have no effect: leave it out, or annotate its Pod template instead"}},
		"a Job of a JobSet": {manifest: strings.Replace(jobManifest("konductor.io/hold: lease/db", ""), "name: load,", "name: load, ownerReferences: [{kind: JobSet, name: set, controller: true}],", 1),
			want: []string{"Failed job/load: metadata.ownerReferences: JobSet set decides when this Job runs, so its annotations have no effect: create the Job by itself, or annotate its Pod template instead"}},
		"concurrencyPolicy Replace": {manifest: cronJobManifest("concurrencyPolicy: Replace, ", "suspend: true"),
			want: []string{"Warning cronjob/nightly: spec.concurrencyPolicy: Replace deletes a Job that still waits at the next tick, so that none runs if the wait is longer: write Allow, and let annotation konductor.io/when-busy decide"}},
		"concurrencyPolicy Forbid": {manifest: cronJobManifest("concurrencyPolicy: Forbid, ", "suspend: true"),
			want: []string{"Warning cronjob/nightly: spec.concurrencyPolicy: Forbid creates no Job while one waits: write Allow, and let annotation konductor.io/when-busy decide"}},
		"what the API server refuses": {manifest: jobManifest("konductor.io/hold: lease/db", "manualSelector: true"), facts: WorkloadFacts{Refusal: "spec.manualSelector: leave it out"},
			want: []string{"Failed job/load: the API server refuses it: spec.manualSelector: leave it out"}},
		"what is told already is not told again": {manifest: jobManifest("konductor.io/hold: db", ""), facts: WorkloadFacts{Refusal: "annotation konductor.io/hold: write lease/NAME"},
			want: []string{`Failed job/load: annotation konductor.io/hold: "db": write lease/NAME, semaphore/NAME or semaphore/NAME:PERMITS`}},
		"objects that don't exist": {manifest: jobManifest("konductor.io/hold: lease/db, konductor.io/after: gate/ready", ""),
			facts: WorkloadFacts{Objects: map[rules.WorkloadRef]ObjectFacts{lease: {Missing: true}, gate: {Err: errors.New("out of order")}}},
			want: []string{
				"Failed job/load: can't read gate/ready in namespace etl: out of order",
				"Warning job/load: lease/db doesn't exist in namespace etl: create it, or correct its name. Until it exists the Job waits for it",
			}},
		"a gate that has failed": {manifest: jobManifest("konductor.io/after: gate/ready", ""),
			facts: WorkloadFacts{Objects: map[rules.WorkloadRef]ObjectFacts{gate: {Phase: "Failed"}}},
			want:  []string{"Warning job/load: annotation konductor.io/after: gate/ready has the phase Failed, so the Job doesn't start: delete gate/ready and create it again"}},
		"too many permits, and too high a priority": {manifest: jobManifest("konductor.io/hold: 'semaphore/api:5', konductor.io/priority: '11'", ""),
			facts: WorkloadFacts{Objects: map[rules.WorkloadRef]ObjectFacts{semaphore: {Permits: ptr.To[int32](3), MaxPriority: ptr.To[int32](10)}}},
			want: []string{
				"Failed job/load: annotation konductor.io/hold: semaphore/api has 3 permits: write at most semaphore/api:3, not 5, or raise its spec.permits",
				"Failed job/load: annotation konductor.io/priority: semaphore/api admits at most priority 10: write at most 10, not 11, or raise its spec.maxPriority",
			}},
		"a semaphore that is paused": {manifest: jobManifest("konductor.io/hold: 'semaphore/api:5'", ""),
			facts: WorkloadFacts{Objects: map[rules.WorkloadRef]ObjectFacts{semaphore: {Permits: ptr.To[int32](0)}}},
			want:  []string{"OK job/load: its annotations are valid, and the objects that they name exist"}},
	}
	for what, test := range tests {
		t.Run(what, func(t *testing.T) {
			targets, err := FindTargets(parseManifest(t, test.manifest), "etl", nil, true)
			if err != nil || len(targets.Workloads) != 1 {
				t.Fatalf("%d workloads, %v", len(targets.Workloads), err)
			}
			test.facts.HeldWorkload = targets.Workloads[0]
			var got []string
			for _, c := range test.facts.check(&Facts{ServerVersion: "v1.35.0"}) {
				got = append(got, string(c.Status)+" "+c.Message)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestFindTargets(t *testing.T) {
	manifest := parseManifest(t, jobManifest("konductor.io/hold: lease/db, konductor.io/arrive: barrier/done", "")+"\n---\n"+
		strings.Replace(jobManifest("konductor.io/after: gate/ready", ""), "name: load,", "name: after,", 1)+"\n---\n"+
		strings.Replace(jobManifest("konductor.io/hold: lease/db, konductor.io/when-busy: Newest", ""), "name: load,", "name: run, namespace: dwh, ownerReferences: [{kind: CronJob, name: nightly}],", 1)+"\n---\n"+
		"{apiVersion: batch/v1, kind: Job, metadata: {name: plain}, spec: {template: {spec: {serviceAccountName: worker}}}}\n---\n"+
		"{apiVersion: konductor.io/v1, kind: Lease, metadata: {name: db}, spec: {}}")
	load := Subject{Namespace: "etl", Creates: "job/load", CreatorRights: rbac.JobCreatorRights{CreateClaims: true, CreateArrivals: true}}
	run := Subject{Namespace: "dwh", Creates: "job/run", CreatorRights: rbac.JobCreatorRights{CreateClaims: true, DeleteJobs: true}}
	worker := Subject{RBACSubject: rbac.ServiceAccountSubject("etl", "worker"), Namespace: "etl", Workload: "job/plain"}
	jane := Subject{RBACSubject: rbac.UserSubject("jane"), Namespace: "etl"}
	as := func(s Subject, creator *Subject) Subject {
		s.Self = creator == nil
		if creator != nil {
			s.RBACSubject = creator.RBACSubject
		}
		return s
	}
	for what, test := range map[string]struct {
		creator      *Subject
		fromManifest bool
		want         []Subject
	}{
		"by the caller":        {nil, true, []Subject{as(load, nil), as(run, nil), worker}},
		"by another user":      {&jane, true, []Subject{as(load, &jane), as(run, &jane)}},
		"objects that are old": {nil, false, []Subject{worker}},
	} {
		got, err := FindTargets(manifest, "etl", test.creator, test.fromManifest)
		if err != nil || len(got.Workloads) != 3 {
			t.Errorf("%s: %d held workloads, %v", what, len(got.Workloads), err)
		}
		if diff := cmp.Diff(test.want, got.Subjects); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
}

func TestHeldJobsInstallation(t *testing.T) {
	for what, test := range map[string]struct {
		probe HeldJobsProbe
		holds bool
		want  string
	}{
		"on":                     {HeldJobsProbe{Refused: true}, true, "OK Jobs in namespace etl are held by their annotations -> "},
		"an operator without it": {HeldJobsProbe{Refused: true}, false, "Failed the operator runs without --hold-workloads, so annotations of Jobs have no effect -> set heldWorkloads: true and admissionPolicy: true in the chart's values"},
		"no policies":            {HeldJobsProbe{}, true, "Failed the policies for held Jobs are not installed, or not bound to namespace etl: annotations of its Jobs have no effect -> set heldWorkloads: true and admissionPolicy: true in the chart's values; if watchNamespaces is set there, add etl"},
		"unknown":                {HeldJobsProbe{Err: errors.New("quota")}, true, "Unknown can't create a Job as a dry run in namespace etl, to check whether Jobs are held there: quota -> "},
	} {
		f := &Facts{Operators: []OperatorFacts{{HoldsJobs: test.holds}}}
		c := f.checkHeldJobs("etl", test.probe)
		if got := string(c.Status) + " " + c.Message + " -> " + c.Fix; got != test.want {
			t.Errorf("%s: %s, want %s", what, got, test.want)
		}
	}
}

package doctor

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/rules"
)

// collectWorkloads reads what the held workloads refer to.
func collectWorkloads(ctx context.Context, kube kubernetes.Interface, o Options) (all []WorkloadFacts) {
	for _, w := range o.Workloads {
		facts := WorkloadFacts{
			HeldWorkload: w, Objects: map[rules.WorkloadRef]ObjectFacts{}, AddsSuspend: servesMutatingPolicies(kube), Probe: probeHeldJobs(ctx, kube, w.Namespace),
		}
		for _, ref := range w.references() {
			facts.Objects[ref] = findObject(ctx, kube, o, w.Namespace, ref)
		}
		if w.FromManifest && (isKind(w.object, batchv1.GroupName, konductorv1.KindJob) || isKind(w.object, batchv1.GroupName, "CronJob")) {
			facts.Refusal = probeManifest(ctx, kube, w)
		}
		all = append(all, facts)
	}
	return all
}

// findObject reads an object that an annotation names. The manifest counts before the cluster, since it is what will be there.
func findObject(ctx context.Context, kube kubernetes.Interface, o Options, namespace string, ref rules.WorkloadRef) ObjectFacts {
	for _, obj := range o.Manifest {
		if isKind(obj, konductorv1.GroupName, ref.Kind) && obj.GetName() == ref.Name && cmp.Or(obj.GetNamespace(), o.Namespace) == namespace {
			body, err := obj.MarshalJSON()
			return parseObject(body, err)
		}
	}
	path := fmt.Sprintf("/apis/%s/namespaces/%s/%ss/%s", konductorv1.GroupVersion(), namespace, strings.ToLower(ref.Kind), ref.Name)
	return parseObject(kube.Discovery().RESTClient().Get().AbsPath(path).Do(ctx).Raw())
}

func parseObject(body []byte, err error) ObjectFacts {
	if apierrors.IsNotFound(err) {
		return ObjectFacts{Missing: true}
	}
	var object struct {
		Spec   struct{ Permits, MaxPriority *int32 }
		Status struct{ Phase string }
	}
	if err == nil {
		err = json.Unmarshal(body, &object)
	}
	return ObjectFacts{Err: err, Permits: object.Spec.Permits, MaxPriority: object.Spec.MaxPriority, Phase: object.Status.Phase}
}

// probeHeldJobs tries, as a dry run, to create a Job with a wrong annotation, which the policies for held Jobs refuse.
func probeHeldJobs(ctx context.Context, kube kubernetes.Interface, namespace string) HeldJobsProbe {
	_, err := kube.BatchV1().Jobs(namespace).Create(ctx, &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "doctor-", Annotations: map[string]string{konductorv1.HoldAnnotation: "doctor"}},
		Spec: batchv1.JobSpec{Suspend: ptr.To(true), Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "doctor", Image: "doctor"}},
		}}},
	}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if err != nil && strings.Contains(err.Error(), "ValidatingAdmissionPolicy 'konductor-held-jobs'") {
		return HeldJobsProbe{Refused: true}
	}
	return HeldJobsProbe{Err: err}
}

// probeManifest tries, as a dry run, to create a workload, and returns why the API server finds it invalid. Missing rights are
// not reported: they may be those of another user than its creator.
func probeManifest(ctx context.Context, kube kubernetes.Interface, w *HeldWorkload) string {
	body, err := w.object.MarshalJSON()
	if err != nil {
		return err.Error()
	}
	err = kube.BatchV1().RESTClient().Post().Namespace(w.Namespace).Resource(strings.ToLower(w.object.GetKind())+"s").
		Param("dryRun", metav1.DryRunAll).SetHeader("Content-Type", "application/json").Body(body).Do(ctx).Error()
	if !apierrors.IsInvalid(err) {
		return ""
	}
	text := err.Error()
	if _, reason, ok := strings.Cut(text, "denied request: "); ok {
		return reason
	}
	return text
}

package revisions

import (
	"slices"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// HoldsAnnotation on a held Pod, and on the Pods of a held Job, lists the leases and semaphores that are held while it runs, as
// KIND/NAME, separated by commas.
const HoldsAnnotation = "chaos.konductor.io/holds"

// Workload is what is recorded of a Job or Pod.
type Workload struct {
	UID types.UID `json:"uid"`
	// Holder is the name under which it holds and arrives. A Pod of a Job has that of the Job.
	Holder string `json:"holder"`
	// Holds is the value of HoldsAnnotation.
	Holds string `json:"holds,omitempty"`
	// Gated says that it is a Pod behind the operator's scheduling gate.
	Gated bool `json:"gated,omitempty"`
	// Finished says that none of its containers will run any more. Failed implies Finished.
	Finished bool `json:"finished,omitempty"`
	Failed   bool `json:"failed,omitempty"`
	// Barrier is where it arrives when it has finished; empty: nowhere.
	Barrier string `json:"barrier,omitempty"`
	// Settled says that its label is that of a finished one, for which the operator has nothing more to do.
	Settled bool `json:"settled,omitempty"`
}

func newWorkload(meta *metav1.ObjectMeta, holder string) *Workload {
	return &Workload{
		UID: meta.UID, Holder: holder, Holds: meta.Annotations[HoldsAnnotation],
		Barrier: strings.TrimPrefix(meta.Annotations[konductorv1.ArriveAnnotation], "barrier/"),
		Settled: meta.Labels[konductorv1.HeldLabel] == konductorv1.HeldFinished,
	}
}

func newPod(pod *corev1.Pod) *Workload {
	holder := "pod/" + pod.Name
	if job := pod.Labels[batchv1.JobNameLabel]; job != "" {
		holder = "job/" + job
	}
	w := newWorkload(&pod.ObjectMeta, holder)
	w.Gated = slices.Contains(pod.Spec.SchedulingGates, corev1.PodSchedulingGate{Name: konductorv1.HoldSchedulingGate})
	w.Failed = pod.Status.Phase == corev1.PodFailed
	w.Finished = w.Failed || pod.Status.Phase == corev1.PodSucceeded
	return w
}

func newJob(job *batchv1.Job) *Workload {
	w := newWorkload(&job.ObjectMeta, "job/"+job.Name)
	for _, c := range job.Status.Conditions {
		if c.Status == corev1.ConditionTrue {
			w.Failed = w.Failed || c.Type == batchv1.JobFailed
			w.Finished = w.Finished || c.Type == batchv1.JobFailed || c.Type == batchv1.JobComplete
		}
	}
	return w
}

// Targets returns the leases and semaphores of HoldsAnnotation.
func (w *Workload) Targets(namespace string) (targets []ObjectKey) {
	for entry := range strings.SplitSeq(w.Holds, ",") {
		if kind, name, ok := strings.Cut(entry, "/"); ok {
			targets = append(targets, ObjectKey{namespace, kind, name})
		}
	}
	return targets
}

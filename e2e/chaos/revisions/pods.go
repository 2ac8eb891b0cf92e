package revisions

import (
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// HoldsAnnotation on the Pods of a Job lists the leases and semaphores that the Job holds while they run, as KIND/NAME, separated
// by commas.
const HoldsAnnotation = "chaos.konductor.io/holds"

// JobPod is what is recorded of a Pod.
type JobPod struct {
	// UID is the Pod's.
	UID types.UID `json:"uid"`
	// Job is the UID of its Job; empty: it has none.
	Job types.UID `json:"job,omitempty"`
	// Holds is the value of HoldsAnnotation.
	Holds string `json:"holds,omitempty"`
	// Finished says that none of its containers will run any more.
	Finished bool `json:"finished,omitempty"`
}

func newJobPod(pod *corev1.Pod) *JobPod {
	return &JobPod{
		UID: pod.UID, Job: types.UID(pod.Labels[batchv1.ControllerUidLabel]), Holds: pod.Annotations[HoldsAnnotation],
		Finished: pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed,
	}
}

// Targets returns the leases and semaphores of HoldsAnnotation.
func (p *JobPod) Targets(namespace string) (targets []ObjectKey) {
	for entry := range strings.SplitSeq(p.Holds, ",") {
		if kind, name, ok := strings.Cut(entry, "/"); ok {
			targets = append(targets, ObjectKey{namespace, kind, name})
		}
	}
	return targets
}

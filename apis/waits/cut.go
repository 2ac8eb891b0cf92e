package waits

import (
	"fmt"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// CutPod returns of a Pod what this package looks at, which is little for a Pod that doesn't call koncli: who it is, its
// Job, whether it has ended. An operator that keeps all Pods in memory keeps them like this.
func CutPod(pod *corev1.Pod) *corev1.Pod {
	cut := &corev1.Pod{ObjectMeta: identity(&pod.ObjectMeta), Status: corev1.PodStatus{Phase: pod.Status.Phase}}
	if owner := metav1.GetControllerOf(pod); owner != nil && owner.Kind == KindJob {
		cut.OwnerReferences = []metav1.OwnerReference{*owner}
		if index, ok := pod.Annotations[batchv1.JobCompletionIndexAnnotation]; ok {
			setAnnotation(&cut.ObjectMeta, batchv1.JobCompletionIndexAnnotation, index)
		}
	}
	cutAnnotations(&cut.ObjectMeta, pod.Annotations)
	if cut.Spec = cutPodSpec(&pod.Spec); len(cut.Spec.InitContainers)+len(cut.Spec.Containers) > 0 {
		cut.Status.InitContainerStatuses = cutStatuses(pod.Status.InitContainerStatuses)
		cut.Status.ContainerStatuses = cutStatuses(pod.Status.ContainerStatuses)
	}
	return cut
}

// CutJob returns of a Job what this package, and the rules for gates, look at.
func CutJob(job *batchv1.Job) *batchv1.Job {
	cut := &batchv1.Job{ObjectMeta: identity(&job.ObjectMeta), Status: batchv1.JobStatus{Conditions: job.Status.Conditions}}
	cutAnnotations(&cut.Spec.Template.ObjectMeta, job.Spec.Template.Annotations)
	cut.Spec.Template.Spec = cutPodSpec(&job.Spec.Template.Spec)
	cut.Spec.Suspend = job.Spec.Suspend
	if job.Spec.CompletionMode != nil && *job.Spec.CompletionMode == batchv1.IndexedCompletion {
		cut.Spec.CompletionMode, cut.Spec.Completions, cut.Spec.Parallelism = job.Spec.CompletionMode, job.Spec.Completions, job.Spec.Parallelism
	}
	return cut
}

func identity(m *metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name: m.Name, Namespace: m.Namespace, UID: m.UID, ResourceVersion: m.ResourceVersion, DeletionTimestamp: m.DeletionTimestamp,
	}
}

func cutAnnotations(to *metav1.ObjectMeta, from map[string]string) {
	for _, name := range []string{konductorv1.WaitsForAnnotation, konductorv1.ArrivesAtAnnotation} {
		if value, ok := from[name]; ok {
			setAnnotation(to, name, value)
		}
	}
}

func setAnnotation(m *metav1.ObjectMeta, name, value string) {
	if m.Annotations == nil {
		m.Annotations = map[string]string{}
	}
	m.Annotations[name] = value
}

// cutPodSpec keeps the containers that call koncli, each with nothing but those calls.
func cutPodSpec(spec *corev1.PodSpec) corev1.PodSpec {
	return corev1.PodSpec{InitContainers: cutContainers(spec.InitContainers), Containers: cutContainers(spec.Containers)}
}

func cutContainers(containers []corev1.Container) (cut []corev1.Container) {
	for i := range containers {
		c := &containers[i]
		calls := callsOf(c)
		if len(calls) == 0 {
			continue
		}
		kept := corev1.Container{Name: c.Name, RestartPolicy: c.RestartPolicy}
		if calls[0].Alone {
			kept.Command = calls[0].argv()
		} else {
			script := ""
			for j := range calls {
				script += strings.Join(calls[j].argv(), " ") + "\n"
			}
			// A command of the container's own, so that one call among others isn't taken for all that it does.
			kept.Command = []string{"sh", "-c", script + ":"}
		}
		cut = append(cut, kept)
	}
	return cut
}

// argv returns a command line that reads as the call.
func (c *Call) argv() []string {
	argv := []string{"koncli", c.Kind, string(c.Verb), c.Name}
	if c.Permits != 1 {
		argv = append(argv, fmt.Sprintf("--permits=%d", c.Permits))
	}
	if c.AndWait {
		argv = append(argv, "--wait")
	}
	if c.Impatient {
		argv = append(argv, "--timeout=0")
	}
	if c.Renamed {
		argv = append(argv, "--holder=other")
	}
	return argv
}

// cutStatuses keeps which containers run and which have ended.
func cutStatuses(statuses []corev1.ContainerStatus) (cut []corev1.ContainerStatus) {
	for i := range statuses {
		s := corev1.ContainerStatus{Name: statuses[i].Name}
		switch state := &statuses[i].State; {
		case state.Running != nil:
			s.State.Running = &corev1.ContainerStateRunning{}
		case state.Terminated != nil:
			s.State.Terminated = &corev1.ContainerStateTerminated{ExitCode: state.Terminated.ExitCode}
		}
		cut = append(cut, s)
	}
	return cut
}

// MayWait reports whether a container of the Pod runs that calls koncli to wait: what it waits for, without a claim, can
// be part of a circle.
func MayWait(pod *corev1.Pod) bool {
	if podEnded(pod) {
		return false
	}
	p := &process{pod: pod}
	for _, c := range podCalls(&pod.Spec) {
		for i := range c.calls {
			if call := &c.calls[i]; call.Alone && call.blocks() && p.runs(c.name, call) {
				return true
			}
		}
	}
	return false
}

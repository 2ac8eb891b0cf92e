package pods

import (
	"cmp"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// containerState returns the state of the container or initContainer of that name.
func containerState(pod *corev1.Pod, name string) corev1.ContainerState {
	for _, c := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if c.Name == name {
			return c.State
		}
	}
	return corev1.ContainerState{}
}

// isContainerRunning reports whether the container runs.
func isContainerRunning(pod *corev1.Pod, name string) bool {
	return containerState(pod, name).Running != nil
}

// terminatedState returns the state of a terminated container, or nil.
func terminatedState(pod *corev1.Pod, name string) *corev1.ContainerStateTerminated {
	return containerState(pod, name).Terminated
}

// hasContainerStarted reports whether the container runs or has run.
func hasContainerStarted(pod *corev1.Pod, name string) bool {
	return !containerStartTime(pod, name).IsZero()
}

// containerStartTime returns when the container started, in whole seconds, or zero.
func containerStartTime(pod *corev1.Pod, name string) time.Time {
	switch state := containerState(pod, name); {
	case state.Running != nil:
		return state.Running.StartedAt.Time
	case state.Terminated != nil:
		return state.Terminated.StartedAt.Time
	default:
		return time.Time{}
	}
}

// containerRun is when the container of a Pod ran, by its node's clock in whole seconds.
type containerRun struct {
	pod      string
	from, to time.Time
}

// containerRuns returns the runs of terminated containers of that name, in the order of their starts.
func containerRuns(pods *revisionLog[*corev1.Pod], name string) []containerRun {
	ran := map[string]containerRun{}
	for _, e := range pods.history() {
		if end := terminatedState(e.obj, name); end != nil {
			ran[e.obj.Name] = containerRun{e.obj.Name, end.StartedAt.Time, end.FinishedAt.Time}
		}
	}
	return slices.SortedFunc(maps.Values(ran), func(a, b containerRun) int {
		return cmp.Or(a.from.Compare(b.from), a.to.Compare(b.to))
	})
}

// isPodFinished reports whether no container of the Pod will run any more.
func isPodFinished(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

package pods

import (
	"cmp"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// container returns how the container of that name is, whether it is an initContainer or not.
func container(pod *corev1.Pod, name string) corev1.ContainerState {
	for _, c := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if c.Name == name {
			return c.State
		}
	}
	return corev1.ContainerState{}
}

// running reports whether the container runs.
func running(pod *corev1.Pod, name string) bool { return container(pod, name).Running != nil }

// ended returns how the container ended, or nil.
func ended(pod *corev1.Pod, name string) *corev1.ContainerStateTerminated {
	return container(pod, name).Terminated
}

// started reports whether the container runs or has run.
func started(pod *corev1.Pod, name string) bool { return !startedAt(pod, name).IsZero() }

// startedAt returns when the container started, in whole seconds, or zero.
func startedAt(pod *corev1.Pod, name string) time.Time {
	switch state := container(pod, name); {
	case state.Running != nil:
		return state.Running.StartedAt.Time
	case state.Terminated != nil:
		return state.Terminated.StartedAt.Time
	default:
		return time.Time{}
	}
}

// period is when the container of a Pod ran, by its node's clock in whole seconds.
type period struct {
	pod      string
	from, to time.Time
}

// periods returns when containers of that name ran that have ended, the first to start first.
func periods(pods *chronicle[*corev1.Pod], name string) []period {
	ran := map[string]period{}
	for _, e := range pods.history() {
		if end := ended(e.obj, name); end != nil {
			ran[e.obj.Name] = period{e.obj.Name, end.StartedAt.Time, end.FinishedAt.Time}
		}
	}
	return slices.SortedFunc(maps.Values(ran), func(a, b period) int {
		return cmp.Or(a.from.Compare(b.from), a.to.Compare(b.to))
	})
}

// finished reports whether no container of the Pod will run any more.
func finished(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

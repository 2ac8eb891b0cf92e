package waitgraph

import (
	"fmt"
	"slices"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/rules"
)

// StripPod returns the parts of a Pod that this package reads: few for a Pod that doesn't call koncli (its identity, its Job,
// whether it has ended). An operator that caches all Pods stores them like this. It is idempotent.
func StripPod(pod *corev1.Pod) *corev1.Pod {
	stripped := &corev1.Pod{ObjectMeta: stripObjectMeta(&pod.ObjectMeta), Status: corev1.PodStatus{Phase: pod.Status.Phase}}
	stripped.Spec = stripPodSpec(&pod.Spec)
	if stripped.Annotations = heldAnnotations(pod.Annotations); stripped.Annotations != nil {
		stripped.CreationTimestamp, stripped.Labels = pod.CreationTimestamp, keepLabels(pod.Labels, konductorv1.HeldLabel)
	}
	if owner := konductorv1.ControllingJob(pod); owner != nil && len(owner.Name) <= maxNameLength && len(owner.UID) <= maxUIDLength {
		stripped.OwnerReferences = []metav1.OwnerReference{{
			APIVersion: owner.APIVersion, Kind: owner.Kind, Name: owner.Name, UID: owner.UID, Controller: owner.Controller,
		}}
		if index, ok := completionIndex(pod); ok {
			if stripped.Annotations == nil {
				stripped.Annotations = map[string]string{}
			}
			stripped.Annotations[batchv1.JobCompletionIndexAnnotation] = index
		}
	}
	if len(stripped.Spec.InitContainers)+len(stripped.Spec.Containers) > 0 {
		stripped.Status.InitContainerStatuses = stripContainerStatuses(pod.Status.InitContainerStatuses)
		stripped.Status.ContainerStatuses = stripContainerStatuses(pod.Status.ContainerStatuses)
	}
	return stripped
}

const (
	// maxNameLength and maxUIDLength are what the API server allows for an object's own name and UID; in an owner reference it
	// allows more.
	maxNameLength, maxUIDLength = 253, 64
	// maxReasonLength is how much of the reason of a Job's failure is kept, for the messages of gates.
	maxReasonLength = 128
)

// StripJob returns the parts of a Job that this package and the rules for gates and held Jobs read.
func StripJob(job *batchv1.Job) *batchv1.Job {
	stripped := &batchv1.Job{ObjectMeta: stripObjectMeta(&job.ObjectMeta)}
	stripHeldJob(stripped, job)
	for _, c := range job.Status.Conditions {
		switch c.Type {
		case batchv1.JobComplete, batchv1.JobFailed, batchv1.JobSuspended:
			reason := c.Reason[:min(len(c.Reason), maxReasonLength)]
			stripped.Status.Conditions = append(stripped.Status.Conditions, batchv1.JobCondition{Type: c.Type, Status: c.Status, Reason: reason})
		default:
		}
	}
	stripped.Spec.Template.Spec, stripped.Spec.Template.Annotations = stripPodSpec(&job.Spec.Template.Spec), heldAnnotations(job.Spec.Template.Annotations)
	keepTokens(stripped, job)
	stripped.Spec.Suspend = job.Spec.Suspend
	if job.Spec.CompletionMode != nil && *job.Spec.CompletionMode == batchv1.IndexedCompletion {
		stripped.Spec.CompletionMode, stripped.Spec.Completions, stripped.Spec.Parallelism = job.Spec.CompletionMode, job.Spec.Completions, job.Spec.Parallelism
	}
	return stripped
}

const (
	// maxHeldAnnotation is how much of an annotation of a held Job is kept: the API server's policies allow less. A longer one is
	// replaced by one that doesn't parse.
	maxHeldAnnotation = 8 << 10
	// maxHeldAnnotations is how many annotations of a held Job are kept. With so many it doesn't parse. maxTokens is how many
	// fencing tokens of its template are: 32 holds and 32 limits, and the first once more.
	maxHeldAnnotations, maxTokens = 48, 65
)

// heldAnnotations keeps the annotations of a held Job or Pod that the operator reads.
func heldAnnotations(annotations map[string]string) (kept map[string]string) {
	keep := func(name, value string) {
		if kept == nil {
			kept = map[string]string{}
		}
		if kept[name] = value; len(value) > maxHeldAnnotation && name != konductorv1.ReleasedTokensAnnotation {
			kept[name] = "longer than 8 KiB"
		}
	}
	for _, name := range []string{
		konductorv1.AfterAnnotation, konductorv1.HoldAnnotation, konductorv1.ArriveAnnotation, konductorv1.WhenBusyAnnotation, konductorv1.MaxWaitAnnotation,
		konductorv1.PriorityAnnotation, konductorv1.PauseAnnotation, konductorv1.ReleasedTokensAnnotation,
	} {
		if value := annotations[name]; value != "" {
			keep(name, value)
		}
	}
	for name := range annotations {
		if rules.IsLimitMark(name) && len(kept) < maxHeldAnnotations {
			keep(name, "true") // The API server refuses so many that some are dropped here.
		}
	}
	return kept
}

// keepTokens keeps the fencing tokens in the template of a held Job, which say what it was started with.
func keepTokens(stripped, job *batchv1.Job) {
	if stripped.Annotations == nil {
		return
	}
	tokens := 0
	for name, value := range job.Spec.Template.Annotations {
		if !rules.IsToken(name) || tokens == maxTokens || len(value) > maxUIDLength {
			continue
		}
		tokens++
		if stripped.Spec.Template.Annotations == nil {
			stripped.Spec.Template.Annotations = map[string]string{}
		}
		stripped.Spec.Template.Annotations[name] = value
	}
}

func keepLabels(labels map[string]string, names ...string) (kept map[string]string) {
	for _, name := range names {
		if value := labels[name]; value != "" {
			if kept == nil {
				kept = map[string]string{}
			}
			kept[name] = value
		}
	}
	return kept
}

// stripHeldJob keeps what says that and how a Job is held. It keeps nothing of other Jobs.
func stripHeldJob(stripped, job *batchv1.Job) {
	if stripped.Annotations = heldAnnotations(job.Annotations); stripped.Annotations == nil {
		return
	}
	stripped.CreationTimestamp, stripped.Status.StartTime = job.CreationTimestamp, job.Status.StartTime
	stripped.Labels = keepLabels(job.Labels, konductorv1.HeldLabel, rules.KueueQueueLabel)
	if by := job.Spec.ManagedBy; by != nil && len(*by) <= maxNameLength {
		stripped.Spec.ManagedBy = by
	}
	if owner := metav1.GetControllerOf(job); owner != nil && len(owner.Name) <= maxNameLength && len(owner.UID) <= maxUIDLength && len(owner.Kind)+len(owner.APIVersion) <= maxNameLength {
		stripped.OwnerReferences = []metav1.OwnerReference{{
			APIVersion: owner.APIVersion, Kind: owner.Kind, Name: owner.Name, UID: owner.UID, Controller: owner.Controller,
		}}
	}
}

func stripObjectMeta(m *metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name: m.Name, Namespace: m.Namespace, UID: m.UID, ResourceVersion: m.ResourceVersion, DeletionTimestamp: m.DeletionTimestamp,
	}
}

// stripPodSpec keeps the containers that call koncli, each with nothing but those calls, and the operator's scheduling gate.
func stripPodSpec(spec *corev1.PodSpec) corev1.PodSpec {
	r := newCallReader()
	stripped := corev1.PodSpec{InitContainers: r.stripContainers(spec.InitContainers), Containers: r.stripContainers(spec.Containers)}
	if HasHoldGate(spec) {
		stripped.SchedulingGates = []corev1.PodSchedulingGate{{Name: konductorv1.HoldSchedulingGate}}
	}
	return stripped
}

// HasHoldGate reports whether a Pod waits behind the operator's scheduling gate.
func HasHoldGate(spec *corev1.PodSpec) bool {
	return slices.ContainsFunc(spec.SchedulingGates, func(g corev1.PodSchedulingGate) bool { return g.Name == konductorv1.HoldSchedulingGate })
}

func (r *callReader) stripContainers(containers []corev1.Container) (stripped []corev1.Container) {
	for i := range containers {
		c := &containers[i]
		calls, unparsable := r.readContainer(c)
		if len(calls) == 0 && !unparsable {
			continue
		}
		kept := corev1.Container{Name: c.Name, RestartPolicy: c.RestartPolicy}
		switch {
		case unparsable:
			kept.Command = []string{"sh", "-c", unparsableScript}
		case calls[0].OnlyCommand:
			kept.Command = calls[0].commandLine()
		default:
			var script strings.Builder
			for j := range calls {
				script.WriteString(strings.Join(calls[j].commandLine(), " ") + "\n")
			}
			// Another command is added, so that a single call isn't taken for all that the container does.
			kept.Command = []string{"sh", "-c", script.String() + ":"}
		}
		stripped = append(stripped, kept)
	}
	return stripped
}

// commandLine returns a command line that parses as the call.
func (c *Call) commandLine() []string {
	argv := []string{"koncli", c.Kind, string(c.Verb), c.Name}
	if c.Permits != 1 {
		argv = append(argv, fmt.Sprintf("--permits=%d", c.Permits))
	}
	if c.WaitAfterArrive {
		argv = append(argv, "--wait")
	}
	if c.NoWait {
		argv = append(argv, "--timeout=0")
	}
	if c.CustomHolder {
		argv = append(argv, "--holder=other")
	}
	return argv
}

// stripContainerStatuses keeps which containers are running and which have terminated, with their exit codes.
func stripContainerStatuses(statuses []corev1.ContainerStatus) (stripped []corev1.ContainerStatus) {
	for i := range statuses {
		s := corev1.ContainerStatus{Name: statuses[i].Name}
		switch state := &statuses[i].State; {
		case state.Running != nil:
			s.State.Running = &corev1.ContainerStateRunning{}
		case state.Terminated != nil:
			s.State.Terminated = &corev1.ContainerStateTerminated{ExitCode: state.Terminated.ExitCode}
		}
		stripped = append(stripped, s)
	}
	return stripped
}

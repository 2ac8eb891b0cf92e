package waitgraph

import (
	"fmt"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// jobCause describes a Job.
func (w *explainer) jobCause(ref Ref) *Cause {
	j := w.jobs[ref]
	if j == nil {
		return &Cause{Reason: ReasonJobMissing, Message: "does not exist", Remedy: "create it", Command: "kubectl get jobs -n " + ref.Namespace}
	}
	switch j.terminalCondition() {
	case batchv1.JobComplete:
		return &Cause{Reason: ReasonComplete, Message: "is complete"}
	case batchv1.JobFailed:
		return &Cause{
			Reason: ReasonJobFailed, Message: "has failed" + jobFailureText(j.obj), Remedy: "find out why, delete it and create it again",
			Command: kubectlCommand("describe", ref),
		}
	default:
	}
	if c := w.heldJobCause(j); c != nil {
		return c
	}
	if j.isSuspended() {
		return &Cause{
			Reason: ReasonJobSuspended, Message: "is suspended", Remedy: "resume it",
			Command: fmt.Sprintf(`kubectl patch job/%s -n %s -p '{"spec":{"suspend":false}}'`, ref.Name, ref.Namespace),
		}
	}
	if len(j.activePods) == 0 {
		return w.jobWithoutPodsCause(j)
	}
	c := &Cause{Reason: ReasonJobNotFinished, Message: "is not finished: it has " + countText(len(j.activePods), "pod"), Command: kubectlCommand("describe", ref)}
	for _, p := range j.activePods {
		c.Because = append(c.Because, w.explain(p.ref, nil))
	}
	return c
}

func (w *explainer) jobWithoutPodsCause(j *job) *Cause {
	if !w.isReadable(KindPod, j.ref.Namespace) {
		c := w.unreadableCause(Ref{Kind: KindPod, Namespace: j.ref.Namespace})
		c.Message = "is not finished, and its pods " + c.Message
		return c
	}
	if failed := j.obj.Status.Failed; failed > 0 {
		return &Cause{
			Reason: ReasonJobBacksOff, Message: fmt.Sprintf("has no pod at the moment: %s failed, and the next one starts after a back-off delay", countText(int(failed), "pod")),
			Remedy: "check why they failed", Command: fmt.Sprintf("kubectl logs job/%s -n %s --all-containers", j.ref.Name, j.ref.Namespace),
		}
	}
	return &Cause{
		Reason: ReasonJobWithoutPods, Message: "has no pod", Remedy: "check its events: a quota or an admission policy may reject its pods",
		Command: kubectlCommand("describe", j.ref),
	}
}

func jobFailureText(job *batchv1.Job) string {
	for _, c := range job.Status.Conditions {
		if c.Type == batchv1.JobFailed && c.Reason != "" {
			return fmt.Sprintf(" (%s%s)", c.Reason, prefixIfNotEmpty(": ", c.Message))
		}
	}
	return ""
}

// processCause describes a Pod, or a holder that isn't one.
func (w *explainer) processCause(ref Ref) *Cause {
	p := w.processByRef[ref]
	if p == nil {
		return w.endedPodCause(ref)
	}
	if p.pod != nil {
		if c := w.heldPodCause(p); c != nil {
			return c
		}
		if c := w.podProblemCause(p.pod); c != nil {
			c.Command = kubectlCommand("describe", ref)
			return c
		}
	}
	if c := w.waitsCause(p); c != nil {
		return c
	}
	switch {
	case p.pod == nil && ref.Kind == KindPod && w.isReadable(KindPod, ref.Namespace):
		return w.endedPodCause(ref)
	case p.pod == nil && ref.Kind == KindPod:
		c := w.unreadableCause(ref)
		return c
	case p.pod == nil:
		return &Cause{
			Reason: ReasonHeldOutside, Message: "is not a Pod, so its activity is unknown",
			Remedy: "ask its owner",
		}
	default:
		return w.runningCause(p)
	}
}

func (w *explainer) endedPodCause(ref Ref) *Cause {
	pod := w.endedPods[ref]
	switch {
	case pod == nil:
		return &Cause{Reason: ReasonPodMissing, Message: "is gone", Remedy: "its holds end as soon as the operator observes this", Command: "kubectl get pods -n " + ref.Namespace}
	case pod.Status.Phase == corev1.PodFailed:
		return &Cause{
			Reason: ReasonPodFailed, Message: "has failed" + parenthesized(pod.Status.Reason, pod.Status.Message),
			Command: fmt.Sprintf("kubectl logs %s -n %s --all-containers", ref, ref.Namespace),
		}
	default:
		return &Cause{Reason: ReasonComplete, Message: "has succeeded"}
	}
}

// runningCause describes a Pod that is running and not waiting for anything known, or that is about to run.
func (w *explainer) runningCause(p *process) *Cause {
	pod := p.pod
	if pod.Status.Phase != corev1.PodRunning && !isAnyContainerRunning(pod) {
		if pod.Spec.NodeName == "" {
			return &Cause{Reason: ReasonPodPending, Message: "has no node yet", Command: kubectlCommand("describe", p.ref)}
		}
		return &Cause{Reason: ReasonPodStarting, Message: "is starting on node " + pod.Spec.NodeName, Command: kubectlCommand("describe", p.ref)}
	}
	c := &Cause{Reason: ReasonRunning, Message: "has been running" + nodeText(pod) + w.runningForText(pod) + "; not waiting for anything known"}
	c.Command = fmt.Sprintf("kubectl logs %s -n %s --all-containers", p.ref, p.ref.Namespace)
	return c
}

func (w *explainer) runningForText(pod *corev1.Pod) string {
	if pod.Status.StartTime == nil {
		return ""
	}
	return " for " + w.formatAge(pod.Status.StartTime.Time)
}

func nodeText(pod *corev1.Pod) string { return prefixIfNotEmpty(" on node ", pod.Spec.NodeName) }

func isAnyContainerRunning(pod *corev1.Pod) bool {
	for _, s := range pod.Status.InitContainerStatuses {
		if s.State.Running != nil {
			return true
		}
	}
	for _, s := range pod.Status.ContainerStatuses {
		if s.State.Running != nil {
			return true
		}
	}
	return false
}

// waitsCause describes what a process waits for, or returns nil. Waits that a script mentions count only when no
// wait is certain.
func (w *explainer) waitsCause(p *process) *Cause {
	var waits []*wait
	for _, certain := range []bool{true, false} {
		for _, waiting := range p.waits {
			if waiting.evidence.isCertain() == certain {
				waits = append(waits, waiting)
			}
		}
		if len(waits) > 0 {
			break
		}
	}
	if len(waits) == 0 {
		return nil
	}
	c := &Cause{Reason: ReasonWaitsForSeveral, Inferred: inferenceText(waits[0])}
	var texts []string
	seen := map[memoKey]bool{}
	for i, waiting := range waits {
		if i < maxCausesPerObject {
			texts = append(texts, w.waitText(waiting))
		}
		if same := (memoKey{ref: waiting.target, waiter: waiting.waiterKey()}); !seen[same] {
			seen[same] = true
			c.Because = append(c.Because, w.explain(waiting.target, waiting))
		} else {
			c.More++
		}
	}
	c.Message = "waits for " + strings.Join(texts, " and for ")
	if !waits[0].evidence.isCertain() {
		c.Message = "may wait for " + strings.Join(texts, " or for ")
	}
	if more := len(waits) - maxCausesPerObject; more > 0 {
		c.Message += fmt.Sprintf(" and for %d more", more)
	}
	if len(waits) == 1 {
		c.Reason = map[string]Reason{
			konductorv1.KindGate: ReasonWaitsForGate, konductorv1.KindBarrier: ReasonWaitsForBarrier,
			konductorv1.KindLease: ReasonWaitsForLease, konductorv1.KindSemaphore: ReasonWaitsForSemaphore,
		}[waits[0].target.Kind]
	}
	if p.ref.Kind == KindPod || p.ref.Kind == KindJob {
		c.Command = kubectlCommand("describe", p.ref)
	}
	return c
}

func inferenceText(w *wait) string {
	switch w.evidence {
	case EvidenceCommand:
		return fmt.Sprintf("the command of its container %s", w.container)
	case EvidenceScript:
		return fmt.Sprintf("the script of its container %s, which may be at another command now", w.container)
	default:
		return ""
	}
}

// waitText names the target of a wait, with the queue position.
func (w *explainer) waitText(waiting *wait) string {
	text := waiting.target.StringIn(waiting.process.ref.Namespace)
	if waiting.permits != 1 {
		text = fmt.Sprintf("%d permits of %s", waiting.permits, text)
	}
	r := w.resources[waiting.target]
	if r == nil || waiting.claim == nil {
		return text
	}
	waited := w.formatAge(waiting.claim.CreationTimestamp.Time) + " so far"
	if len(r.queue) > 1 {
		waited += fmt.Sprintf(", number %d of %d in the queue", waiting.queuePosition, len(r.queue))
	}
	return text + " (" + waited + ")"
}

// podProblemCause describes what keeps a Pod from running, or returns nil.
func (w *explainer) podProblemCause(pod *corev1.Pod) *Cause {
	if pod.DeletionTimestamp != nil {
		return &Cause{
			Reason: ReasonPodTerminating, Message: "is being deleted" + nodeText(pod) + "; its holds last until it is gone",
			Remedy: "wait for it to end; if its node is lost for good, delete it with --force",
		}
	}
	if pod.Status.Phase == corev1.PodUnknown || pod.Status.Reason == "NodeLost" {
		return &Cause{
			Reason: ReasonPodNodeLost, Message: "is on an unreachable node" + prefixIfNotEmpty(": ", pod.Spec.NodeName),
			Remedy: "bring the node back; if it is lost for good, delete the pod with --force",
		}
	}
	for _, c := range pod.Status.Conditions {
		if c.Type != corev1.PodScheduled || c.Status != corev1.ConditionFalse {
			continue
		}
		if c.Reason == corev1.PodReasonSchedulingGated {
			return &Cause{Reason: ReasonPodSchedulingGated, Message: "can't be scheduled until its scheduling gates are removed", Remedy: "remove them, or wait for the controller that set them"}
		}
		return &Cause{
			Reason: ReasonPodUnschedulable, Message: "can't be scheduled" + prefixIfNotEmpty(": ", c.Message),
			Remedy: "add capacity, or change the pod's requests or scheduling constraints",
		}
	}
	for _, statuses := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for i := range statuses {
			if c := containerProblemCause(&statuses[i]); c != nil {
				return c
			}
		}
	}
	return nil
}

func containerProblemCause(s *corev1.ContainerStatus) *Cause {
	waiting := s.State.Waiting
	if waiting == nil {
		return nil
	}
	detail := parenthesized(waiting.Reason, waiting.Message)
	switch waiting.Reason {
	case "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable", "ImageInspectError":
		return &Cause{
			Reason: ReasonImagePullFails, Message: fmt.Sprintf("can't pull the image %s of its container %s%s", s.Image, s.Name, detail),
			Remedy: "correct the image name, or the credentials to pull it",
		}
	case "CrashLoopBackOff":
		message := fmt.Sprintf("crashes repeatedly in its container %s", s.Name)
		if t := s.LastTerminationState.Terminated; t != nil {
			message += fmt.Sprintf(", last with exit code %d", t.ExitCode)
		}
		return &Cause{Reason: ReasonContainerCrashes, Message: message, Remedy: "check its log (kubectl logs --previous)"}
	case "CreateContainerConfigError", "CreateContainerError", "RunContainerError", "StartError":
		return &Cause{
			Reason: ReasonContainerMisconfigured, Message: fmt.Sprintf("can't start its container %s%s", s.Name, detail),
			Remedy: "correct the container's spec, or create what it refers to",
		}
	}
	return nil
}

func parenthesized(reason, message string) string {
	if reason == "" && message == "" {
		return ""
	}
	if reason == "" {
		return " (" + message + ")"
	}
	return " (" + reason + prefixIfNotEmpty(": ", message) + ")"
}

// prefixIfNotEmpty puts prefix before text, unless text is empty.
func prefixIfNotEmpty(prefix, text string) string {
	if text == "" {
		return ""
	}
	return prefix + text
}

func countText(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

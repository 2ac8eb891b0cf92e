package waits

import (
	"fmt"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// job says how a Job stands.
func (w *walk) job(ref Ref) *Cause {
	j := w.jobs[ref]
	if j == nil {
		return &Cause{Reason: JobMissing, Message: "does not exist", Remedy: "create it", Command: "kubectl get jobs -n " + ref.Namespace}
	}
	switch j.ended() {
	case batchv1.JobComplete:
		return &Cause{Reason: Complete, Message: "is complete"}
	case batchv1.JobFailed:
		return &Cause{
			Reason: JobFailed, Message: "has failed" + failureOf(j.obj), Remedy: "find out why, delete it and create it again",
			Command: kubectl("describe", ref),
		}
	default:
	}
	if j.suspended() {
		return &Cause{
			Reason: JobSuspended, Message: "is suspended", Remedy: "resume it",
			Command: fmt.Sprintf(`kubectl patch job/%s -n %s -p '{"spec":{"suspend":false}}'`, ref.Name, ref.Namespace),
		}
	}
	if len(j.pods) == 0 {
		return w.jobWithoutPods(j)
	}
	c := &Cause{Reason: JobNotFinished, Message: "is not finished: it has " + count(len(j.pods), "pod"), Command: kubectl("describe", ref)}
	for _, p := range j.pods {
		c.Because = append(c.Because, w.tell(p.ref, nil))
	}
	return c
}

func (w *walk) jobWithoutPods(j *job) *Cause {
	if !w.readable(KindPod, j.ref.Namespace) {
		c := w.unreadable(Ref{Kind: KindPod, Namespace: j.ref.Namespace})
		c.Message = "is not finished, and its pods " + c.Message
		return c
	}
	if failed := j.obj.Status.Failed; failed > 0 {
		return &Cause{
			Reason: JobBacksOff, Message: fmt.Sprintf("has no pod at the moment: %s failed, and the next is started after a pause", count(int(failed), "pod")),
			Remedy: "see why they failed", Command: fmt.Sprintf("kubectl logs job/%s -n %s --all-containers", j.ref.Name, j.ref.Namespace),
		}
	}
	return &Cause{
		Reason: JobWithoutPods, Message: "has no pod", Remedy: "see its events: a quota or an admission policy may be in the way",
		Command: kubectl("describe", j.ref),
	}
}

func failureOf(job *batchv1.Job) string {
	for _, c := range job.Status.Conditions {
		if c.Type == batchv1.JobFailed && c.Reason != "" {
			return fmt.Sprintf(" (%s%s)", c.Reason, prefixed(": ", c.Message))
		}
	}
	return ""
}

// process says how a Pod, or a holder that isn't one, stands.
func (w *walk) process(ref Ref) *Cause {
	p := w.byRef[ref]
	if p == nil {
		return w.podGone(ref)
	}
	if p.pod != nil {
		if c := w.trouble(p.pod); c != nil {
			c.Command = kubectl("describe", ref)
			return c
		}
	}
	if c := w.waitsOf(p); c != nil {
		return c
	}
	switch {
	case p.pod == nil && ref.Kind == KindPod && w.readable(KindPod, ref.Namespace):
		return w.podGone(ref)
	case p.pod == nil && ref.Kind == KindPod:
		c := w.unreadable(ref)
		return c
	case p.pod == nil:
		return &Cause{
			Reason: HeldOutside, Message: "is no pod, so that there is no telling what it does",
			Remedy: "ask who runs it",
		}
	default:
		return w.atWork(p)
	}
}

func (w *walk) podGone(ref Ref) *Cause {
	pod := w.endedPods[ref]
	switch {
	case pod == nil:
		return &Cause{Reason: PodMissing, Message: "is gone", Remedy: "its holds end as soon as the operator has seen it", Command: "kubectl get pods -n " + ref.Namespace}
	case pod.Status.Phase == corev1.PodFailed:
		return &Cause{
			Reason: PodFailed, Message: "has failed" + parenthesis(pod.Status.Reason, pod.Status.Message),
			Command: fmt.Sprintf("kubectl logs %s -n %s --all-containers", ref, ref.Namespace),
		}
	default:
		return &Cause{Reason: Complete, Message: "has succeeded"}
	}
}

// atWork says that a Pod runs and nothing known holds it up, or that it is about to run.
func (w *walk) atWork(p *process) *Cause {
	pod := p.pod
	if pod.Status.Phase != corev1.PodRunning && !anyRuns(pod) {
		if pod.Spec.NodeName == "" {
			return &Cause{Reason: PodPending, Message: "has no node yet", Command: kubectl("describe", p.ref)}
		}
		return &Cause{Reason: PodStarting, Message: "is starting on node " + pod.Spec.NodeName, Command: kubectl("describe", p.ref)}
	}
	c := &Cause{Reason: Running, Message: "runs" + onNode(pod) + w.forTime(pod) + ", and nothing known holds it up"}
	c.Command = fmt.Sprintf("kubectl logs %s -n %s --all-containers", p.ref, p.ref.Namespace)
	return c
}

func (w *walk) forTime(pod *corev1.Pod) string {
	if pod.Status.StartTime == nil {
		return ""
	}
	return " for " + w.since(pod.Status.StartTime.Time)
}

func onNode(pod *corev1.Pod) string { return prefixed(" on node ", pod.Spec.NodeName) }

func anyRuns(pod *corev1.Pod) bool {
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

// waitsOf says what a process waits for, or returns nil. What a script or an annotation mentions counts only when nothing
// is certain.
func (w *walk) waitsOf(p *process) *Cause {
	var waits []*wait
	for _, certain := range []bool{true, false} {
		for _, one := range p.waits {
			if one.evidence.certain() == certain {
				waits = append(waits, one)
			}
		}
		if len(waits) > 0 {
			break
		}
	}
	if len(waits) == 0 {
		return nil
	}
	c := &Cause{Reason: WaitsForSeveral, Inferred: inference(waits[0])}
	var words []string
	for _, one := range waits {
		words = append(words, w.waitWords(one))
		c.Because = append(c.Because, w.tell(one.target, one))
	}
	c.Message = "waits for " + strings.Join(words, " and for ")
	if !waits[0].evidence.certain() {
		c.Message = "may wait for " + strings.Join(words, " or for ")
	}
	if len(waits) == 1 {
		c.Reason = map[string]Reason{
			konductorv1.KindGate: WaitsForGate, konductorv1.KindBarrier: WaitsForBarrier,
			konductorv1.KindLease: WaitsForLease, konductorv1.KindSemaphore: WaitsForSemaphore,
		}[waits[0].target.Kind]
	}
	if p.ref.Kind == KindPod {
		c.Command = kubectl("describe", p.ref)
	}
	return c
}

func inference(w *wait) string {
	switch w.evidence {
	case ByCommand:
		return fmt.Sprintf("the command of its container %s", w.container)
	case ByScript:
		return fmt.Sprintf("the script of its container %s, which may be elsewhere at the moment", w.container)
	case ByAnnotation:
		return "its annotation " + konductorv1.WaitsForAnnotation
	default:
		return ""
	}
}

// waitWords names what is waited for, with the place in the queue.
func (w *walk) waitWords(one *wait) string {
	words := one.target.In(one.process.ref.Namespace)
	if one.permits != 1 {
		words = fmt.Sprintf("%d permits of %s", one.permits, words)
	}
	r := w.resources[one.target]
	if r == nil || one.claim == nil {
		return words
	}
	waited := w.since(one.claim.CreationTimestamp.Time) + " so far"
	if len(r.queue) > 1 {
		waited += fmt.Sprintf(", number %d of %d in the queue", one.place, len(r.queue))
	}
	return words + " (" + waited + ")"
}

// trouble says what keeps a Pod from running, if anything does.
func (w *walk) trouble(pod *corev1.Pod) *Cause {
	if pod.DeletionTimestamp != nil {
		return &Cause{
			Reason: PodTerminating, Message: "is being deleted" + onNode(pod) + ", and holds until it is gone",
			Remedy: "wait for it to end; if its node is lost for good, delete it with --force",
		}
	}
	if pod.Status.Phase == corev1.PodUnknown || pod.Status.Reason == "NodeLost" {
		return &Cause{
			Reason: PodNodeLost, Message: "is on a node that doesn't answer" + prefixed(": ", pod.Spec.NodeName),
			Remedy: "bring the node back, or, if it is off for good, delete the pod with --force",
		}
	}
	for _, c := range pod.Status.Conditions {
		if c.Type != corev1.PodScheduled || c.Status != corev1.ConditionFalse {
			continue
		}
		if c.Reason == corev1.PodReasonSchedulingGated {
			return &Cause{Reason: PodSchedulingGated, Message: "is kept from scheduling by its scheduling gates", Remedy: "whoever set the gates must remove them"}
		}
		return &Cause{
			Reason: PodUnschedulable, Message: "can't be scheduled" + prefixed(": ", c.Message),
			Remedy: "make room for it, or change what it asks of a node",
		}
	}
	for _, statuses := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for i := range statuses {
			if c := containerTrouble(&statuses[i]); c != nil {
				return c
			}
		}
	}
	return nil
}

func containerTrouble(s *corev1.ContainerStatus) *Cause {
	waiting := s.State.Waiting
	if waiting == nil {
		return nil
	}
	detail := parenthesis(waiting.Reason, waiting.Message)
	switch waiting.Reason {
	case "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable", "ImageInspectError":
		return &Cause{
			Reason: ImagePullFails, Message: fmt.Sprintf("can't get the image %s of its container %s%s", s.Image, s.Name, detail),
			Remedy: "correct the image's name, or the right to pull it",
		}
	case "CrashLoopBackOff":
		message := fmt.Sprintf("crashes again and again in its container %s", s.Name)
		if t := s.LastTerminationState.Terminated; t != nil {
			message += fmt.Sprintf(", last with exit code %d", t.ExitCode)
		}
		return &Cause{Reason: ContainerCrashes, Message: message, Remedy: "see its log (kubectl logs --previous)"}
	case "CreateContainerConfigError", "CreateContainerError", "RunContainerError", "StartError":
		return &Cause{
			Reason: ContainerMisconfigured, Message: fmt.Sprintf("can't start its container %s%s", s.Name, detail),
			Remedy: "correct what it refers to",
		}
	}
	return nil
}

func parenthesis(reason, message string) string {
	if reason == "" && message == "" {
		return ""
	}
	if reason == "" {
		return " (" + message + ")"
	}
	return " (" + reason + prefixed(": ", message) + ")"
}

// prefixed puts a prefix before a text that isn't empty.
func prefixed(prefix, text string) string {
	if text == "" {
		return ""
	}
	return prefix + text
}

func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

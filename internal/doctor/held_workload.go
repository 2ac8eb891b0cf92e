package doctor

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/rbac"
	"github.com/LogicIQ/konductor/internal/rules"
)

// HeldWorkload is an object with annotations that hold a Job or Pods, whether or not they have an effect where they are. Its
// creator needs rights, and its Pods need none.
type HeldWorkload struct {
	// Name is KIND/NAME.
	Name, Namespace string
	// FromManifest says that it was read from a file, and is perhaps not in the cluster.
	FromManifest bool
	// annotations are those that have an effect, and job is the Job that they hold; nil if there is none.
	annotations map[string]string
	job         *batchv1.Job
	// jobPath is the prefix of the Job's fields in the object; empty: the object is the Job.
	jobPath string
	// pods are the annotations that hold Pods.
	pods   []podAnnotations
	object *unstructured.Unstructured
	// annotated says that the object has an annotation of konductor, and found is what is wrong with the annotations' places.
	annotated bool
	found     []Check
}

// podAnnotations are the annotations of a Pod or Pod template.
type podAnnotations struct {
	// path is the prefix of the Pod's fields in the object; empty: the object is the Pod.
	path        string
	annotations map[string]string
	// gated says that the Pod has the operator's scheduling gate.
	gated bool
}

const annotationPrefix = konductorv1.GroupName + "/"

// annotationsPath returns where the annotations of an object hold Jobs, or the Pod that it is; empty: nowhere. Those of Pod templates
// hold Pods, whatever the object is.
func annotationsPath(obj *unstructured.Unstructured) string {
	switch {
	case isKind(obj, batchv1.GroupName, konductorv1.KindJob), isKind(obj, "", konductorv1.KindPod):
		return "metadata.annotations"
	case isKind(obj, batchv1.GroupName, "CronJob"):
		return "spec.jobTemplate.metadata.annotations"
	default:
		return ""
	}
}

func isKind(obj *unstructured.Unstructured, group, kind string) bool {
	return konductorv1.IsA(obj.GetAPIVersion(), obj.GetKind(), schema.GroupKind{Group: group, Kind: kind})
}

// readHeldWorkload returns the held workload that an object is; nil if it has no annotations of one.
func readHeldWorkload(obj *unstructured.Unstructured, namespace string) *HeldWorkload {
	w := &HeldWorkload{Name: objectName(obj), Namespace: cmp.Or(obj.GetNamespace(), namespace), object: obj.DeepCopy()}
	path := annotationsPath(obj)
	w.readAnnotations("", w.object.Object, path)
	if !w.annotated {
		return nil
	}
	if path == "" || isKind(obj, "", konductorv1.KindPod) {
		return w
	}
	fields := strings.Split(path, ".")
	w.annotations, _, _ = unstructured.NestedStringMap(w.object.Object, fields...)
	job, _, _ := unstructured.NestedMap(w.object.Object, fields[:len(fields)-2]...)
	w.job, w.jobPath = &batchv1.Job{}, strings.TrimSuffix(path, "metadata.annotations")
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(job, w.job); err != nil {
		w.found = append(w.found, w.failed("a field has the wrong type: %v", err))
	}
	return w
}

// readAnnotations finds the annotations in all metadata below node, and what is wrong with their names and places. Those at
// effective hold Jobs. Values that are no strings become strings, so that the rest can be checked.
func (w *HeldWorkload) readAnnotations(path string, node any, effective string) {
	switch node := node.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(node)) {
			child := strings.TrimPrefix(path+"."+key, ".")
			if annotations, ok := node[key].(map[string]any); ok && key == "annotations" && (path == "metadata" || strings.HasSuffix(path, ".metadata")) {
				w.readAnnotationsAt(child, annotations, effective)
			} else if pod, ok := node["spec"].(map[string]any); ok && key == "metadata" && w.isOfPods(child+".annotations", effective) {
				w.readAnnotations(child, node[key], child+".annotations")
				annotations, _, _ := unstructured.NestedStringMap(node, key, "annotations")
				gates, _, _ := unstructured.NestedSlice(pod, "schedulingGates")
				gated := slices.ContainsFunc(gates, func(g any) bool {
					gate, _ := g.(map[string]any)
					return gate["name"] == konductorv1.HoldSchedulingGate
				})
				w.pods = append(w.pods, podAnnotations{strings.TrimSuffix(child, "metadata"), annotations, gated})
			} else {
				w.readAnnotations(child, node[key], effective)
			}
		}
	case []any:
		for i := range node {
			w.readAnnotations(fmt.Sprintf("%s[%d]", path, i), node[i], effective)
		}
	}
}

// isOfPods reports whether annotations at path are those of a Pod or Pod template.
func (w *HeldWorkload) isOfPods(path, effective string) bool {
	return isKind(w.object, "", konductorv1.KindPod) && path == effective || path != effective && strings.HasSuffix(path, "template.metadata.annotations")
}

func (w *HeldWorkload) readAnnotationsAt(path string, annotations map[string]any, effective string) {
	names := []string{
		konductorv1.AfterAnnotation, konductorv1.HoldAnnotation, konductorv1.ArriveAnnotation, konductorv1.WhenBusyAnnotation,
		konductorv1.MaxWaitAnnotation, konductorv1.PriorityAnnotation, konductorv1.PauseAnnotation,
	}
	if w.isOfPods(path, annotationsPath(w.object)) {
		names = slices.DeleteFunc(names, func(name string) bool { return name == konductorv1.PauseAnnotation })
	}
	for _, name := range slices.Sorted(maps.Keys(annotations)) {
		known := slices.Contains(names, name)
		switch {
		case path != effective && !known, !strings.HasPrefix(name, annotationPrefix), name == konductorv1.ReleasedTokensAnnotation, name == konductorv1.FencingTokenAnnotation:
			continue
		case path != effective && effective != "":
			w.found = append(w.found, w.failed("%s: %s has no effect there: write it in %s", path, name, effective))
		case path != effective:
			w.found = append(w.found, w.failed("%s: %s has no effect on a %s, only on a Job, a CronJob, a Pod, and the template of Pods: write it in the metadata of its Pod template", path, name, w.object.GetKind()))
		case !known:
			w.found = append(w.found, w.failed("%s: %s is unknown: of %s, write after, hold, arrive, when-busy, max-wait or priority", path, name, annotationPrefix))
		case name == konductorv1.PauseAnnotation && path != "metadata.annotations":
			w.found = append(w.found, w.failed("%s: %s has no effect there: set spec.suspend of the CronJob to true, or annotate its Jobs", path, name))
		}
		w.annotated = true
		if _, ok := annotations[name].(string); !ok {
			w.found = append(w.found, w.failed("%s: the value of %s must be a string: write it in quotes", path, name))
			annotations[name] = fmt.Sprint(annotations[name])
		}
	}
}

// allAnnotations returns the annotations of the Job and of its Pods, each by themselves.
func (w *HeldWorkload) allAnnotations() (all []map[string]string) {
	if w.job != nil {
		all = append(all, w.annotations)
	}
	for i := range w.pods {
		all = append(all, w.pods[i].annotations)
	}
	return all
}

// creatorRights returns the rights that the API server requires of the user who creates the workload.
func (w *HeldWorkload) creatorRights() (rights rbac.JobCreatorRights) {
	for _, annotations := range w.allAnnotations() {
		rights.CreateClaims = rights.CreateClaims || annotations[konductorv1.HoldAnnotation] != ""
		rights.CreateArrivals = rights.CreateArrivals || annotations[konductorv1.ArriveAnnotation] != ""
	}
	busy := w.annotations[konductorv1.WhenBusyAnnotation]
	rights.DeleteJobs = w.job != nil && (busy == konductorv1.WhenBusyNewest || busy == konductorv1.WhenBusyReplace) &&
		slices.ContainsFunc(w.job.OwnerReferences, func(o metav1.OwnerReference) bool { return o.Kind == "CronJob" })
	return rights
}

// references returns the objects that the annotations name.
func (w *HeldWorkload) references() (refs []rules.WorkloadRef) {
	add := func(ref rules.WorkloadRef) {
		if !slices.Contains(refs, ref) {
			refs = append(refs, ref)
		}
	}
	for _, annotations := range w.allAnnotations() {
		parsed, err := rules.ParseWorkload(annotations)
		if err != nil {
			continue
		}
		for _, ref := range parsed.After {
			add(ref)
		}
		for _, h := range parsed.Holds {
			add(h.WorkloadRef)
		}
		for _, name := range parsed.Arrive {
			add(rules.WorkloadRef{Kind: konductorv1.KindBarrier, Name: name})
		}
	}
	return refs
}

func (w *HeldWorkload) failed(format string, args ...any) Check {
	return Check{Name: CheckWorkload, Status: Failed, Message: w.Name + ": " + fmt.Sprintf(format, args...)}
}

func (w *HeldWorkload) warning(format string, args ...any) Check {
	c := w.failed(format, args...)
	c.Status = Warning
	return c
}

// check returns what is wrong with the workload: first what its manifest says, then what it refers to.
func (w *WorkloadFacts) check(f *Facts) []Check {
	found := slices.Clone(w.found)
	if w.job != nil {
		for _, check := range []func(*WorkloadFacts, *Facts) []Check{
			(*WorkloadFacts).checkValues, (*WorkloadFacts).checkSuspend, (*WorkloadFacts).checkController, (*WorkloadFacts).checkConcurrency,
		} {
			found = append(found, check(w, f)...)
		}
	}
	for i := range w.pods {
		found = append(found, w.checkPods(&w.pods[i], f)...)
	}
	if w.Refusal != "" && !slices.ContainsFunc(found, func(c Check) bool { return c.Status == Failed }) {
		// What is wrong is told once, where it can in the words of the check.
		found = append(found, w.failed("the API server refuses it: %s", w.Refusal))
	}
	found = append(found, w.checkReferences()...)
	if len(found) == 0 {
		found = []Check{{Name: CheckWorkload, Status: OK, Message: w.Name + ": its annotations are valid, and the objects that they name exist"}}
	}
	return found
}

func (w *WorkloadFacts) checkValues(*Facts) []Check {
	if _, err := rules.ParseWorkload(w.annotations); err != nil {
		return []Check{w.failed("%v", err)}
	}
	return nil
}

// checkPods checks the annotations of a Pod or Pod template.
func (w *WorkloadFacts) checkPods(p *podAnnotations, f *Facts) (found []Check) {
	parsed, err := rules.ParseWorkload(p.annotations)
	waits := rules.IsHeldWorkload(p.annotations)
	switch {
	case err != nil:
		return []Check{w.failed("%smetadata: %v", p.path, err)}
	case parsed.WhenBusy == konductorv1.WhenBusyNewest || parsed.WhenBusy == konductorv1.WhenBusyReplace:
		found = append(found, w.failed("%smetadata: annotation %s of a Pod: write Wait or Skip", p.path, konductorv1.WhenBusyAnnotation))
	case waits && w.job != nil && rules.IsHeldWorkload(w.annotations):
		found = append(found, w.failed("%smetadata: write the annotations on the Job, not on its Pod template as well: its Pods would wait for what it holds", p.path))
	}
	if waits && !p.gated && !w.AddsSuspend && w.FromManifest {
		found = append(found, w.failed("%sspec.schedulingGates: add {name: %s}: Kubernetes %s refuses the Pods without it", p.path, konductorv1.HoldSchedulingGate, f.ServerVersion))
	}
	return found
}

func (w *WorkloadFacts) checkSuspend(f *Facts) []Check {
	if w.AddsSuspend || !w.FromManifest || !rules.IsHeldWorkload(w.annotations) || w.job.Spec.Suspend != nil && *w.job.Spec.Suspend {
		return nil
	}
	return []Check{w.failed("%sspec.suspend: write true: Kubernetes %s refuses the Job without it", w.jobPath, f.ServerVersion)}
}

// checkController finds another controller that decides when the Job runs, as the operator does.
func (w *WorkloadFacts) checkController(*Facts) (found []Check) {
	other := func(field, by, remove string) {
		found = append(found, w.failed("%s%s: %s decides when this Job runs, so its annotations have no effect: %s, or annotate its Pod template instead", w.jobPath, field, by, remove))
	}
	if w.job.Labels[rules.KueueQueueLabel] != "" {
		other("metadata", "Kueue", "remove "+rules.KueueQueueLabel)
	}
	if by := w.job.Spec.ManagedBy; by != nil && *by != batchv1.JobControllerName {
		other("spec.managedBy", *by, "leave it out")
	}
	if owner := metav1.GetControllerOf(w.job); owner != nil && owner.Kind == "JobSet" {
		other("metadata.ownerReferences", "JobSet "+owner.Name, "create the Job by itself")
	}
	return found
}

func (w *WorkloadFacts) checkConcurrency(*Facts) []Check {
	policy, _, _ := unstructured.NestedString(w.object.Object, "spec", "concurrencyPolicy")
	if !rules.IsHeldWorkload(w.annotations) {
		return nil
	}
	const instead = "write Allow, and let annotation " + konductorv1.WhenBusyAnnotation + " decide"
	switch batchv1.ConcurrencyPolicy(policy) {
	case batchv1.ReplaceConcurrent:
		return []Check{w.warning("spec.concurrencyPolicy: Replace deletes a Job that still waits at the next tick, so that none runs if the wait is longer: %s", instead)}
	case batchv1.ForbidConcurrent:
		return []Check{w.warning("spec.concurrencyPolicy: Forbid creates no Job while one waits: %s", instead)}
	default:
		return nil
	}
}

// checkReferences compares the annotations with the objects that they name.
func (w *WorkloadFacts) checkReferences() (found []Check) {
	waitsFor := map[rules.WorkloadRef]bool{}
	var holds []rules.WorkloadHold
	priority := int32(0)
	for _, annotations := range w.allAnnotations() {
		parsed, err := rules.ParseWorkload(annotations)
		if err != nil {
			continue
		}
		for _, ref := range parsed.After {
			waitsFor[ref] = true
		}
		holds, priority = append(holds, parsed.Holds...), max(priority, parsed.Priority)
	}
	who := "Job"
	if w.job == nil {
		who = "Pod"
	}
	for _, ref := range w.references() {
		o := w.Objects[ref]
		switch {
		case o.Err != nil:
			c := w.failed("").withReadError("read "+ref.String()+" in namespace "+w.Namespace, o.Err)
			c.Message = w.Name + ": " + c.Message
			found = append(found, c)
		case o.Missing:
			found = append(found, w.warning("%s doesn't exist in namespace %s: create it, or correct its name. Until it exists the %s waits for it", ref, w.Namespace, who))
		case waitsFor[ref] && (o.Phase == string(konductorv1.BarrierFailed) || o.Phase == string(konductorv1.BarrierTimeout)):
			found = append(found, w.warning("annotation %s: %s has the phase %s, so the %[4]s doesn't start: delete %[2]s and create it again", konductorv1.AfterAnnotation, ref, o.Phase, who))
		}
	}
	for _, h := range holds {
		o := w.Objects[h.WorkloadRef]
		// A semaphore without permits is paused, and refuses nobody.
		if o.Permits != nil && *o.Permits > 0 && h.Permits > *o.Permits {
			found = append(found, w.failed("annotation %s: %s has %d permits: write at most %[2]s:%[3]d, not %[4]d, or raise its spec.permits", konductorv1.HoldAnnotation, h, *o.Permits, h.Permits))
		}
		if o.MaxPriority != nil && priority > *o.MaxPriority {
			found = append(found, w.failed("annotation %s: %s admits at most priority %d: write at most %[3]d, not %[4]d, or raise its spec.maxPriority", konductorv1.PriorityAnnotation, h, *o.MaxPriority, priority))
		}
	}
	return found
}

// checkHeldJobs checks whether held Jobs are turned on in a namespace.
func (f *Facts) checkHeldJobs(namespace string, probe HeldJobsProbe) Check {
	c := Check{Name: CheckHeldJobs, Status: OK, Message: "Jobs in namespace " + namespace + " are held by their annotations"}
	const turnOn = "set heldWorkloads: true and admissionPolicy: true in the chart's values"
	switch {
	case f.OperatorsErr == nil && len(f.Operators) > 0 && !slices.ContainsFunc(f.Operators, func(o OperatorFacts) bool { return o.HoldsJobs }):
		c.Status, c.Message, c.Fix = Failed, "the operator runs without --hold-workloads, so annotations of Jobs have no effect", turnOn
	case probe.Err != nil:
		c = c.withReadError("create a Job as a dry run in namespace "+namespace+", to check whether Jobs are held there", probe.Err)
		c.Status = Unknown
	case !probe.Refused:
		c.Status = Failed
		c.Message = "the policies for held Jobs are not installed, or not bound to namespace " + namespace + ": annotations of its Jobs have no effect"
		c.Fix = turnOn + "; if watchNamespaces is set there, add " + namespace
	}
	return c
}

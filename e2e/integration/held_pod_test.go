package integration

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/operator"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// heldPod returns a Pod with annotations. It has the operator's scheduling gate where the API server doesn't add it.
func heldPod(name string, annotations map[string]string) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: annotations}, Spec: podTemplateSpec()}
	if !sharedCluster.suspendsHeldJobs && (annotations[konductorv1.HoldAnnotation] != "" || annotations[konductorv1.AfterAnnotation] != "") {
		pod.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: konductorv1.HoldSchedulingGate}}
	}
	return pod
}

func podTemplateSpec() corev1.PodSpec {
	return corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "main", Image: "none"}}}
}

// waitPodState waits until a held Pod has that state.
func (w *testEnv) waitPodState(name, state string) *corev1.Pod {
	w.Helper()
	return waitFor(w, name, state, func(p *corev1.Pod) bool { return p.Labels[konductorv1.HeldLabel] == state })
}

// endPod gives a Pod that phase.
func (w *testEnv) endPod(name string, phase corev1.PodPhase) {
	w.Helper()
	w.must(retry.RetryOnConflict(retry.DefaultRetry, func() error {
		pod := getObject[*corev1.Pod](w, name)
		pod.Status.Phase = phase
		return w.client.Status().Update(w.ctx, pod)
	}))
}

func TestHeldPodStartsWhenItHolds(t *testing.T) {
	w := newTestEnv(t)
	w.startJobOperator()
	lease := &konductorv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "report"}, Spec: konductorv1.LeaseSpec{TTL: konductorv1.NewDuration(2 * time.Second)}}
	w.createObjects(lease)
	w.createSemaphore("db", 3)
	createBarrier(w, "done", 1)
	holder := w.newParticipant("somebody").mustAcquire(konductorv1.KindSemaphore, "db", konductor.WithPermits(2))
	annotations := holding("semaphore/db:2,lease/report")
	annotations[konductorv1.AfterAnnotation], annotations[konductorv1.ArriveAnnotation] = "gate/ready", "barrier/done"
	pod := heldPod("p", annotations)
	pod.Spec.SchedulingGates = append(pod.Spec.SchedulingGates, corev1.PodSchedulingGate{Name: "example.com/other"})
	w.createObjects(pod)
	w.waitPodState("p", konductorv1.HeldWaiting)
	w.awaitEvent("Pod", "p", konductorv1.EventWaiting, "gate/ready, which doesn't exist yet")
	w.createObjects(&konductorv1.Gate{ObjectMeta: metav1.ObjectMeta{Name: "ready"}, Spec: konductorv1.GateSpec{
		Conditions: []konductorv1.GateCondition{{Type: konductorv1.GateOnLease, Name: "report"}},
	}})
	waitFor(w, "db", "waited for", func(s *konductorv1.Semaphore) bool { return s.Status.Waiting == 1 })
	waiting := getObject[*corev1.Pod](w, "p")
	if !isBehindHoldGate(waiting) {
		t.Error("the pod was started while it waits")
	}
	why := w.runKoncli(w.adminKubeconfig, "why", "pod/p", "-n", w.namespace)
	if !strings.Contains(why.Stdout, "semaphore/db") || strings.Contains(why.Stdout, "remove them") {
		t.Errorf("why says:\n%s", why.Stdout)
	}
	w.mustRelease(holder)

	started := w.waitPodState("p", konductorv1.HeldStarted)
	if gates := started.Spec.SchedulingGates; len(gates) != 1 || gates[0].Name != "example.com/other" {
		t.Errorf("the started pod has the scheduling gates %v, want that of somebody else", gates)
	}
	report := getObject[*konductorv1.Lease](w, "report")
	for annotation, want := range map[string]int64{
		konductorv1.FencingTokenAnnotation:                 report.Status.FencingToken,
		konductorv1.HoldTokenAnnotation("lease", "report"): report.Status.FencingToken,
		konductorv1.HoldTokenAnnotation("semaphore", "db"): getObject[*konductorv1.Semaphore](w, "db").Status.FencingToken,
	} {
		if got := started.Annotations[annotation]; got != strconv.FormatInt(want, 10) {
			t.Errorf("annotation %s of the pod is %q, want %d", annotation, got, want)
		}
	}
	// Nobody renews, and the hold outlasts the lease's ttl.
	timer := time.NewTimer(4 * time.Second)
	<-timer.C
	if l := getObject[*konductorv1.Lease](w, "report"); l.Status.Holder != "pod/p" || l.Status.ExpiresAt != nil {
		t.Errorf("after its ttl the lease is held by %q until %v", l.Status.Holder, l.Status.ExpiresAt)
	}
	w.endPod("p", corev1.PodSucceeded)
	w.waitPodState("p", konductorv1.HeldFinished)
	w.waitLeaseFree("report")
	b := waitFor(w, "done", "open", func(b *konductorv1.Barrier) bool { return b.Status.Phase == konductorv1.BarrierOpen })
	if got := fmt.Sprint(b.Status.Arrived); got != "1" {
		t.Errorf("%s have arrived", got)
	}
	w.must(w.client.Delete(w.ctx, started, client.GracePeriodSeconds(0)))
	w.waitNoClaims()
}

// TestHeldPodsExcludeEachOther has Pods behind a lease end in several ways, with two operators.
func TestHeldPodsExcludeEachOther(t *testing.T) {
	w := newTestEnv(t)
	w.createLease("report")
	w.startJobOperator()
	w.startJobOperator()
	w.checkPods(1)
	w.checkRevisions(konductorv1.KindLease, "report")
	const count = 6
	for i := range count {
		w.createObjects(heldPod(fmt.Sprint("p", i), holding("lease/report")))
	}
	ended := map[string]bool{}
	w.waitUntil("the end of all pods", func() bool {
		for i := range count {
			name := fmt.Sprint("p", i)
			if ended[name] || isBehindHoldGate(getObject[*corev1.Pod](w, name)) {
				continue
			}
			ended[name] = true
			switch i % 3 {
			case 0:
				w.endPod(name, corev1.PodSucceeded)
			case 1:
				w.endPod(name, corev1.PodFailed)
			default:
				w.must(w.client.Delete(w.ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}}, client.GracePeriodSeconds(0)))
			}
		}
		return len(ended) == count
	})
	w.waitLeaseFree("report")
}

func TestHeldPodsSurviveOperatorCrashAtEachWrite(t *testing.T) {
	const writes = 12 // as many as it takes
	for n := 1; n <= writes; n++ {
		for _, before := range []bool{true, false} {
			t.Run(fmt.Sprintf("write %d, before it: %t", n, before), func(t *testing.T) {
				w := newTestEnv(t)
				w.createLease("report")
				createBarrier(w, "done", 2)
				w.checkPods(1)
				checker := w.checkRevisions(konductorv1.KindLease, "report")
				config, wire := w.hookTransport(w.operatorConfig)
				dead := w.crashAtWrite(wire, n, before)
				first := w.startOperatorWith(func(o *operator.Options) { o.Config, o.HeldWorkloads = config, true })
				annotations := holding("lease/report")
				annotations[konductorv1.ArriveAnnotation] = "barrier/done"
				w.createObjects(heldPod("a", annotations), heldPod("b", annotations))
				takeOver, ended := w.takeOverOnCrash(first, dead), map[string]bool{}
				w.waitUntil("the end of both pods", func() bool {
					crashed := takeOver()
					for _, name := range []string{"a", "b"} {
						if !ended[name] && !isBehindHoldGate(getObject[*corev1.Pod](w, name)) {
							ended[name] = true
							w.endPod(name, corev1.PodSucceeded)
						}
					}
					return len(ended) == 2 && (crashed || getObject[*konductorv1.Barrier](w, "done").Status.Phase == konductorv1.BarrierOpen)
				})
				waitFor(w, "done", "open", func(b *konductorv1.Barrier) bool { return b.Status.Phase == konductorv1.BarrierOpen })
				w.waitLeaseFree("report")
				if got := len(checker.waitForGrants(2)); got != 2 {
					t.Errorf("%d grants, want one for each pod", got)
				}
			})
		}
	}
}

// TestHeldPodHoldsUntilItIsGone deletes a Pod so that the garbage collector deletes what depends on it first.
func TestHeldPodHoldsUntilItIsGone(t *testing.T) {
	w := newTestEnv(t)
	w.startJobOperator()
	w.createLease("report")
	w.checkPods(1)
	first := heldPod("first", holding("lease/report"))
	first.Finalizers = []string{slowPodFinalizer}
	w.createObjects(first)
	w.waitPodState("first", konductorv1.HeldStarted)
	// The garbage collector of Pods ends a terminating one that has no node.
	w.must(w.kube.CoreV1().Pods(w.namespace).Bind(w.ctx, &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Name: "first"}, Target: corev1.ObjectReference{Kind: "Node", Name: testNode},
	}, metav1.CreateOptions{}))
	w.createObjects(heldPod("next", holding("lease/report")))
	waitFor(w, "report", "waited for", func(l *konductorv1.Lease) bool { return l.Status.Waiting == 1 })
	w.must(w.client.Delete(w.ctx, first, client.PropagationPolicy(metav1.DeletePropagationForeground), client.GracePeriodSeconds(30)))
	timer := time.NewTimer(5 * time.Second)
	<-timer.C
	if l := getObject[*konductorv1.Lease](w, "report"); l.Status.Holder != "pod/first" {
		t.Errorf("the lease is held by %q while the first pod is being deleted", l.Status.Holder)
	}
	w.endPod("first", corev1.PodSucceeded)
	w.waitPodState("next", konductorv1.HeldStarted)
	w.must(w.client.Patch(w.ctx, first, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))))
}

func TestHeldPodThatSkips(t *testing.T) {
	w := newTestEnv(t)
	w.startJobOperator()
	w.createLease("report")
	w.newParticipant("somebody").mustAcquire(konductorv1.KindLease, "report")
	annotations := holding("lease/report")
	annotations[konductorv1.WhenBusyAnnotation] = konductorv1.WhenBusySkip
	w.createObjects(heldPod("p", annotations))
	if p := w.waitPodState("p", konductorv1.HeldSkipped); !isBehindHoldGate(p) {
		t.Error("the skipped pod was started")
	}
	w.awaitEvent("Pod", "p", konductorv1.EventSkipped, "lease/report is busy")
}

// TestArrivalsOfHeldPods has Pods that fail, alone and as the first of a Job.
func TestArrivalsOfHeldPods(t *testing.T) {
	w := newTestEnv(t)
	w.startJobOperator()
	arriving := func(barrier string) map[string]string {
		return map[string]string{konductorv1.ArriveAnnotation: "barrier/" + barrier}
	}
	createBarrier(w, "alone", 1)
	createBarrier(w, "job", 1)
	w.createObjects(heldPod("p", arriving("alone")))
	w.endPod("p", corev1.PodFailed)
	waitFor(w, "alone", "failed", func(b *konductorv1.Barrier) bool { return b.Status.Phase == konductorv1.BarrierFailed })

	job := heldJob("j", nil)
	*job.Spec.Suspend = false
	job.Spec.Template.Spec = podTemplateSpec()
	job.Spec.Template.Annotations = arriving("job")
	w.createObjects(job)
	w.endPod(w.waitForPodOf(job).Name, corev1.PodFailed)
	var second *corev1.Pod
	w.waitUntil("a second pod", func() bool { second = w.waitForPodOf(job); return second.Status.Phase != corev1.PodFailed })
	if b := getObject[*konductorv1.Barrier](w, "job"); b.Status.Phase == konductorv1.BarrierFailed {
		t.Error("the first pod has arrived as failed")
	}
	w.finishPods(job.UID, corev1.PodSucceeded)
	waitFor(w, "job", "open", func(b *konductorv1.Barrier) bool { return b.Status.Phase == konductorv1.BarrierOpen })
}

// TestHeldPodOfJob has the Pods of a Job of another controller wait.
func TestHeldPodOfJob(t *testing.T) {
	w := newTestEnv(t)
	w.startJobOperator()
	w.createSemaphore("db", 1)
	two := int32(2)
	job := heldJob("j", nil)
	*job.Spec.Suspend = false
	job.Spec.Parallelism, job.Spec.Completions = &two, &two
	job.Spec.Template = corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Annotations: holding("semaphore/db")}, Spec: heldPod("", holding("semaphore/db")).Spec}
	w.createObjects(job)
	w.waitUntil("the end of both pods", func() bool {
		for _, pod := range w.jobPods(job.UID) {
			if !isBehindHoldGate(&pod) {
				w.endPod(pod.Name, corev1.PodSucceeded)
			}
		}
		return getObject[*batchv1.Job](w, "j").Status.Succeeded == 2
	})
}

func TestHeldPodPolicies(t *testing.T) {
	w := newTestEnv(t)
	w.createServiceAccount("creator", false)
	w.createClusterRole("e2e-pod-creator",
		rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"pods", "replicationcontrollers"}, Verbs: []string{"create", "get", "patch"}},
		rbacv1.PolicyRule{APIGroups: []string{"apps"}, Resources: []string{"*"}, Verbs: []string{"create", "get", "patch"}},
		rbacv1.PolicyRule{APIGroups: []string{"batch"}, Resources: []string{"*"}, Verbs: []string{"create", "get", "patch"}})
	w.bindRole("e2e-pod-creator", "creator")
	creator, admin := w.clientFor(w.serviceAccountConfig("creator")), w.clientFor(w.adminConfig)
	create := func(obj client.Object) error {
		obj.SetNamespace(w.namespace)
		return creator.Create(w.ctx, obj, client.DryRunAll)
	}
	byAdmin := func(obj client.Object) error {
		obj.SetNamespace(w.namespace)
		return admin.Create(w.ctx, obj, client.DryRunAll)
	}
	labels := map[string]string{"app": "x"}
	selector := &metav1.LabelSelector{MatchLabels: labels}
	templates := func(annotations map[string]string) map[string]client.Object {
		template := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels, Annotations: annotations}, Spec: heldPod("", annotations).Spec}
		template.Spec.RestartPolicy = corev1.RestartPolicyAlways
		job := heldJob("j", nil)
		job.Spec.Template = *template.DeepCopy()
		job.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
		cronJob := w.heldCronJob("c", nil)
		cronJob.Spec.JobTemplate.Spec.Template = job.Spec.Template
		name := metav1.ObjectMeta{Name: "x"}
		return map[string]client.Object{
			"deployment": &appsv1.Deployment{ObjectMeta: name, Spec: appsv1.DeploymentSpec{Selector: selector, Template: template}},
			"replicaset": &appsv1.ReplicaSet{ObjectMeta: name, Spec: appsv1.ReplicaSetSpec{Selector: selector, Template: template}},
			"stateful":   &appsv1.StatefulSet{ObjectMeta: name, Spec: appsv1.StatefulSetSpec{Selector: selector, Template: template, ServiceName: "x"}},
			"daemonset":  &appsv1.DaemonSet{ObjectMeta: name, Spec: appsv1.DaemonSetSpec{Selector: selector, Template: template}},
			"rc":         &corev1.ReplicationController{ObjectMeta: name, Spec: corev1.ReplicationControllerSpec{Selector: labels, Template: &template}},
			"job":        job, "cronjob": cronJob,
		}
	}
	const noClaims = "needs the right to create claims.konductor.io"
	w.mustBeDenied("a pod that holds", create(heldPod("p", holding("lease/report"))), noClaims)
	w.mustBeDenied("a pod that arrives", create(heldPod("p", map[string]string{konductorv1.ArriveAnnotation: "barrier/done"})), "needs the right to create arrivals.konductor.io")
	for what, obj := range templates(holding("lease/report")) {
		w.mustBeDenied(what, create(obj), noClaims)
	}
	for what, obj := range templates(holding("lease/report")) {
		if err := byAdmin(obj); err != nil {
			t.Errorf("%s by an administrator: %v", what, err)
		}
	}
	for what, obj := range templates(map[string]string{"konductor.io/holds": "lease/report"}) {
		w.mustBeDenied(what+" with a misspelled annotation", byAdmin(obj), "of konductor.io/, write only after, hold")
	}
	for what, obj := range templates(nil) {
		if err := create(obj); err != nil {
			t.Errorf("%s without annotations: %v", what, err)
		}
	}
	busy := holding("lease/report")
	busy[konductorv1.WhenBusyAnnotation] = konductorv1.WhenBusyReplace
	w.mustBeDenied("replacing", byAdmin(heldPod("p", busy)), "write Wait or Skip")
	onNode := heldPod("p", holding("lease/report"))
	onNode.Spec.NodeName = testNode
	if err := byAdmin(onNode); err == nil {
		t.Error("a held pod with a node is accepted")
	}
	both := heldJob("j", holding("lease/report"))
	both.Spec.Template.Annotations, both.Spec.Template.Spec = holding("lease/report"), heldPod("", holding("lease/report")).Spec
	w.mustBeDenied("a job with annotations on both", byAdmin(both), "write them on the Job, not on the Pod template")
	if sharedCluster.suspendsHeldJobs {
		pod := heldPod("p", holding("lease/report"))
		if w.must(byAdmin(pod)); !isBehindHoldGate(pod) {
			t.Error("the API server has not added the scheduling gate")
		}
	} else {
		pod := heldPod("p", holding("lease/report"))
		pod.Spec.SchedulingGates = nil
		w.mustBeDenied("a pod without the gate", byAdmin(pod), "must contain {name: konductor.io/hold}")
		for what, obj := range templates(nil) {
			switch o := obj.(type) {
			case *appsv1.Deployment:
				o.Spec.Template.Annotations = holding("lease/report")
			case *batchv1.CronJob:
				o.Spec.JobTemplate.Spec.Template.Annotations = holding("lease/report")
			default:
				continue
			}
			w.mustBeDenied(what+" without the gate", byAdmin(obj), "must contain {name: konductor.io/hold}")
		}
	}

	w.createObjects(heldPod("p", holding("lease/report")))
	patch := func(c client.Client, kind types.PatchType, text string) error {
		return c.Patch(w.ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "p"}}, client.RawPatch(kind, []byte(text)))
	}
	const removeGate = `{"spec":{"schedulingGates":[{"$patch":"delete","name":"konductor.io/hold"}]}}`
	w.mustBeDenied("removing the gate", patch(w.client, types.StrategicMergePatchType, removeGate), "the operator removes scheduling gate konductor.io/hold")
	w.mustBeDenied("another hold", patch(w.client, types.MergePatchType, `{"metadata":{"annotations":{"konductor.io/hold":"lease/other"}}}`), "can't be changed")
	w.mustBeDenied("the operator's label", patch(w.client, types.MergePatchType, `{"metadata":{"labels":{"konductor.io/held":"started"}}}`), "are set by konductor's operator")
	w.mustBeDenied("a token", patch(w.client, types.MergePatchType, `{"metadata":{"annotations":{"konductor.io/fencing-token":"7"}}}`), "are set by konductor's operator")
	w.must(patch(w.client, types.MergePatchType, `{"metadata":{"annotations":{"example.com/note":"x"},"labels":{"team":"etl"}}}`))
	status := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"annotations":{"konductor.io/arrive":"barrier/x"}}}`))
	w.mustBeDenied("an annotation by the status", w.client.Status().Patch(w.ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "p"}}, status), "can't be changed")

	// The operator's account, used for what the operator doesn't do.
	op := w.clientFor(w.operatorConfig)
	w.createObjects(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "plain"}, Spec: podTemplateSpec()})
	const spec, metadata = "nothing in the spec of a Pod", "nothing in the metadata of a Pod"
	plain := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "plain"}}
	w.mustBeDenied("a pod without annotations", op.Patch(w.ctx, plain, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"konductor.io/held":"started"}}}`))), "may only change Pods with its annotations")
	w.mustBeDenied("an image", patch(op, types.StrategicMergePatchType, `{"spec":{"containers":[{"name":"main","image":"other"}]}}`), spec)
	w.mustBeDenied("a toleration", patch(op, types.StrategicMergePatchType, `{"spec":{"tolerations":[{"key":"x","operator":"Exists"}]}}`), spec)
	w.mustBeDenied("a node selector", patch(op, types.MergePatchType, `{"spec":{"nodeSelector":{"x":"y"}}}`), spec)
	w.mustBeDenied("a label", patch(op, types.MergePatchType, `{"metadata":{"labels":{"x":"y"}}}`), metadata)
	w.mustBeDenied("an annotation", patch(op, types.MergePatchType, `{"metadata":{"annotations":{"konductor.io/hold":"lease/other"}}}`), metadata)
	w.mustBeDenied("deletion", op.Delete(w.ctx, plain), "forbidden")
	w.must(patch(op, types.StrategicMergePatchType, `{"metadata":{"labels":{"konductor.io/held":"started"},"annotations":{"konductor.io/fencing-token":"7"}},"spec":{"schedulingGates":[{"$patch":"delete","name":"konductor.io/hold"}]}}`))
}

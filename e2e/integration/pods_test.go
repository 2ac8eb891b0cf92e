package integration

import (
	authenticationv1 "k8s.io/api/authentication/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// participantRole is the ClusterRole that the SDK tells people to bind when they lack a right. The chart installs one of
// that name, and this one is no wider.
const participantRole = "konductor-participant"

func participantRules() []rbacv1.PolicyRule {
	group := []string{konductorv1.GroupName}
	return []rbacv1.PolicyRule{
		{APIGroups: group, Resources: []string{"barriers", "gates", "leases", "semaphores"}, Verbs: []string{"get", "list", "watch"}},
		{APIGroups: group, Resources: []string{"arrivals"}, Verbs: []string{"get", "create"}},
		{APIGroups: group, Resources: []string{"claims"}, Verbs: []string{"get", "list", "watch", "create", "patch", "delete"}},
		{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"get"}},
	}
}

// newRole creates a ClusterRole, unless it is there already.
func (w *world) newRole(name string, rules ...rbacv1.PolicyRule) {
	w.Helper()
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}
	if _, err := w.kube.RbacV1().ClusterRoles().Create(w.ctx, role, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		w.Fatal(err)
	}
}

// allow binds a ClusterRole to a ServiceAccount of the test's namespace.
func (w *world) allow(role, account string) {
	w.Helper()
	w.allowIn(w.namespace, role, account)
}

// allowIn does the same for what is in another namespace.
func (w *world) allowIn(namespace, role, account string) {
	w.Helper()
	_, err := w.kube.RbacV1().RoleBindings(namespace).Create(w.ctx, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{GenerateName: role + "-"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: w.namespace, Name: account}},
	}, metav1.CreateOptions{})
	w.ok(err)
}

// serviceAccount creates a ServiceAccount and, if it may take part, binds the participants' role to it.
func (w *world) serviceAccount(name string, mayTakePart bool) {
	w.Helper()
	w.create(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}})
	if mayTakePart {
		w.newRole(participantRole, participantRules()...)
		w.allow(participantRole, name)
	}
}

// worker is the ServiceAccount of a test's Pods. It has the rights of participants.
const worker = "worker"

// withWorkers creates that ServiceAccount.
func (w *world) withWorkers() {
	w.Helper()
	w.serviceAccount(worker, true)
}

func podSpec(account string) corev1.PodSpec {
	return corev1.PodSpec{
		ServiceAccountName: account,
		RestartPolicy:      corev1.RestartPolicyNever,
		Containers:         []corev1.Container{{Name: "main", Image: "none"}},
	}
}

// pod creates a Pod of the workers' account. No node runs it.
func (w *world) pod(name string) *corev1.Pod {
	w.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: podSpec(worker)}
	w.create(pod)
	return pod
}

// in returns the participant that runs in the Pod: it reaches the API server with the token that the kubelet would
// have put there, and with nothing else.
func (w *world) in(pod *corev1.Pod) *actor {
	w.Helper()
	a := w.actorWith(w.podConfig(pod), "")
	a.pod = pod.UID
	return a
}

// podConfig returns how a process in the Pod reaches the API server.
func (w *world) podConfig(pod *corev1.Pod) *rest.Config {
	w.Helper()
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID},
	}}
	token, err := w.kube.CoreV1().ServiceAccounts(w.namespace).CreateToken(w.ctx, pod.Spec.ServiceAccountName, request, metav1.CreateOptions{})
	w.ok(err)
	return w.tokenConfig(token.Status.Token)
}

// accountConfig returns how a process with the ServiceAccount's token, outside of any Pod, reaches the API server.
func (w *world) accountConfig(account string) *rest.Config {
	w.Helper()
	token, err := w.kube.CoreV1().ServiceAccounts(w.namespace).CreateToken(w.ctx, account, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	w.ok(err)
	return w.tokenConfig(token.Status.Token)
}

func (w *world) tokenConfig(token string) *rest.Config {
	c := rest.AnonymousClientConfig(w.config)
	c.BearerToken = token
	return c
}

// podBecomes sets the phase of a Pod, as its kubelet would.
func (w *world) podBecomes(name string, phase corev1.PodPhase) {
	w.Helper()
	pod := get[*corev1.Pod](w, name)
	pod.Status.Phase = phase
	w.ok(w.objects.Status().Update(w.ctx, pod))
}

// podDies deletes a Pod as the eviction of a lost node does in the end.
func (w *world) podDies(name string) {
	w.Helper()
	zero := int64(0)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}}
	w.ok(w.objects.Delete(w.ctx, pod, &client.DeleteOptions{GracePeriodSeconds: &zero}))
}

// job creates a Job that the Job controller leaves alone, so that the test can set its status.
func (w *world) job(name string) *batchv1.Job {
	w.Helper()
	by := "konductor.io/test"
	job := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       batchv1.JobSpec{ManagedBy: &by, Template: corev1.PodTemplateSpec{Spec: podSpec("default")}},
	}
	w.create(job)
	return job
}

// jobBecomes finishes a Job of that name, as the Job controller would.
func (w *world) jobBecomes(name string, condition batchv1.JobConditionType) {
	w.Helper()
	job := get[*batchv1.Job](w, name)
	now := metav1.Now()
	job.Status.StartTime = &now
	before := batchv1.JobSuccessCriteriaMet
	if condition == batchv1.JobFailed {
		before = batchv1.JobFailureTarget
	} else {
		job.Status.CompletionTime = &now
		job.Status.Succeeded = 1
	}
	for _, c := range []batchv1.JobConditionType{before, condition} {
		job.Status.Conditions = append(job.Status.Conditions, batchv1.JobCondition{
			Type: c, Status: corev1.ConditionTrue, Reason: "ForTheTest", LastProbeTime: now, LastTransitionTime: now,
		})
	}
	w.ok(w.objects.Status().Update(w.ctx, job))
}

// deleteJob deletes a Job, and is done when it is gone.
func (w *world) deleteJob(name string) {
	w.Helper()
	job := get[*batchv1.Job](w, name)
	w.ok(w.objects.Delete(w.ctx, job, client.PropagationPolicy(metav1.DeletePropagationBackground)))
	isGone(w, job)
}

// podOf waits for the Pod that the Job controller creates for a Job.
func (w *world) podOf(job string) *corev1.Pod {
	w.Helper()
	stream, err := w.objects.Watch(w.ctx, &corev1.PodList{}, client.InNamespace(w.namespace), client.MatchingLabels{batchv1.JobNameLabel: job})
	w.ok(err)
	defer stream.Stop()
	var found *corev1.Pod
	drain(w.ctx, stream, func(p *corev1.Pod, _ bool) bool { found = p; return true })
	if found == nil {
		w.Fatalf("job %s has no pod", job)
	}
	return found
}

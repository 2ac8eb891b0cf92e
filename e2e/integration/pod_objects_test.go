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

// participantRole is the ClusterRole that the SDK tells users to bind when they lack a right. The chart installs one of that
// name, and this one has no more rights.
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

// createClusterRole creates a ClusterRole, unless it exists.
func (w *testEnv) createClusterRole(name string, rules ...rbacv1.PolicyRule) {
	w.Helper()
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}
	if _, err := w.kube.RbacV1().ClusterRoles().Create(w.ctx, role, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		w.Fatal(err)
	}
}

// bindRole binds a ClusterRole to a ServiceAccount of the test's namespace.
func (w *testEnv) bindRole(role, account string) {
	w.Helper()
	w.bindRoleIn(w.namespace, role, account)
}

// bindRoleIn is bindRole for another namespace.
func (w *testEnv) bindRoleIn(namespace, role, account string) {
	w.Helper()
	_, err := w.kube.RbacV1().RoleBindings(namespace).Create(w.ctx, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{GenerateName: role + "-"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: w.namespace, Name: account}},
	}, metav1.CreateOptions{})
	w.must(err)
}

// createServiceAccount creates a ServiceAccount and, if mayTakePart, binds the participants' role to it.
func (w *testEnv) createServiceAccount(name string, mayTakePart bool) {
	w.Helper()
	w.createObjects(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}})
	if mayTakePart {
		w.createClusterRole(participantRole, participantRules()...)
		w.bindRole(participantRole, name)
	}
}

// workerAccount is the ServiceAccount of a test's Pods. It has the rights of participants.
const workerAccount = "worker"

func (w *testEnv) createWorkerAccount() {
	w.Helper()
	w.createServiceAccount(workerAccount, true)
}

func podSpec(account string) corev1.PodSpec {
	return corev1.PodSpec{
		ServiceAccountName: account,
		RestartPolicy:      corev1.RestartPolicyNever,
		Containers:         []corev1.Container{{Name: "main", Image: "none"}},
	}
}

// createPod creates a Pod of the workers' account. No node runs it.
func (w *testEnv) createPod(name string) *corev1.Pod {
	w.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: podSpec(workerAccount)}
	w.createObjects(pod)
	return pod
}

// newPodParticipant returns the participant that runs in the Pod: it authenticates with the token that the kubelet would have put
// there.
func (w *testEnv) newPodParticipant(pod *corev1.Pod) *testParticipant {
	w.Helper()
	a := w.newParticipantWithConfig(w.podTokenConfig(pod), "")
	a.podUID = pod.UID
	return a
}

// podTokenConfig returns the config of a process in the Pod.
func (w *testEnv) podTokenConfig(pod *corev1.Pod) *rest.Config {
	w.Helper()
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID},
	}}
	token, err := w.kube.CoreV1().ServiceAccounts(w.namespace).CreateToken(w.ctx, pod.Spec.ServiceAccountName, request, metav1.CreateOptions{})
	w.must(err)
	return w.tokenConfig(token.Status.Token)
}

// serviceAccountConfig returns the config of a process outside of any Pod with the ServiceAccount's token.
func (w *testEnv) serviceAccountConfig(account string) *rest.Config {
	w.Helper()
	token, err := w.kube.CoreV1().ServiceAccounts(w.namespace).CreateToken(w.ctx, account, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	w.must(err)
	return w.tokenConfig(token.Status.Token)
}

func (w *testEnv) tokenConfig(token string) *rest.Config {
	c := rest.AnonymousClientConfig(w.adminConfig)
	c.BearerToken = token
	return c
}

// setPodPhase sets the phase of a Pod, as its kubelet would.
func (w *testEnv) setPodPhase(name string, phase corev1.PodPhase) {
	w.Helper()
	pod := getObject[*corev1.Pod](w, name)
	pod.Status.Phase = phase
	w.must(w.client.Status().Update(w.ctx, pod))
}

// killPod deletes a Pod as the eviction of a lost node finally does.
func (w *testEnv) killPod(name string) {
	w.Helper()
	zero := int64(0)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}}
	w.must(w.client.Delete(w.ctx, pod, &client.DeleteOptions{GracePeriodSeconds: &zero}))
}

// createJob creates a Job that the Job controller ignores, so that the test can set its status.
func (w *testEnv) createJob(name string) *batchv1.Job {
	w.Helper()
	by := "konductor.io/test"
	job := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       batchv1.JobSpec{ManagedBy: &by, Template: corev1.PodTemplateSpec{Spec: podSpec("default")}},
	}
	w.createObjects(job)
	return job
}

// finishJob finishes a Job of that name, as the Job controller would.
func (w *testEnv) finishJob(name string, condition batchv1.JobConditionType) {
	w.Helper()
	job := getObject[*batchv1.Job](w, name)
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
	w.must(w.client.Status().Update(w.ctx, job))
}

// deleteJob deletes a Job, and returns when it is gone.
func (w *testEnv) deleteJob(name string) {
	w.Helper()
	job := getObject[*batchv1.Job](w, name)
	w.must(w.client.Delete(w.ctx, job, client.PropagationPolicy(metav1.DeletePropagationBackground)))
	waitGone(w, job)
}

// waitForJobPod waits for the Pod that the Job controller creates for a Job.
func (w *testEnv) waitForJobPod(job string) *corev1.Pod {
	w.Helper()
	stream, err := w.client.Watch(w.ctx, &corev1.PodList{}, client.InNamespace(w.namespace), client.MatchingLabels{batchv1.JobNameLabel: job})
	w.must(err)
	defer stream.Stop()
	var found *corev1.Pod
	consumeWatch(w.ctx, stream, func(p *corev1.Pod, _ bool) bool { found = p; return true })
	if found == nil {
		w.Fatalf("job %s has no pod", job)
	}
	return found
}

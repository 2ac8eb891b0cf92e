package integration

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/cli"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// waitDeadlocked waits until the lease has the condition with a message that contains part.
func waitDeadlocked(w *testEnv, lease, part string) {
	w.Helper()
	waitFor(w, lease, "deadlocked with "+part, func(l *konductorv1.Lease) bool {
		c := meta.FindStatusCondition(l.Status.Conditions, konductorv1.ConditionDeadlocked)
		return c != nil && c.Status == metav1.ConditionTrue && c.Reason == konductorv1.ReasonHoldAndWait && strings.Contains(c.Message, part)
	})
}

// waitNotDeadlocked waits until the lease doesn't have the condition any more.
func waitNotDeadlocked(w *testEnv, lease string) {
	w.Helper()
	waitFor(w, lease, "out of the cycle", func(l *konductorv1.Lease) bool {
		return meta.FindStatusCondition(l.Status.Conditions, konductorv1.ConditionDeadlocked) == nil
	})
}

// createCrossedWaits lets two participants acquire a lease each and then queue for the other's.
func createCrossedWaits(w *testEnv, left, right *testParticipant, a, b *konductorv1.Lease) (waits [2]*future[*konductor.Hold], giveUp context.CancelFunc) {
	w.Helper()
	left.mustAcquire(konductorv1.KindLease, a.Name)
	right.mustAcquire(konductorv1.KindLease, b.Name)
	ctx, cancel := context.WithCancel(w.ctx)
	waits[0] = left.enqueueWithContext(ctx, konductorv1.KindLease, b)
	waits[1] = right.enqueue(konductorv1.KindLease, a)
	return waits, cancel
}

func TestDeadlockOfTwoPods(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	w.createWorkerAccount()
	a, b, bystander := w.createLease("a"), w.createLease("b"), w.createLease("bystander")
	p1, p2 := w.createPod("p1"), w.createPod("p2")
	_, giveUp := createCrossedWaits(w, w.newPodParticipant(p1), w.newPodParticipant(p2), a, b)
	defer giveUp()
	const cycle = "pod/p2 waits for lease/a, held by pod/p1, which waits for lease/b, held by pod/p2"
	waitDeadlocked(w, "a", cycle)
	waitDeadlocked(w, "b", "pod/p1 waits for lease/b, held by pod/p2, which waits for lease/a, held by pod/p1")
	w.awaitEvent("Lease", "a", konductorv1.EventDeadlocked, cycle)
	if e := w.awaitEvent("Pod", "p1", konductorv1.EventDeadlocked, "pod/p1 waits for lease/b"); e.Type != corev1.EventTypeWarning {
		t.Errorf("the event on the pod is of type %s", e.Type)
	}
	// A waiter behind them is not in the cycle, and neither is a lease that another participant holds.
	outside := w.newParticipant("outside")
	outside.mustAcquire(konductorv1.KindLease, bystander.Name)
	outside.enqueue(konductorv1.KindLease, a)

	giveUp()
	waitNotDeadlocked(w, "a")
	waitNotDeadlocked(w, "b")
	w.awaitEvent("Lease", "b", konductorv1.EventDeadlockGone, "no longer in a wait cycle")
	if meta.FindStatusCondition(getObject[*konductorv1.Lease](w, "bystander").Status.Conditions, konductorv1.ConditionDeadlocked) != nil {
		t.Error("a lease outside of the cycle is called deadlocked")
	}
}

func TestDeadlockOfHoldersWithoutPods(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	a, b := w.createLease("a"), w.createLease("b")
	_, giveUp := createCrossedWaits(w, w.newParticipant("ann"), w.newParticipant("bob"), a, b)
	defer giveUp()
	waitDeadlocked(w, "a", "holder/bob waits for lease/a, held by holder/ann, which waits for lease/b, held by holder/bob")
}

func TestDeadlockThroughGate(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	w.createWorkerAccount()
	// Two hold one permit of three each, and each waits for another: the first gets it, and releases both.
	api := w.createSemaphore("api", 4)
	for _, name := range []string{"one", "two"} {
		w.newParticipant(name).mustAcquire(konductorv1.KindSemaphore, api.Name)
	}
	w.newParticipant("outsider").mustAcquire(konductorv1.KindSemaphore, api.Name, konductor.WithPermits(2))
	w.newParticipant("one").enqueue(konductorv1.KindSemaphore, api, konductor.WithPermits(2))

	lock := w.createLease("lock")
	w.createGate("quiet", condition{Type: konductorv1.GateOnLease, Name: lock.Name})
	// The holder acquires the lease before the gate opens, which it does at once when there is no holder.
	holder := w.createPod("holder")
	waitGatePhase(w, "quiet", konductorv1.GateOpen, "1 of 1")
	w.newPodParticipant(holder).mustAcquire(konductorv1.KindLease, lock.Name)
	// The Job keeps the gate from opening before the operator has observed the holder of the lease.
	w.createGate("late", condition{Type: konductorv1.GateOnLease, Name: lock.Name}, jobCondition("never-yet"))
	waitGatePhase(w, "late", konductorv1.GateWaiting, "conditions are met; lease/lock is held by holder")

	spec := podSpec(workerAccount)
	spec.Containers[0].Command = []string{"koncli", "gate", "wait", "late"}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "waiter"}, Spec: spec}
	w.createObjects(pod)
	w.newPodParticipant(pod).startAcquire(konductorv1.KindLease, lock.Name)
	// The Pod runs, according to its status, and then gets the lease: from then on it waits for itself.
	current := getObject[*corev1.Pod](w, "waiter")
	current.Status.Phase = corev1.PodRunning
	current.Status.ContainerStatuses = []corev1.ContainerStatus{{
		Name: "main", Image: "none", ImageID: "none", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}},
	}}
	w.must(w.client.Status().Update(w.ctx, current))
	w.killPod("holder")
	waitDeadlocked(w, lock.Name, "waits for lease/lock, held by pod/waiter, which waits for gate/late")
	waitFor(w, "late", "deadlocked", func(g *konductorv1.Gate) bool {
		return meta.IsStatusConditionTrue(g.Status.Conditions, konductorv1.ConditionDeadlocked) &&
			meta.IsStatusConditionTrue(g.Status.Conditions, konductorv1.ConditionReady)
	})
	if s := getObject[*konductorv1.Semaphore](w, "api"); meta.FindStatusCondition(s.Status.Conditions, konductorv1.ConditionDeadlocked) != nil {
		t.Error("a semaphore that another can free permits of is called deadlocked")
	}
	w.killPod("waiter")
	waitNotDeadlocked(w, lock.Name)
	waitGatePhase(w, "late", konductorv1.GateWaiting, "1 of 2")
}

func TestDeadlockAcrossNamespacesResolved(t *testing.T) {
	w := newTestEnv(t)
	other := w.createNamespace()
	w.startOperator(other)
	for _, n := range []string{w.namespace, other} {
		_, err := w.kube.CoreV1().Namespaces().Patch(w.ctx, n, "application/merge-patch+json",
			[]byte(`{"metadata":{"annotations":{"`+konductorv1.AllowGatesAnnotation+`":"*"}}}`), metav1.PatchOptions{})
		w.must(err)
	}
	w.createGate("here", condition{Type: konductorv1.GateOnGate, Name: "there", Namespace: other})
	there := konductor.NewGate("there", []condition{{Type: konductorv1.GateOnGate, Name: "here", Namespace: w.namespace}})
	there.Namespace = other
	w.createObjects(there)
	marked := func(g *konductorv1.Gate) bool {
		return meta.IsStatusConditionTrue(g.Status.Conditions, konductorv1.ConditionDeadlocked)
	}
	waitFor(w, "here", "deadlocked", marked)
	elsewhere := *w
	elsewhere.namespace = other
	waitFor(&elsewhere, "there", "deadlocked", marked)
	elsewhere.patchSpec(&konductorv1.Gate{ObjectMeta: metav1.ObjectMeta{Name: "there"}}, `{"conditions":[{"type":"Lease","name":"none"}]}`)
	unmarked := func(g *konductorv1.Gate) bool { return !marked(g) }
	waitFor(&elsewhere, "there", "free", unmarked)
	waitFor(w, "here", "free", unmarked)
}

// runInProcess runs a command line with a kubeconfig, as users do.
func (w *testEnv) runInProcess(config *rest.Config, args ...string) (out, errOut string, code int) {
	w.Helper()
	file := filepath.Join(w.TempDir(), "kubeconfig")
	kubeconfig := clientcmdapi.NewConfig()
	kubeconfig.Clusters["it"] = &clientcmdapi.Cluster{Server: config.Host, CertificateAuthorityData: config.CAData, CertificateAuthority: config.CAFile}
	kubeconfig.AuthInfos["me"] = &clientcmdapi.AuthInfo{
		ClientCertificateData: config.CertData, ClientKeyData: config.KeyData, Token: config.BearerToken,
		ClientCertificate: config.CertFile, ClientKey: config.KeyFile,
	}
	kubeconfig.Contexts["here"] = &clientcmdapi.Context{Cluster: "it", AuthInfo: "me", Namespace: w.namespace}
	kubeconfig.CurrentContext = "here"
	w.must(clientcmd.WriteToFile(*kubeconfig, file))
	defer func() { w.must(os.Remove(file)) }()
	var stdout, stderr bytes.Buffer
	code = cli.Run(w.ctx, append(append([]string{"kubectl-konductor"}, args...), "--kubeconfig", file),
		genericiooptions.IOStreams{In: &bytes.Buffer{}, Out: &stdout, ErrOut: &stderr})
	return stdout.String(), stderr.String(), code
}

func TestWhyDeadlock(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	w.createWorkerAccount()
	a, b := w.createLease("a"), w.createLease("b")
	_, giveUp := createCrossedWaits(w, w.newPodParticipant(w.createPod("p1")), w.newPodParticipant(w.createPod("p2")), a, b)
	defer giveUp()
	waitDeadlocked(w, "a", "pod/p2")
	for _, name := range [][]string{
		{"lease/a"}, {"klease/a"}, {"leases.konductor.io/a"}, {"lease", "a"},
	} {
		out, errOut, code := w.runInProcess(w.adminConfig, append([]string{"why"}, name...)...)
		if code != 0 || !strings.HasPrefix(out, "lease/a is in a wait cycle: pod/p2 waits for lease/a, held by pod/p1,") ||
			!strings.Contains(out, "[Deadlock]") || !strings.Contains(out, "kubectl delete pod/p") {
			t.Errorf("why %v: exit code %d\n%s%s", name, code, out, errOut)
		}
	}
	// A waiter behind them is shown the deadlock.
	w.newParticipant("late").enqueue(konductorv1.KindLease, b)
	out, errOut, code := w.runInProcess(w.adminConfig, "why", "lease/b")
	if code != 0 || !strings.Contains(out, "Queue:\n  1. pod/p1 for ") || !strings.Contains(out, "\n  2. late for ") {
		t.Errorf("the queue: exit code %d\n%s%s", code, out, errOut)
	}
	t.Logf("why lease/b:\n%s", out)
	out, _, code = w.runInProcess(w.adminConfig, "why", "pod/p1", "-o", "json")
	if code != 0 || !strings.Contains(out, `"never": true`) || !strings.Contains(out, `"reason": "Deadlock"`) {
		t.Errorf("as JSON: exit code %d\n%s", code, out)
	}
	_, errOut, code = w.runInProcess(w.adminConfig, "why", "lease/none")
	if want := "error: lease/none not found in namespace " + w.namespace + ": see 'kubectl konductor lease list'\n"; code != 2 || errOut != want {
		t.Errorf("of nothing: exit code %d, %q, want %q", code, errOut, want)
	}
	out, _, code = w.runInProcess(w.adminConfig, "graph")
	if code != 0 || !strings.Contains(out, "deadlock: pod/p2 waits for lease/a, held by pod/p1,") || !strings.Contains(out, ", deadlocked") {
		t.Errorf("graph: exit code %d\n%s", code, out)
	}
	t.Logf("graph:\n%s", out)
}

func TestWhyWithLimitedRights(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	const account = "narrow"
	w.createServiceAccount(account, false)
	w.createClusterRole("sees-leases", rbacv1.PolicyRule{APIGroups: []string{konductorv1.GroupName}, Resources: []string{"leases", "claims"}, Verbs: []string{"list"}})
	w.bindRole("sees-leases", account)
	w.createLease("db")
	w.newParticipant("ann").mustAcquire(konductorv1.KindLease, "db")
	config := w.serviceAccountConfig(account)
	deadline := time.Now().Add(waitTimeout)
	for {
		out, errOut, code := w.runInProcess(config, "why", "lease/db")
		if code == 4 && time.Now().Before(deadline) {
			continue // the authorizer hasn't observed the right yet
		}
		if code != 0 || !strings.Contains(out, "is held by ann, which isn't a pod") ||
			!strings.Contains(out, "note: can't list pods in namespace "+w.namespace) {
			t.Errorf("exit code %d\n%s%s", code, out, errOut)
		}
		break
	}
	_, errOut, code := w.runInProcess(config, "why", "gate/g")
	if code != 4 || !strings.Contains(errOut, "may not list gates.konductor.io in namespace "+w.namespace) {
		t.Errorf("of what may not be seen: exit code %d, %q", code, errOut)
	}
}

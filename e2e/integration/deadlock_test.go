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
	"github.com/LogicIQ/konductor/plugins/konductor/cli"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// isDeadlocked waits until the lease carries the condition and that says part.
func isDeadlocked(w *world, lease, part string) {
	w.Helper()
	is(w, lease, "deadlocked with "+part, func(l *konductorv1.Lease) bool {
		c := meta.FindStatusCondition(l.Status.Conditions, konductorv1.ConditionDeadlocked)
		return c != nil && c.Status == metav1.ConditionTrue && c.Reason == konductorv1.ReasonHoldAndWait && strings.Contains(c.Message, part)
	})
}

// isNotDeadlocked waits until the lease doesn't carry the condition any more.
func isNotDeadlocked(w *world, lease string) {
	w.Helper()
	is(w, lease, "out of the circle", func(l *konductorv1.Lease) bool {
		return meta.FindStatusCondition(l.Status.Conditions, konductorv1.ConditionDeadlocked) == nil
	})
}

// crosswise lets two participants acquire a lease each and then queue for the other's.
func crosswise(w *world, left, right *actor, a, b *konductorv1.Lease) (waits [2]*future[*konductor.Hold], giveUp context.CancelFunc) {
	w.Helper()
	left.acquire(konductorv1.KindLease, a.Name)
	right.acquire(konductorv1.KindLease, b.Name)
	ctx, cancel := context.WithCancel(w.ctx)
	waits[0] = left.queueWith(ctx, konductorv1.KindLease, b)
	waits[1] = right.queue(konductorv1.KindLease, a)
	return waits, cancel
}

func TestPodsThatWaitForEachOthersLeasesAreReportedUntilOneGivesUp(t *testing.T) {
	w := newWorld(t)
	w.operator()
	w.withWorkers()
	a, b, bystander := w.lease("a"), w.lease("b"), w.lease("bystander")
	p1, p2 := w.pod("p1"), w.pod("p2")
	_, giveUp := crosswise(w, w.in(p1), w.in(p2), a, b)
	defer giveUp()
	const circle = "pod/p2 waits for lease/a, held by pod/p1, which waits for lease/b, held by pod/p2"
	isDeadlocked(w, "a", circle)
	isDeadlocked(w, "b", "pod/p1 waits for lease/b, held by pod/p2, which waits for lease/a, held by pod/p1")
	w.awaitEvent("Lease", "a", konductorv1.EventDeadlocked, circle)
	if e := w.awaitEvent("Pod", "p1", konductorv1.EventDeadlocked, "pod/p1 waits for lease/b"); e.Type != corev1.EventTypeWarning {
		t.Errorf("the event on the pod is of type %s", e.Type)
	}
	// One who waits behind them is in no circle, and neither is what somebody else holds.
	outside := w.someone("outside")
	outside.acquire(konductorv1.KindLease, bystander.Name)
	outside.queue(konductorv1.KindLease, a)

	giveUp()
	isNotDeadlocked(w, "a")
	isNotDeadlocked(w, "b")
	w.awaitEvent("Lease", "b", konductorv1.EventDeadlockGone, "any more")
	if meta.FindStatusCondition(get[*konductorv1.Lease](w, "bystander").Status.Conditions, konductorv1.ConditionDeadlocked) != nil {
		t.Error("a lease outside of the circle is called deadlocked")
	}
}

func TestHoldersWithoutPodsCanBeDeadlockedToo(t *testing.T) {
	w := newWorld(t)
	w.operator()
	a, b := w.lease("a"), w.lease("b")
	_, giveUp := crosswise(w, w.someone("ann"), w.someone("bob"), a, b)
	defer giveUp()
	isDeadlocked(w, "a", "holder/bob waits for lease/a, held by holder/ann, which waits for lease/b, held by holder/bob")
}

func TestAPodThatWaitsForAGateOnItsOwnLeaseIsReportedAndAFreePermitElsewhereIsNot(t *testing.T) {
	w := newWorld(t)
	w.operator()
	w.withWorkers()
	// Two hold a permit each of three, and each waits for another: who comes first gets it, and gives all back.
	api := w.semaphore("api", 4)
	for _, name := range []string{"one", "two"} {
		w.someone(name).acquire(konductorv1.KindSemaphore, api.Name)
	}
	w.someone("outsider").acquire(konductorv1.KindSemaphore, api.Name, konductor.WithPermits(2))
	w.someone("one").queue(konductorv1.KindSemaphore, api, konductor.WithPermits(2))

	lock := w.lease("lock")
	w.gate("quiet", condition{Type: konductorv1.GateOnLease, Name: lock.Name})
	// One who takes the lease before the gate opens, which with nobody there it does at once.
	holder := w.pod("holder")
	isGate(w, "quiet", konductorv1.GateOpen, "1 of 1")
	w.in(holder).acquire(konductorv1.KindLease, lock.Name)
	// The Job keeps it from opening before the operator has seen the lease taken.
	w.gate("late", condition{Type: konductorv1.GateOnLease, Name: lock.Name}, onJob("never-yet"))
	isGate(w, "late", konductorv1.GateWaiting, "not met: lease/lock is held by holder")

	spec := podSpec(worker)
	spec.Containers[0].Command = []string{"koncli", "gate", "wait", "late"}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "waiter"}, Spec: spec}
	w.create(pod)
	w.in(pod).acquiring(konductorv1.KindLease, lock.Name)
	// It runs, as its kubelet would say, and then gets the lease: from then on it waits for itself.
	current := get[*corev1.Pod](w, "waiter")
	current.Status.Phase = corev1.PodRunning
	current.Status.ContainerStatuses = []corev1.ContainerStatus{{
		Name: "main", Image: "none", ImageID: "none", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}},
	}}
	w.ok(w.objects.Status().Update(w.ctx, current))
	w.podDies("holder")
	isDeadlocked(w, lock.Name, "waits for lease/lock, held by pod/waiter, which waits for gate/late")
	is(w, "late", "deadlocked", func(g *konductorv1.Gate) bool {
		return meta.IsStatusConditionTrue(g.Status.Conditions, konductorv1.ConditionDeadlocked) &&
			meta.IsStatusConditionTrue(g.Status.Conditions, konductorv1.ConditionReady)
	})
	if s := get[*konductorv1.Semaphore](w, "api"); meta.FindStatusCondition(s.Status.Conditions, konductorv1.ConditionDeadlocked) != nil {
		t.Error("a semaphore that another can free permits of is called deadlocked")
	}
	w.podDies("waiter")
	isNotDeadlocked(w, lock.Name)
	isGate(w, "late", konductorv1.GateWaiting, "1 of 2")
}

func TestADeadlockThroughTwoNamespacesIsForgottenInBoth(t *testing.T) {
	w := newWorld(t)
	other := w.newNamespace()
	w.operator(other)
	for _, n := range []string{w.namespace, other} {
		_, err := w.kube.CoreV1().Namespaces().Patch(w.ctx, n, "application/merge-patch+json",
			[]byte(`{"metadata":{"annotations":{"`+konductorv1.AllowGatesAnnotation+`":"*"}}}`), metav1.PatchOptions{})
		w.ok(err)
	}
	w.gate("here", condition{Type: konductorv1.GateOnGate, Name: "there", Namespace: other})
	there := konductor.NewGate("there", []condition{{Type: konductorv1.GateOnGate, Name: "here", Namespace: w.namespace}})
	there.Namespace = other
	w.create(there)
	marked := func(g *konductorv1.Gate) bool {
		return meta.IsStatusConditionTrue(g.Status.Conditions, konductorv1.ConditionDeadlocked)
	}
	is(w, "here", "deadlocked", marked)
	elsewhere := *w
	elsewhere.namespace = other
	is(&elsewhere, "there", "deadlocked", marked)
	elsewhere.patchSpec(&konductorv1.Gate{ObjectMeta: metav1.ObjectMeta{Name: "there"}}, `{"conditions":[{"type":"Lease","name":"none"}]}`)
	unmarked := func(g *konductorv1.Gate) bool { return !marked(g) }
	is(&elsewhere, "there", "free", unmarked)
	is(w, "here", "free", unmarked)
}

// command runs a command line as people do, by a kubeconfig.
func (w *world) command(config *rest.Config, args ...string) (out, errOut string, code int) {
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
	w.ok(clientcmd.WriteToFile(*kubeconfig, file))
	defer func() { w.ok(os.Remove(file)) }()
	var stdout, stderr bytes.Buffer
	code = cli.Run(w.ctx, append(append([]string{"kubectl-konductor"}, args...), "--kubeconfig", file),
		genericiooptions.IOStreams{In: &bytes.Buffer{}, Out: &stdout, ErrOut: &stderr})
	return stdout.String(), stderr.String(), code
}

func TestWhyTellsAPersonTheRootCause(t *testing.T) {
	w := newWorld(t)
	w.operator()
	w.withWorkers()
	a, b := w.lease("a"), w.lease("b")
	_, giveUp := crosswise(w, w.in(w.pod("p1")), w.in(w.pod("p2")), a, b)
	defer giveUp()
	isDeadlocked(w, "a", "pod/p2")
	for _, name := range [][]string{
		{"lease/a"}, {"klease/a"}, {"leases.konductor.io/a"}, {"lease", "a"},
	} {
		out, errOut, code := w.command(w.config, append([]string{"why"}, name...)...)
		if code != 0 || !strings.HasPrefix(out, "lease/a is in a circle: pod/p2 waits for lease/a, held by pod/p1,") ||
			!strings.Contains(out, "[Deadlock]") || !strings.Contains(out, "kubectl delete pod/p") {
			t.Errorf("why %v: exit code %d\n%s%s", name, code, out, errOut)
		}
	}
	// One who waits behind them is told so.
	w.someone("late").queue(konductorv1.KindLease, b)
	out, errOut, code := w.command(w.config, "why", "lease/b")
	if code != 0 || !strings.Contains(out, "Waiting, in this order:\n  1. pod/p1 for ") || !strings.Contains(out, "\n  2. late for ") {
		t.Errorf("the queue: exit code %d\n%s%s", code, out, errOut)
	}
	t.Logf("why lease/b:\n%s", out)
	out, _, code = w.command(w.config, "why", "pod/p1", "-o", "json")
	if code != 0 || !strings.Contains(out, `"never": true`) || !strings.Contains(out, `"reason": "Deadlock"`) {
		t.Errorf("as JSON: exit code %d\n%s", code, out)
	}
	_, errOut, code = w.command(w.config, "why", "lease/none")
	if want := "error: lease/none not found in namespace " + w.namespace + ": see 'kubectl konductor lease list'\n"; code != 2 || errOut != want {
		t.Errorf("of nothing: exit code %d, %q, want %q", code, errOut, want)
	}
	out, _, code = w.command(w.config, "graph")
	if code != 0 || !strings.Contains(out, "deadlock: pod/p2 waits for lease/a, held by pod/p1,") || !strings.Contains(out, ", deadlocked") {
		t.Errorf("graph: exit code %d\n%s", code, out)
	}
	t.Logf("graph:\n%s", out)
}

func TestWhySaysWhatItMayNotSee(t *testing.T) {
	w := newWorld(t)
	w.operator()
	const account = "narrow"
	w.serviceAccount(account, false)
	w.newRole("sees-leases", rbacv1.PolicyRule{APIGroups: []string{konductorv1.GroupName}, Resources: []string{"leases", "claims"}, Verbs: []string{"list"}})
	w.allow("sees-leases", account)
	w.lease("db")
	w.someone("ann").acquire(konductorv1.KindLease, "db")
	config := w.accountConfig(account)
	deadline := time.Now().Add(patience)
	for {
		out, errOut, code := w.command(config, "why", "lease/db")
		if code == 4 && time.Now().Before(deadline) {
			continue // the right has yet to reach the authorizer
		}
		if code != 0 || !strings.Contains(out, "is held by ann, which isn't a pod") ||
			!strings.Contains(out, "note: you may not list pods in namespace "+w.namespace) {
			t.Errorf("exit code %d\n%s%s", code, out, errOut)
		}
		break
	}
	_, errOut, code := w.command(config, "why", "gate/g")
	if code != 4 || !strings.Contains(errOut, "may not list gates.konductor.io in namespace "+w.namespace) {
		t.Errorf("of what may not be seen: exit code %d, %q", code, errOut)
	}
}

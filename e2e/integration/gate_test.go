package integration

import (
	"net/http"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/operator"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

type condition = konductorv1.GateCondition

// gate creates a gate.
func (w *world) gate(name string, conditions ...condition) *konductorv1.Gate {
	w.Helper()
	g := konductor.NewGate(name, conditions)
	w.create(g)
	return g
}

func onJob(name string) condition {
	return condition{Type: konductorv1.GateOnJob, Name: name}
}

// waitGate waits for a gate in the background.
func waitGate(w *world, name string, opts ...konductor.Option) *future[struct{}] {
	w.Helper()
	a := w.someone("waiter")
	return waiting(w, func() error { return a.WaitGate(w.ctx, name, opts...) })
}

// isGate waits until the gate is in that phase, and what it says about its conditions contains part.
func isGate(w *world, name string, phase konductorv1.GatePhase, part string) *konductorv1.Gate {
	w.Helper()
	return is(w, name, string(phase)+" with "+part, func(g *konductorv1.Gate) bool {
		open := meta.FindStatusCondition(g.Status.Conditions, konductorv1.ConditionOpen)
		return g.Status.Phase == phase && open != nil && strings.Contains(open.Message, part)
	})
}

func TestAGateOpensWhenAllItsJobsAreComplete(t *testing.T) {
	w := newWorld(t)
	w.operator()
	w.gate("deps", onJob("a"), onJob("b"))
	waiter := waitGate(w, "deps")
	isGate(w, "deps", konductorv1.GateWaiting, "0 of 2 conditions are met, not met: job/a not found")
	w.job("a")
	w.job("b")
	isGate(w, "deps", konductorv1.GateWaiting, "job/a is not finished")
	w.jobBecomes("a", batchv1.JobComplete)
	isGate(w, "deps", konductorv1.GateWaiting, "1 of 2 conditions are met, not met: job/b is not finished")
	waiter.pending()
	w.jobBecomes("b", batchv1.JobComplete)
	waiter.must()

	// Open is final, whatever becomes of the jobs.
	w.deleteJob("a")
	waitGate(w, "deps", konductor.WithTimeout(0)).must()
}

func TestAGateOpensWithARealJob(t *testing.T) {
	w := newWorld(t)
	w.operator()
	w.gate("deps", onJob("real"))
	w.create(&batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: "real"},
		Spec:       batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: podSpec("default")}},
	})
	waiter := waitGate(w, "deps")
	pod := w.podOf("real")
	isGate(w, "deps", konductorv1.GateWaiting, "job/real is not finished")
	waiter.pending()
	w.podBecomes(pod.Name, corev1.PodSucceeded)
	waiter.must()
}

func TestAGateFailsAtOnceWithItsJobAndRecoversWhenThatIsReplaced(t *testing.T) {
	w := newWorld(t)
	w.operator()
	w.gate("deps", onJob("a"))
	waiter := waitGate(w, "deps")
	w.job("a")
	w.jobBecomes("a", batchv1.JobFailed)
	err := wants[*konductor.FailedError](w, waiter.fails())
	if want := "gate/deps failed: job/a is failed (ForTheTest)"; err.Error() != want {
		t.Errorf("the error is %q, want %q", err, want)
	}
	w.awaitEvent("Gate", "deps", konductorv1.EventFailed, "job/a")

	w.deleteJob("a")
	isGate(w, "deps", konductorv1.GateWaiting, "job/a not found")
	w.awaitEvent("Gate", "deps", konductorv1.EventResumed, "waits again")
	waiter = waitGate(w, "deps")
	w.job("a")
	w.jobBecomes("a", batchv1.JobComplete)
	waiter.must()
}

func TestAGateMayWaitForAJobToFail(t *testing.T) {
	w := newWorld(t)
	w.operator()
	w.gate("alarm", condition{Type: konductorv1.GateOnJob, Name: "a", State: konductorv1.StateFailed})
	waiter := waitGate(w, "alarm")
	w.job("a")
	w.jobBecomes("a", batchv1.JobFailed)
	waiter.must()
}

func TestAConditionOnceMetByAJobStaysMetWhenThatIsDeletedButNotWhenReplaced(t *testing.T) {
	w := newWorld(t)
	w.operator()
	w.gate("deps", onJob("a"), onJob("b"))
	w.job("a")
	w.jobBecomes("a", batchv1.JobComplete)
	isGate(w, "deps", konductorv1.GateWaiting, "1 of 2")
	w.deleteJob("a")
	// Another change makes the gate be looked at again.
	w.job("b")
	isGate(w, "deps", konductorv1.GateWaiting, "1 of 2 conditions are met, not met: job/b is not finished")

	w.job("a")
	isGate(w, "deps", konductorv1.GateWaiting, "0 of 2 conditions are met, not met: job/a is not finished")
	w.jobBecomes("b", batchv1.JobComplete)
	isGate(w, "deps", konductorv1.GateWaiting, "1 of 2")
	w.jobBecomes("a", batchv1.JobComplete)
	waitGate(w, "deps").must()
}

func TestAGateWaitsForBarriersLeasesSemaphoresAndGates(t *testing.T) {
	w := newWorld(t)
	w.operator()
	two := int32(2)
	w.gate("first", onJob("a"))
	barrierOf(w, "stage", 1)
	w.lease("db")
	w.semaphore("api", 3)
	held := w.someone("holder").acquire(konductorv1.KindLease, "db")
	permits := w.someone("holder").acquire(konductorv1.KindSemaphore, "api", konductor.WithPermits(2))
	w.gate("all",
		condition{Type: konductorv1.GateOnBarrier, Name: "stage"},
		condition{Type: konductorv1.GateOnLease, Name: "db"},
		condition{Type: konductorv1.GateOnSemaphore, Name: "api", Value: &two},
		condition{Type: konductorv1.GateOnGate, Name: "first"},
	)
	waiter := waitGate(w, "all")
	isGate(w, "all", konductorv1.GateWaiting, "barrier/stage is waiting")
	arrive(w, "stage", "a")
	isGate(w, "all", konductorv1.GateWaiting, "lease/db is held by holder")
	w.release(held)
	isGate(w, "all", konductorv1.GateWaiting, "semaphore/api has 1 free permits, 2 wanted")
	w.release(permits)
	isGate(w, "all", konductorv1.GateWaiting, "gate/first is waiting")
	waiter.pending()
	w.job("a")
	w.jobBecomes("a", batchv1.JobComplete)
	waiter.must()
}

func TestAGateMayWaitForOtherStatesThanTheUsual(t *testing.T) {
	w := newWorld(t)
	w.operator()
	barrierOf(w, "stage", 2, konductor.TimeOutAfter(time.Second))
	w.lease("db")
	s := w.semaphore("api", 1)
	w.gate("unusual",
		condition{Type: konductorv1.GateOnBarrier, Name: "stage", State: konductorv1.StateTimeout},
		condition{Type: konductorv1.GateOnLease, Name: "db", State: konductorv1.StateHeld},
		condition{Type: konductorv1.GateOnSemaphore, Name: "api", State: konductorv1.StateFull},
	)
	w.someone("a").acquire(konductorv1.KindLease, "db")
	w.someone("a").acquire(konductorv1.KindSemaphore, s.Name)
	waitGate(w, "unusual").must()

	// And one that waits for a barrier to open fails when the barrier has timed out.
	w.gate("hopeless", condition{Type: konductorv1.GateOnBarrier, Name: "stage"})
	err := wants[*konductor.FailedError](w, waitGate(w, "hopeless").fails())
	if want := "gate/hopeless failed: barrier/stage is timed out"; err.Error() != want {
		t.Errorf("the error is %q, want %q", err, want)
	}
}

func TestAGateLooksIntoAnotherNamespaceOnlyWhereThatAllowsIt(t *testing.T) {
	w := newWorld(t)
	other := w.newNamespace()
	w.operator(other)
	w.create(&konductorv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: other, Name: "db"}})
	w.gate("deps", condition{Type: konductorv1.GateOnLease, Name: "db", Namespace: other})
	waiter := waitGate(w, "deps")
	isGate(w, "deps", konductorv1.GateWaiting, "namespace "+other+" doesn't allow it")
	annotate := func(value string) {
		t.Helper()
		_, err := w.kube.CoreV1().Namespaces().Patch(w.ctx, other, "application/merge-patch+json",
			[]byte(`{"metadata":{"annotations":{"`+konductorv1.AllowGatesAnnotation+`":"`+value+`"}}}`), metav1.PatchOptions{})
		w.ok(err)
	}
	annotate("somebody-else")
	// A further gate comes after the change, and so shows that it was not enough.
	w.gate("later", condition{Type: konductorv1.GateOnLease, Name: "db", Namespace: other})
	isGate(w, "later", konductorv1.GateWaiting, "doesn't allow it")
	waiter.pending()
	annotate("somebody-else, " + w.namespace)
	waiter.must()
}

func TestGatesThatWaitForEachOtherAreReported(t *testing.T) {
	w := newWorld(t)
	w.operator()
	on := func(name string) condition { return condition{Type: konductorv1.GateOnGate, Name: name} }
	w.gate("a", on("b"))
	w.gate("b", on("c"))
	w.gate("c", on("a"))
	w.gate("bystander", on("a"))
	const circle = "these gates wait for each other and can never open: a -> b -> c -> a"
	is(w, "a", "in a circle", func(g *konductorv1.Gate) bool {
		ready := meta.FindStatusCondition(g.Status.Conditions, konductorv1.ConditionReady)
		return ready != nil && ready.Status == metav1.ConditionFalse && ready.Reason == konductorv1.ReasonCycle && ready.Message == circle
	})
	w.awaitEvent("Gate", "a", konductorv1.EventDeadlocked, "a -> b -> c -> a")
	is(w, "c", "deadlocked", func(g *konductorv1.Gate) bool {
		d := meta.FindStatusCondition(g.Status.Conditions, konductorv1.ConditionDeadlocked)
		return d != nil && d.Reason == konductorv1.ReasonCycle && strings.HasSuffix(d.Message, "c -> a -> b -> c")
	})
	if c := meta.FindStatusCondition(get[*konductorv1.Gate](w, "bystander").Status.Conditions, konductorv1.ConditionDeadlocked); c != nil {
		t.Errorf("a gate that only waits for the circle is called deadlocked: %s", c.Message)
	}

	// Broken by hand, the circle is forgotten.
	w.patchSpec(&konductorv1.Gate{ObjectMeta: metav1.ObjectMeta{Name: "b"}}, `{"conditions":[{"type":"Lease","name":"db"}]}`)
	is(w, "a", "out of the circle", func(g *konductorv1.Gate) bool {
		return meta.IsStatusConditionTrue(g.Status.Conditions, konductorv1.ConditionReady) &&
			meta.FindStatusCondition(g.Status.Conditions, konductorv1.ConditionDeadlocked) == nil
	})
	w.awaitEvent("Gate", "a", konductorv1.EventDeadlockGone, "any more")
	w.lease("db")
	for _, name := range []string{"b", "a", "c", "bystander"} {
		waitGate(w, name).must()
	}
}

func TestAGateTimesOutAndWaitsAgainWhenTheTimeoutIsRaised(t *testing.T) {
	w := newWorld(t)
	w.operator()
	g := konductor.NewGate("deps", []condition{onJob("a")}, konductor.TimeOutAfter(time.Second))
	w.create(g)
	err := wants[*konductor.FailedError](w, waitGate(w, "deps").fails())
	if err.Phase != string(konductorv1.GateTimeout) || !strings.Contains(err.Message, "job/a not found") {
		t.Errorf("the error is %v", err)
	}
	w.patchSpec(g, `{"timeout":"1h"}`)
	waiter := waitGate(w, "deps")
	isGate(w, "deps", konductorv1.GateWaiting, "job/a not found")
	w.job("a")
	w.jobBecomes("a", batchv1.JobComplete)
	waiter.must()
}

func TestAGateIsDeletedAfterItsTTLAndItsWaitersWereLetThrough(t *testing.T) {
	w := newWorld(t)
	w.operator()
	w.lease("db")
	waiter := waitGate(w, "deps")
	g := konductor.NewGate("deps", []condition{{Type: konductorv1.GateOnLease, Name: "db"}}, konductor.ExpireAfter(time.Second))
	w.create(g)
	waiter.must()
	isGone(w, g)
}

func TestAJobThatFinishedBeforeTheOperatorStartedCounts(t *testing.T) {
	w := newWorld(t)
	w.gate("deps", onJob("a"))
	w.job("a")
	w.jobBecomes("a", batchv1.JobComplete)
	waiter := waitGate(w, "deps")
	w.operator()
	waiter.must()
}

func TestAStandbyRemembersAJobThatWasCompleteAndIsGoneWhenItBeginsToLead(t *testing.T) {
	w := newWorld(t)
	w.gate("deps", onJob("a"), onJob("b"))
	w.job("a")
	w.job("b")
	now, hour, somebody := metav1.NowMicro(), int32(3600), "somebody"
	leader := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: operator.LeaderElectionID, Namespace: w.namespace},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: &somebody, LeaseDurationSeconds: &hour, AcquireTime: &now, RenewTime: &now},
	}
	leader, err := w.kube.CoordinationV1().Leases(w.namespace).Create(w.ctx, leader, metav1.CreateOptions{})
	w.ok(err)
	health := w.freeAddress()
	w.operatorWith(func(o *operator.Options) {
		o.LeaderElection, o.LeaderElectionNamespace, o.HealthAddress = true, w.namespace, health
		o.Config = w.config // whose leases of the cluster it may write anywhere
	})
	w.await("a standby that has seen everything", func() bool {
		resp, err := http.Get("http://" + health + "/readyz")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	for _, job := range []string{"a", "b"} {
		w.jobBecomes(job, batchv1.JobComplete)
		w.deleteJob(job)
	}
	// A new one that has not been complete stands in the place of the old one.
	w.job("b")
	if phase := get[*konductorv1.Gate](w, "deps").Status.Phase; phase != "" {
		t.Fatalf("the standby has decided already: %s", phase)
	}
	w.ok(w.kube.CoordinationV1().Leases(w.namespace).Delete(w.ctx, leader.Name, metav1.DeleteOptions{}))
	isGate(w, "deps", konductorv1.GateWaiting, "1 of 2 conditions are met, not met: job/b is not finished")
	w.jobBecomes("b", batchv1.JobComplete)
	isGate(w, "deps", konductorv1.GateOpen, "")
}

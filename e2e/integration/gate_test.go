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

func (w *testEnv) createGate(name string, conditions ...condition) *konductorv1.Gate {
	w.Helper()
	g := konductor.NewGate(name, conditions)
	w.createObjects(g)
	return g
}

func jobCondition(name string) condition {
	return condition{Type: konductorv1.GateOnJob, Name: name}
}

// startWaitGate waits for a gate in the background.
func startWaitGate(w *testEnv, name string, opts ...konductor.WaitOption) *future[struct{}] {
	w.Helper()
	a := w.newParticipant("waiter")
	return runAsyncErr(w, func() error { return a.WaitGate(w.ctx, name, opts...) })
}

// waitGatePhase waits until the gate is in that phase, and its message about conditions contains part.
func waitGatePhase(w *testEnv, name string, phase konductorv1.GatePhase, part string) *konductorv1.Gate {
	w.Helper()
	return waitFor(w, name, string(phase)+" with "+part, func(g *konductorv1.Gate) bool {
		open := meta.FindStatusCondition(g.Status.Conditions, konductorv1.ConditionOpen)
		return g.Status.Phase == phase && open != nil && strings.Contains(open.Message, part)
	})
}

func TestGateOnJobs(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	w.createGate("deps", jobCondition("a"), jobCondition("b"))
	waiter := startWaitGate(w, "deps")
	waitGatePhase(w, "deps", konductorv1.GateWaiting, "0 of 2 conditions are met; job/a not found")
	w.createJob("a")
	w.createJob("b")
	waitGatePhase(w, "deps", konductorv1.GateWaiting, "job/a is not finished")
	w.finishJob("a", batchv1.JobComplete)
	waitGatePhase(w, "deps", konductorv1.GateWaiting, "1 of 2 conditions are met; job/b is not finished")
	waiter.mustBePending()
	w.finishJob("b", batchv1.JobComplete)
	waiter.mustSucceed()

	// Open is final, even if the jobs change.
	w.deleteJob("a")
	startWaitGate(w, "deps", konductor.WithTimeout(0)).mustSucceed()
}

func TestGateOnRealJob(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	w.createGate("deps", jobCondition("real"))
	w.createObjects(&batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: "real"},
		Spec:       batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: podSpec("default")}},
	})
	waiter := startWaitGate(w, "deps")
	pod := w.waitForJobPod("real")
	waitGatePhase(w, "deps", konductorv1.GateWaiting, "job/real is not finished")
	waiter.mustBePending()
	w.setPodPhase(pod.Name, corev1.PodSucceeded)
	waiter.mustSucceed()
}

func TestGateFailsWithJobAndRecovers(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	w.createGate("deps", jobCondition("a"))
	waiter := startWaitGate(w, "deps")
	w.createJob("a")
	w.finishJob("a", batchv1.JobFailed)
	err := requireErrorAs[*konductor.FailedError](w, waiter.mustFail())
	if want := "gate/deps failed: job/a is failed (ForTheTest)"; err.Error() != want {
		t.Errorf("the error is %q, want %q", err, want)
	}
	w.awaitEvent("Gate", "deps", konductorv1.EventFailed, "job/a")

	w.deleteJob("a")
	waitGatePhase(w, "deps", konductorv1.GateWaiting, "job/a not found")
	w.awaitEvent("Gate", "deps", konductorv1.EventResumed, "waits again")
	waiter = startWaitGate(w, "deps")
	w.createJob("a")
	w.finishJob("a", batchv1.JobComplete)
	waiter.mustSucceed()
}

func TestGateOnFailedJob(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	w.createGate("alarm", condition{Type: konductorv1.GateOnJob, Name: "a", State: konductorv1.StateFailed})
	waiter := startWaitGate(w, "alarm")
	w.createJob("a")
	w.finishJob("a", batchv1.JobFailed)
	waiter.mustSucceed()
}

func TestGateConditionAfterJobDeletedOrReplaced(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	w.createGate("deps", jobCondition("a"), jobCondition("b"))
	w.createJob("a")
	w.finishJob("a", batchv1.JobComplete)
	waitGatePhase(w, "deps", konductorv1.GateWaiting, "1 of 2")
	w.deleteJob("a")
	// Another change makes the operator reconcile the gate again.
	w.createJob("b")
	waitGatePhase(w, "deps", konductorv1.GateWaiting, "1 of 2 conditions are met; job/b is not finished")

	w.createJob("a")
	waitGatePhase(w, "deps", konductorv1.GateWaiting, "0 of 2 conditions are met; job/a is not finished")
	w.finishJob("b", batchv1.JobComplete)
	waitGatePhase(w, "deps", konductorv1.GateWaiting, "1 of 2")
	w.finishJob("a", batchv1.JobComplete)
	startWaitGate(w, "deps").mustSucceed()
}

func TestGateOnEveryKind(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	two := int32(2)
	w.createGate("first", jobCondition("a"))
	createBarrier(w, "stage", 1)
	w.createLease("db")
	w.createSemaphore("api", 3)
	held := w.newParticipant("holder").mustAcquire(konductorv1.KindLease, "db")
	permits := w.newParticipant("holder").mustAcquire(konductorv1.KindSemaphore, "api", konductor.WithPermits(2))
	w.createGate("all",
		condition{Type: konductorv1.GateOnBarrier, Name: "stage"},
		condition{Type: konductorv1.GateOnLease, Name: "db"},
		condition{Type: konductorv1.GateOnSemaphore, Name: "api", Value: &two},
		condition{Type: konductorv1.GateOnGate, Name: "first"},
	)
	waiter := startWaitGate(w, "all")
	waitGatePhase(w, "all", konductorv1.GateWaiting, "barrier/stage is waiting")
	arriveInOrder(w, "stage", "a")
	waitGatePhase(w, "all", konductorv1.GateWaiting, "lease/db is held by holder")
	w.mustRelease(held)
	waitGatePhase(w, "all", konductorv1.GateWaiting, "semaphore/api has 1 permit free, 2 wanted")
	w.mustRelease(permits)
	waitGatePhase(w, "all", konductorv1.GateWaiting, "gate/first is waiting")
	waiter.mustBePending()
	w.createJob("a")
	w.finishJob("a", batchv1.JobComplete)
	waiter.mustSucceed()
}

func TestGateOnNonDefaultStates(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	createBarrier(w, "stage", 2, konductor.WithTimeoutAfterCreation(time.Second))
	w.createLease("db")
	s := w.createSemaphore("api", 1)
	w.createGate("unusual",
		condition{Type: konductorv1.GateOnBarrier, Name: "stage", State: konductorv1.StateTimeout},
		condition{Type: konductorv1.GateOnLease, Name: "db", State: konductorv1.StateHeld},
		condition{Type: konductorv1.GateOnSemaphore, Name: "api", State: konductorv1.StateFull},
	)
	w.newParticipant("a").mustAcquire(konductorv1.KindLease, "db")
	w.newParticipant("a").mustAcquire(konductorv1.KindSemaphore, s.Name)
	startWaitGate(w, "unusual").mustSucceed()

	// A gate that waits for a barrier to open fails when the barrier has timed out.
	w.createGate("hopeless", condition{Type: konductorv1.GateOnBarrier, Name: "stage"})
	err := requireErrorAs[*konductor.FailedError](w, startWaitGate(w, "hopeless").mustFail())
	if want := "gate/hopeless failed: barrier/stage is timed out"; err.Error() != want {
		t.Errorf("the error is %q, want %q", err, want)
	}
}

func TestGateOnOtherNamespace(t *testing.T) {
	w := newTestEnv(t)
	other := w.createNamespace()
	w.startOperator(other)
	w.createObjects(&konductorv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: other, Name: "db"}})
	w.createGate("deps", condition{Type: konductorv1.GateOnLease, Name: "db", Namespace: other})
	waiter := startWaitGate(w, "deps")
	waitGatePhase(w, "deps", konductorv1.GateWaiting, "namespace "+other+" doesn't allow this gate")
	annotate := func(value string) {
		t.Helper()
		_, err := w.kube.CoreV1().Namespaces().Patch(w.ctx, other, "application/merge-patch+json",
			[]byte(`{"metadata":{"annotations":{"`+konductorv1.AllowGatesAnnotation+`":"`+value+`"}}}`), metav1.PatchOptions{})
		w.must(err)
	}
	annotate("somebody-else")
	// The reconciliation of a later gate shows that the change was not enough.
	w.createGate("later", condition{Type: konductorv1.GateOnLease, Name: "db", Namespace: other})
	waitGatePhase(w, "later", konductorv1.GateWaiting, "doesn't allow this gate")
	waiter.mustBePending()
	annotate("somebody-else, " + w.namespace)
	waiter.mustSucceed()
}

func TestGateCycle(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	on := func(name string) condition { return condition{Type: konductorv1.GateOnGate, Name: name} }
	w.createGate("a", on("b"))
	w.createGate("b", on("c"))
	w.createGate("c", on("a"))
	w.createGate("bystander", on("a"))
	const cycle = "these gates wait for each other and can never open: a -> b -> c -> a"
	waitFor(w, "a", "in a wait cycle", func(g *konductorv1.Gate) bool {
		ready := meta.FindStatusCondition(g.Status.Conditions, konductorv1.ConditionReady)
		return ready != nil && ready.Status == metav1.ConditionFalse && ready.Reason == konductorv1.ReasonCycle && ready.Message == cycle
	})
	w.awaitEvent("Gate", "a", konductorv1.EventDeadlocked, "a -> b -> c -> a")
	waitFor(w, "c", "deadlocked", func(g *konductorv1.Gate) bool {
		d := meta.FindStatusCondition(g.Status.Conditions, konductorv1.ConditionDeadlocked)
		return d != nil && d.Reason == konductorv1.ReasonCycle && strings.HasSuffix(d.Message, "c -> a -> b -> c")
	})
	if c := meta.FindStatusCondition(getObject[*konductorv1.Gate](w, "bystander").Status.Conditions, konductorv1.ConditionDeadlocked); c != nil {
		t.Errorf("a gate that only waits for the cycle is called deadlocked: %s", c.Message)
	}

	// When the cycle is broken by hand, the condition is cleared.
	w.patchSpec(&konductorv1.Gate{ObjectMeta: metav1.ObjectMeta{Name: "b"}}, `{"conditions":[{"type":"Lease","name":"db"}]}`)
	waitFor(w, "a", "out of the cycle", func(g *konductorv1.Gate) bool {
		return meta.IsStatusConditionTrue(g.Status.Conditions, konductorv1.ConditionReady) &&
			meta.FindStatusCondition(g.Status.Conditions, konductorv1.ConditionDeadlocked) == nil
	})
	w.awaitEvent("Gate", "a", konductorv1.EventDeadlockGone, "no longer in a wait cycle")
	w.createLease("db")
	for _, name := range []string{"b", "a", "c", "bystander"} {
		startWaitGate(w, name).mustSucceed()
	}
}

func TestGateTimeoutRaised(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	g := konductor.NewGate("deps", []condition{jobCondition("a")}, konductor.WithTimeoutAfterCreation(time.Second))
	w.createObjects(g)
	err := requireErrorAs[*konductor.FailedError](w, startWaitGate(w, "deps").mustFail())
	if err.Phase != string(konductorv1.GateTimeout) || !strings.Contains(err.Message, "job/a not found") {
		t.Errorf("the error is %v", err)
	}
	w.patchSpec(g, `{"timeout":"1h"}`)
	waiter := startWaitGate(w, "deps")
	waitGatePhase(w, "deps", konductorv1.GateWaiting, "job/a not found")
	w.createJob("a")
	w.finishJob("a", batchv1.JobComplete)
	waiter.mustSucceed()
}

func TestGateTTL(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	w.createLease("db")
	waiter := startWaitGate(w, "deps")
	g := konductor.NewGate("deps", []condition{{Type: konductorv1.GateOnLease, Name: "db"}}, konductor.WithTTLAfterFinished(time.Second))
	w.createObjects(g)
	waiter.mustSucceed()
	waitGone(w, g)
}

func TestJobFinishedBeforeOperatorStart(t *testing.T) {
	w := newTestEnv(t)
	w.createGate("deps", jobCondition("a"))
	w.createJob("a")
	w.finishJob("a", batchv1.JobComplete)
	waiter := startWaitGate(w, "deps")
	w.startOperator()
	waiter.mustSucceed()
}

func TestStandbyRemembersDeletedJob(t *testing.T) {
	w := newTestEnv(t)
	w.createGate("deps", jobCondition("a"), jobCondition("b"))
	w.createJob("a")
	w.createJob("b")
	now, hour, somebody := metav1.NowMicro(), int32(3600), "somebody"
	leader := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: operator.LeaderElectionID, Namespace: w.namespace},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: &somebody, LeaseDurationSeconds: &hour, AcquireTime: &now, RenewTime: &now},
	}
	leader, err := w.kube.CoordinationV1().Leases(w.namespace).Create(w.ctx, leader, metav1.CreateOptions{})
	w.must(err)
	health := w.freeAddress()
	w.startOperatorWith(func(o *operator.Options) {
		o.LeaderElection, o.LeaderElectionNamespace, o.HealthAddress = true, w.namespace, health
		o.Config = w.adminConfig // which may write the Leases of leader election in any namespace
	})
	w.waitUntil("a standby that has seen everything", func() bool {
		resp, err := http.Get("http://" + health + "/readyz")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	for _, job := range []string{"a", "b"} {
		w.finishJob(job, batchv1.JobComplete)
		w.deleteJob(job)
	}
	// A new Job, which has never been complete, replaces the old one.
	w.createJob("b")
	if phase := getObject[*konductorv1.Gate](w, "deps").Status.Phase; phase != "" {
		t.Fatalf("the standby has decided already: %s", phase)
	}
	w.must(w.kube.CoordinationV1().Leases(w.namespace).Delete(w.ctx, leader.Name, metav1.DeleteOptions{}))
	waitGatePhase(w, "deps", konductorv1.GateWaiting, "1 of 2 conditions are met; job/b is not finished")
	w.finishJob("b", batchv1.JobComplete)
	waitGatePhase(w, "deps", konductorv1.GateOpen, "")
}

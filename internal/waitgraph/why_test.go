package waitgraph_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/rules"
	"github.com/LogicIQ/konductor/internal/waitgraph"
)

// formatPath formats the path to a root cause: objects with the reason at the end.
func formatPath(r *waitgraph.RootCause) string {
	var names []string
	for _, ref := range r.Path {
		names = append(names, ref.String())
	}
	return strings.Join(names, " > ") + ": " + string(r.Reason)
}

// whyCase is a snapshot, an object that is asked about, and what is expected of the Diagnosis.
type whyCase struct {
	setUp    func(*snapshotBuilder)
	object   string
	rootPath string // the path to the first root cause; "" when nothing blocks it
	message  string // part of that cause's message
	never    bool
	command  string // part of the suggested command
}

func TestWhyRootCause(t *testing.T) {
	unbound := func(c *konductorv1.Claim) *konductorv1.Claim { c.Spec.BoundTo = nil; return c }
	tests := map[string]whyCase{
		"through the whole chain: job, gate, job, lease, and a pod that can't be scheduled": {
			setUp: func(s *snapshotBuilder) {
				s.addPod("deploy-1", ownedByJob("deploy"), runningInitContainer("wait", "koncli gate wait ready"), pendingContainer("main", "deploy"))
				s.addJob("deploy")
				s.addGate("ready", conditionOn("Job", "load"))
				s.addJob("load")
				s.addPod("load-1", ownedByJob("load"), runningInitContainer("lock", "koncli lease acquire db"))
				s.addPod("migrate-1", unschedulable("Unschedulable", "0/3 nodes are available: 3 Insufficient cpu."))
				s.addLease("db")
				s.addHolder("migrate-1", "lease/db")
				s.addWaiter("load-1", "lease/db")
			},
			object:   "job/deploy",
			rootPath: "job/deploy > pod/deploy-1 > gate/ready > job/load > pod/load-1 > lease/db > pod/migrate-1: PodUnschedulable",
			message:  "can't be scheduled: 0/3 nodes are available: 3 Insufficient cpu.", command: "kubectl describe pod/migrate-1 -n shop",
		},
		"a held job in the queue": {
			setUp: func(s *snapshotBuilder) {
				s.addJob("load", held(konductorv1.HeldStarted, "hold=lease/db"))
				s.addPod("load-1", ownedByJob("load"), unschedulable("Unschedulable", "no nodes"))
				s.addJob("report", held(konductorv1.HeldWaiting, "hold=lease/db"))
				s.addLease("db")
				s.addHolder("job/load", "lease/db")
				s.addWaiter("job/report", "lease/db")
			},
			object: "job/report", rootPath: "job/report > lease/db > job/load > pod/load-1: PodUnschedulable", command: "kubectl describe pod/load-1",
		},
		"a held job behind a gate": {
			setUp: func(s *snapshotBuilder) {
				s.addJob("report", held(konductorv1.HeldWaiting, "after=gate/ready", "hold=lease/db"))
				s.addLease("db")
				s.addGate("ready", conditionOn("Job", "load"))
				s.addJob("load", withJobCondition(batchv1.JobFailed, "BackoffLimitExceeded"))
			},
			object: "job/report", rootPath: "job/report > gate/ready > job/load: JobFailed", never: true,
		},
		"a held job whose lease does not exist": {
			setUp:  func(s *snapshotBuilder) { s.addJob("report", held(konductorv1.HeldWaiting, "hold=lease/db")) },
			object: "job/report", rootPath: "job/report > lease/db: LeaseMissing",
		},
		"a paused job": {
			setUp: func(s *snapshotBuilder) {
				s.addJob("report", held(konductorv1.HeldPaused, "hold=lease/db", "pause=true"))
			},
			object: "job/report", rootPath: "job/report: JobPaused", command: "kubectl annotate job/report -n shop konductor.io/pause-",
		},
		"a skipped job": {
			setUp:  func(s *snapshotBuilder) { s.addJob("report", held(konductorv1.HeldSkipped, "hold=lease/db")) },
			object: "job/report", rootPath: "job/report: Skipped", never: true,
		},
		"a job with an invalid annotation": {
			setUp:  func(s *snapshotBuilder) { s.addJob("report", held("", "hold=db")) },
			object: "job/report", rootPath: "job/report: AnnotationInvalid", message: "annotation konductor.io/hold", never: true,
		},
		"held jobs that wait for each other": {
			setUp: func(s *snapshotBuilder) {
				s.addLease("db")
				s.addBarrier("loaded", 1)
				s.addJob("a", held(konductorv1.HeldWaiting, "after=barrier/loaded"))
				s.addJob("b", held(konductorv1.HeldWaiting, "hold=lease/db", "arrive=barrier/loaded"))
				s.addJob("c", held(konductorv1.HeldStarted, "hold=lease/db"))
				s.addPod("c-1", ownedByJob("c"), runningContainer("main", "koncli barrier wait loaded"))
				s.addHolder("job/c", "lease/db")
				s.addWaiter("job/b", "lease/db")
			},
			object: "job/b", rootPath: "job/b: Deadlock", message: "pod/c-1", never: true,
		},
		"an open gate":       {setUp: func(s *snapshotBuilder) { s.addGate("g").Status.Phase = konductorv1.GateOpen }, object: "gate/g"},
		"a complete job":     {setUp: func(s *snapshotBuilder) { s.addJob("j", withJobCondition(batchv1.JobComplete, "")) }, object: "job/j"},
		"a free lease":       {setUp: func(s *snapshotBuilder) { s.addLease("l") }, object: "lease/l"},
		"a semaphore's room": {setUp: func(s *snapshotBuilder) { s.addSemaphore("s", 2) }, object: "semaphore/s"},
		"a pod at work":      {setUp: func(s *snapshotBuilder) { s.addPod("p", runningContainer("main", "work")) }, object: "pod/p"},
		"a succeeded pod":    {setUp: func(s *snapshotBuilder) { s.addPod("p", withPhase(corev1.PodSucceeded)) }, object: "pod/p"},
		"a holder at work": {
			setUp: func(s *snapshotBuilder) {
				s.addPod("p", runningContainer("main", "work"))
				s.addLease("l")
				s.addHolder("p", "lease/l")
			},
			object:   "lease/l",
			rootPath: "lease/l > pod/p: Running", message: "has been running on node node-1 for 10m; not waiting for anything known", command: "kubectl logs pod/p",
		},
		"a holder who isn't a pod": {
			setUp: func(s *snapshotBuilder) {
				s.addLease("l")
				s.addHolder("ann's laptop", "lease/l")
				s.Leases[0].Status.ExpiresAt = ptr.To(metav1.NewMicroTime(testNow.Add(3 * time.Minute)))
			},
			object: "lease/l", rootPath: "lease/l > holder/ann's laptop: HeldOutside", message: "its hold expires in 3m unless renewed", command: "koncli lease break l -n shop",
		},
		"pods that hold leases crosswise": {
			setUp: func(s *snapshotBuilder) {
				addCrosswiseDeadlock(s)
			},
			object: "lease/a", rootPath: "lease/a: Deadlock", never: true, command: "kubectl delete pod/p",
			message: "pod/p2 waits for lease/a, held by pod/p1, which waits for lease/b, held by pod/p2",
		},
		"what waits behind a deadlock": {
			setUp:  func(s *snapshotBuilder) { addCrosswiseDeadlock(s); s.addWaiter("late", "lease/a") },
			object: "holder/late", rootPath: "holder/late > lease/a: Deadlock", never: true, message: "is in a wait cycle", command: "kubectl delete",
		},
		"gates in a wait cycle": {
			setUp: func(s *snapshotBuilder) {
				s.addGate("a", conditionOn("Gate", "b"))
				s.addGate("b", conditionOn("Gate", "a"))
			},
			object: "gate/a", rootPath: "gate/a: GateCycle", never: true, message: "these gates wait for each other and can never open: a -> b -> a", command: "kubectl edit gates.konductor.io/a",
		},
		"scripts in what may be a cycle": {
			setUp: func(s *snapshotBuilder) {
				s.addPod("p", runningContainer("main", "sh: work; koncli gate wait g; more"))
				s.addLease("l")
				s.addHolder("p", "lease/l")
				s.addGate("g", conditionOn("Lease", "l"))
			},
			object: "gate/g", rootPath: "gate/g > lease/l > pod/p > gate/g: PossibleDeadlock", message: "waits for itself through the objects listed above",
		},
		"a barrier that expects more than the semaphore lets run": {
			setUp: func(s *snapshotBuilder) {
				s.addSemaphore("db", 2)
				s.addBarrier("all", 3)
				for _, name := range []string{"a", "b", "c"} {
					s.addJob(name, withCommand("sh: koncli semaphore acquire db; koncli barrier arrive all --wait"))
				}
			},
			object: "barrier/all", rootPath: "barrier/all: BarrierExceedsSemaphore", never: true,
			message: "waits for 3 participants, and semaphore/db lets only 2 of them run at a time", command: "koncli semaphore resize db --permits 3 -n shop",
		},
		"a barrier that nobody is left to arrive at": {
			setUp: func(s *snapshotBuilder) {
				s.addBarrier("all", 3, "a", "b")
				s.addJob("a", withJobCondition(batchv1.JobComplete, ""))
			},
			object:   "barrier/all",
			rootPath: "barrier/all: NobodyLeftToArrive", never: true, message: "2 of 3 have arrived, and no pod or job is left that could arrive", command: "describe",
		},
		"a barrier whose pods don't tell": {
			setUp: func(s *snapshotBuilder) {
				s.addBarrier("all", 3, "a", "b")
				s.addPod("p", runningContainer("main", "python etl.py"))
			},
			object: "barrier/all", rootPath: "barrier/all: ArrivalsMissing", message: "1 pod with unknown commands may also arrive",
		},
		"a barrier whose last participant crashes": {
			setUp: func(s *snapshotBuilder) {
				s.addBarrier("all", 2, "a")
				s.addPod("b", runningContainer("main", "koncli barrier arrive all"), waitingContainer("CrashLoopBackOff", "back-off"))
			},
			object: "barrier/all", rootPath: "barrier/all > pod/b: ContainerCrashes", message: "crashes repeatedly in its container main",
		},
		"a barrier that failed": {
			setUp:  func(s *snapshotBuilder) { s.addBarrier("b", 2).Status.Phase = konductorv1.BarrierFailed },
			object: "barrier/b", rootPath: "barrier/b: BarrierFailed", never: true,
		},
		"a barrier that timed out": {
			setUp:  func(s *snapshotBuilder) { s.addBarrier("b", 2).Status.Phase = konductorv1.BarrierTimeout },
			object: "barrier/b", rootPath: "barrier/b: BarrierTimedOut", never: true, command: "kubectl edit",
		},
		"a gate on a failed job": {
			setUp: func(s *snapshotBuilder) {
				s.addGate("g", conditionOn("Job", "j")).Status.Phase = konductorv1.GateFailed
				s.addJob("j", withJobCondition(batchv1.JobFailed, "BackoffLimitExceeded"))
			},
			object: "gate/g", rootPath: "gate/g > job/j: JobFailed", never: true, message: "has failed (BackoffLimitExceeded)", command: "kubectl describe job/j",
		},
		"a gate that failed for what is gone": {
			setUp: func(s *snapshotBuilder) {
				s.addGate("g", conditionOn("Job", "j")).Status.Phase = konductorv1.GateFailed
			},
			object: "gate/g", rootPath: "gate/g: GateFailed", never: true,
		},
		"a gate that timed out": {
			setUp: func(s *snapshotBuilder) {
				s.addGate("g", conditionOn("Job", "j")).Status.Phase = konductorv1.GateTimeout
			},
			object: "gate/g", rootPath: "gate/g: GateTimedOut", never: true,
		},
		"a gate on a state that won't come": {
			setUp: func(s *snapshotBuilder) {
				s.addGate("g", konductorv1.GateCondition{Type: "Job", Name: "j", State: konductorv1.StateFailed})
				s.addJob("j", withJobCondition(batchv1.JobComplete, ""))
			},
			object: "gate/g", rootPath: "gate/g > job/j: WrongState", never: true, message: "is complete, but the gate wants state Failed",
		},
		"a gate into a namespace that doesn't allow it": {
			setUp: func(s *snapshotBuilder) {
				c := conditionOn("Job", "j")
				c.Namespace = "other"
				s.addGate("g", c).Status.ConditionStatuses[0].Message = rules.NamespaceDeniedMessage("other")
			},
			object: "gate/g", rootPath: "gate/g > job/j: NamespaceDenied", never: true, command: "kubectl annotate namespace other konductor.io/allow-gates-from=shop",
		},
		"a gate on a job that doesn't exist": {
			setUp:  func(s *snapshotBuilder) { s.addGate("g", conditionOn("Job", "j")) },
			object: "gate/g", rootPath: "gate/g > job/j: JobMissing", message: "does not exist",
		},
		"a gate for more permits than there are": {
			setUp: func(s *snapshotBuilder) {
				s.addSemaphore("s", 2)
				s.addGate("g", konductorv1.GateCondition{Type: "Semaphore", Name: "s", Value: ptr.To[int32](3)})
			},
			object: "gate/g", rootPath: "gate/g > semaphore/s: AsksTooMuch", never: true, message: "has 2 permits, but the gate wants 3",
		},
		"a gate for more free permits than there are at the moment": {
			setUp: func(s *snapshotBuilder) {
				s.addSemaphore("s", 3)
				s.addPod("p", runningContainer("main", "work"))
				s.addHolder("p", "semaphore/s")
				s.addGate("g", konductorv1.GateCondition{Type: "Semaphore", Name: "s", Value: ptr.To[int32](3)})
			},
			object: "gate/g", rootPath: "gate/g > semaphore/s > pod/p: Running",
		},
		"a gate that the operator hasn't told": {
			setUp: func(s *snapshotBuilder) {
				s.addGate("g", conditionOn("Job", "j"))
				s.addJob("j", withJobCondition(batchv1.JobComplete, ""))
			},
			object: "gate/g", rootPath: "gate/g > job/j: OperatorSilent", message: "has been complete for 60s", command: "koncli doctor -n shop",
		},
		"a job that failed": {
			setUp:  func(s *snapshotBuilder) { s.addJob("j", withJobCondition(batchv1.JobFailed, "DeadlineExceeded")) },
			object: "job/j", rootPath: "job/j: JobFailed", never: true,
		},
		"a pod that waits for two things at once": {
			setUp: func(s *snapshotBuilder) {
				s.addPod("p", runningContainer("main", "work"))
				s.addPod("q", runningContainer("main", "work"))
				s.addLease("l")
				s.addHolder("q", "lease/l")
				s.addWaiter("p", "lease/l")
				s.addSemaphore("s", 0)
				s.addWaiter("p", "semaphore/s")
			},
			object: "pod/p", rootPath: "pod/p > semaphore/s: SemaphorePaused",
		},
		"a suspended job": {
			setUp:  func(s *snapshotBuilder) { s.addJob("j", func(j *batchv1.Job) { j.Spec.Suspend = ptr.To(true) }) },
			object: "job/j", rootPath: "job/j: JobSuspended", command: `kubectl patch job/j -n shop -p '{"spec":{"suspend":false}}'`,
		},
		"a job without pods": {setUp: func(s *snapshotBuilder) { s.addJob("j") }, object: "job/j", rootPath: "job/j: JobWithoutPods"},
		"a job between two tries": {
			setUp:  func(s *snapshotBuilder) { s.addJob("j", func(j *batchv1.Job) { j.Status.Failed = 2 }) },
			object: "job/j", rootPath: "job/j: JobBacksOff", message: "2 pods failed",
		},
		"a pod with scheduling gates": {
			setUp:  func(s *snapshotBuilder) { s.addPod("p", unschedulable(corev1.PodReasonSchedulingGated, "")) },
			object: "pod/p", rootPath: "pod/p: PodSchedulingGated",
		},
		"a pod without a node": {setUp: func(s *snapshotBuilder) {
			s.addPod("p", func(p *corev1.Pod) { p.Spec.NodeName, p.Status.Phase = "", corev1.PodPending })
		}, object: "pod/p", rootPath: "pod/p: PodPending"},
		"a pod that starts":    {setUp: func(s *snapshotBuilder) { s.addPod("p", waitingContainer("ContainerCreating", "")) }, object: "pod/p", rootPath: "pod/p: PodStarting"},
		"a pod being deleted":  {setUp: func(s *snapshotBuilder) { s.addPod("p", terminating()) }, object: "pod/p", rootPath: "pod/p: PodTerminating"},
		"a pod on a lost node": {setUp: func(s *snapshotBuilder) { s.addPod("p", withPhase(corev1.PodUnknown)) }, object: "pod/p", rootPath: "pod/p: PodNodeLost"},
		"a pod that failed":    {setUp: func(s *snapshotBuilder) { s.addPod("p", withPhase(corev1.PodFailed)) }, object: "pod/p", rootPath: "pod/p: PodFailed", never: true, command: "kubectl logs"},
		"an image that can't be had": {
			setUp:  func(s *snapshotBuilder) { s.addPod("p", waitingContainer("ImagePullBackOff", "no such host")) },
			object: "pod/p", rootPath: "pod/p: ImagePullFails", message: "can't pull the image busybox of its container main (ImagePullBackOff: no such host)",
		},
		"a container without its secret": {
			setUp: func(s *snapshotBuilder) {
				s.addPod("p", waitingContainer("CreateContainerConfigError", `secret "db" not found`))
			},
			object: "pod/p", rootPath: "pod/p: ContainerMisconfigured", message: `secret "db" not found`,
		},
		"a pod that waits for a gate that doesn't exist": {
			setUp:  func(s *snapshotBuilder) { s.addPod("p", runningInitContainer("wait", "koncli gate wait g")) },
			object: "pod/p", rootPath: "pod/p > gate/g: GateMissing", command: "koncli gate create g",
		},
		"a pod that waits for a barrier that doesn't exist": {
			setUp: func(s *snapshotBuilder) {
				s.addPod("p", runningInitContainer("wait", "koncli barrier arrive b --wait"))
			},
			object: "pod/p", rootPath: "pod/p > barrier/b: BarrierMissing",
		},
		"a pod that acquires a lease that doesn't exist": {
			setUp:  func(s *snapshotBuilder) { s.addPod("p", runningInitContainer("lock", "koncli lease acquire l")) },
			object: "pod/p", rootPath: "pod/p > lease/l: LeaseMissing", command: "koncli lease create l -n shop",
		},
		"a claim on a semaphore that doesn't exist": {
			setUp:  func(s *snapshotBuilder) { s.addWaiter("me", "semaphore/s") },
			object: "semaphore/s", rootPath: "semaphore/s: SemaphoreMissing",
		},
		"a paused semaphore": {
			setUp:  func(s *snapshotBuilder) { s.addSemaphore("s", 0); s.addWaiter("me", "semaphore/s") },
			object: "holder/me", rootPath: "holder/me > semaphore/s: SemaphorePaused", command: "koncli semaphore resize s --permits N",
		},
		"a claim for more permits than there are": {
			setUp:  func(s *snapshotBuilder) { s.addSemaphore("s", 2); s.addWaiter("me", "semaphore/s", 3) },
			object: "holder/me", rootPath: "holder/me > semaphore/s: AsksTooMuch", never: true, message: "has 2 permits, but holder/me asks for 3",
		},
		"a lease that is free for long while somebody waits": {
			setUp:  func(s *snapshotBuilder) { s.addLease("l"); s.addWaiter("me", "lease/l") },
			object: "lease/l", rootPath: "lease/l: OperatorSilent", message: "hasn't granted it to holder/me, which has been waiting for 5m",
		},
		"a lease that no operator has seen": {
			setUp:  func(s *snapshotBuilder) { s.addLease("l").Status = konductorv1.LeaseStatus{} },
			object: "lease/l", rootPath: "lease/l: OperatorSilent", message: "was created 60m ago, but no operator has reconciled it",
		},
		"a gate whose change no operator has seen": {
			setUp:  func(s *snapshotBuilder) { s.addGate("g", conditionOn("Job", "j")).Generation = 2 },
			object: "gate/g", rootPath: "gate/g: OperatorSilent", message: "generation 2",
		},
		"a lease that is about to be granted": {
			setUp: func(s *snapshotBuilder) {
				s.addLease("l")
				s.addWaiter("me", "lease/l").CreationTimestamp = metav1.NewTime(testNow.Add(-time.Second))
			},
			object: "lease/l",
		},
		"permits that are kept for a large claim": {
			setUp: func(s *snapshotBuilder) {
				s.addSemaphore("s", 3)
				s.addPod("p", runningContainer("main", "work"))
				s.addHolder("p", "semaphore/s", 2)
				unbound(s.addWaiter("large", "semaphore/s", 3))
				unbound(s.addWaiter("small", "semaphore/s", 1))
			},
			object: "holder/small", rootPath: "holder/small > semaphore/s > pod/p: Running",
		},
		"a held pod that waits for a gate": {
			setUp: func(s *snapshotBuilder) {
				s.addPod("p", withAnnotation(konductorv1.AfterAnnotation, "gate/g"), withAnnotation(konductorv1.HoldAnnotation, "lease/x"), behindHoldGate)
				s.addGate("g", conditionOn("Job", "j"))
			},
			object: "pod/p", rootPath: "pod/p > gate/g > job/j: JobMissing",
		},
		"a held pod that waits for a lease": {
			setUp: func(s *snapshotBuilder) {
				s.addPod("p", withAnnotation(konductorv1.HoldAnnotation, "lease/x"), behindHoldGate)
			},
			object: "pod/p", rootPath: "pod/p > lease/x: LeaseMissing",
		},
		"a held pod that was skipped": {
			setUp: func(s *snapshotBuilder) {
				s.addPod("p", withAnnotation(konductorv1.HoldAnnotation, "lease/x"), behindHoldGate, func(p *corev1.Pod) {
					p.Labels = map[string]string{konductorv1.HeldLabel: konductorv1.HeldSkipped}
				})
			},
			object: "pod/p", rootPath: "pod/p: Skipped", never: true,
		},
		"a pod behind somebody else's scheduling gate": {
			setUp: func(s *snapshotBuilder) {
				s.addPod("p", func(p *corev1.Pod) {
					p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonSchedulingGated}}
				})
			},
			object: "pod/p", rootPath: "pod/p: PodSchedulingGated",
		},
		"the holder's pod is gone": {
			setUp: func(s *snapshotBuilder) {
				s.addPod("p")
				s.addLease("l")
				s.addHolder("p", "lease/l")
				s.Pods = nil
			},
			object: "lease/l", rootPath: "lease/l > pod/p: PodMissing", message: "is gone",
		},
		"a chain of gates that is very long": {
			setUp: func(s *snapshotBuilder) {
				for i := range 150 {
					s.addGate(fmt.Sprintf("g%d", i), conditionOn("Gate", fmt.Sprintf("g%d", i+1)))
				}
			},
			object: "gate/g0", rootPath: "gate/g0" + gateChainPath(100) + ": NotFollowed", message: "too long to follow further", command: "koncli why gate/g100 -n shop",
		},
		"a gate that waits for a barrier which a finalizer keeps": {
			setUp: func(s *snapshotBuilder) {
				s.addGate("g", conditionOn("Barrier", "b"))
				b := s.addBarrier("b", 2)
				b.DeletionTimestamp, b.Finalizers = ptr.To(metav1.NewTime(testNow.Add(-time.Minute))), []string{"example.com/audit"}
			},
			object: "gate/g", rootPath: "gate/g > barrier/b: Terminating",
			message: "is being deleted (for 60s), and counts as deleted; it still has finalizers: example.com/audit", command: "kubectl describe barriers.konductor.io/b",
		},
		"a lease that is being deleted": {
			setUp: func(s *snapshotBuilder) {
				s.addPod("p")
				s.addLease("l").DeletionTimestamp = ptr.To(metav1.NewTime(testNow.Add(-time.Minute)))
				s.addHolder("p", "lease/l")
			},
			object: "lease/l", rootPath: "lease/l: Terminating", message: "is being deleted (for 60s)",
		},
		"a job of another group with the name of one of kubernetes' own": {
			setUp: func(s *snapshotBuilder) {
				s.addPod("p", ownedByJob("load"), withPhase(corev1.PodPending)).OwnerReferences[0].APIVersion = "batch.volcano.sh/v1alpha1"
				s.addGate("g", conditionOn("Job", "load"))
				s.addJob("load")
			},
			object: "gate/g", rootPath: "gate/g > job/load: JobWithoutPods", message: "has no pod",
		},
		"pods that can't be listed": {
			setUp: func(s *snapshotBuilder) {
				s.addJob("j")
				s.Gaps = []waitgraph.Gap{{Kind: "Pod", Namespace: testNamespace, Message: "can't list pods in namespace shop"}}
			},
			object: "job/j", rootPath: "job/j: Unreadable", message: "can't list pods in namespace shop", command: "kubectl auth can-i list pod -n shop",
		},
	}
	seen := map[waitgraph.Reason]bool{}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := newSnapshotBuilder()
			test.setUp(s)
			d, err := waitgraph.Analyze(&s.Snapshot).Why(mustRef(test.object))
			if err != nil {
				t.Fatal(err)
			}
			visitCauses(d.Chain, func(c *waitgraph.Cause) { seen[c.Reason] = true })
			if !d.Blocked && test.rootPath == "" {
				return
			}
			if len(d.RootCauses) == 0 {
				t.Fatalf("no root cause; chain: %s %s", d.Chain.Reason, d.Chain.Message)
			}
			first := &d.RootCauses[0]
			if diff := cmp.Diff(test.rootPath, formatPath(first)); diff != "" {
				t.Errorf("the root cause (-want +got):\n%s%s", diff, first.Message)
			}
			if !strings.Contains(first.Message, test.message) {
				t.Errorf("it says %q, not %q", first.Message, test.message)
			}
			if !strings.Contains(first.Command, test.command) {
				t.Errorf("the command is %q, not %q", first.Command, test.command)
			}
			if d.Never != test.never {
				t.Errorf("never is %t", d.Never)
			}
		})
	}
	t.Run("each reason is reached by a case", func(t *testing.T) {
		for _, r := range waitgraph.Reasons() {
			if !seen[r] {
				t.Errorf("no case has %s", r)
			}
		}
	})
}

func visitCauses(c *waitgraph.Cause, f func(*waitgraph.Cause)) {
	f(c)
	for _, b := range c.Because {
		visitCauses(b, f)
	}
}

// addCrosswiseDeadlock adds two Pods that hold a lease each and wait for the other's.
func addCrosswiseDeadlock(s *snapshotBuilder) {
	s.addLease("a")
	s.addLease("b")
	s.addPod("p1", runningContainer("main", "work"))
	s.addPod("p2", runningContainer("main", "work"))
	s.addHolder("p1", "lease/a")
	s.addHolder("p2", "lease/b")
	s.addWaiter("p1", "lease/b")
	s.addWaiter("p2", "lease/a")
}

func TestWhyNotFound(t *testing.T) {
	_, err := waitgraph.Analyze(&newSnapshotBuilder().Snapshot).Why(mustRef("lease/none"))
	var missing *waitgraph.NotFoundError
	if !errors.As(err, &missing) || err.Error() != "lease/none not found in namespace shop" {
		t.Errorf("got %v", err)
	}
}

func TestQueueOrder(t *testing.T) {
	s := newSnapshotBuilder()
	s.addPod("p", runningContainer("main", "work"))
	s.addLease("l")
	s.addHolder("p", "lease/l")
	s.addWaiter("second", "lease/l")
	s.addWaiter("third", "lease/l")
	s.addWaiter("first", "lease/l").Spec.Priority = 1
	a := waitgraph.Analyze(&s.Snapshot)
	var got []string
	for _, w := range a.Queue(mustRef("lease/l")) {
		got = append(got, fmt.Sprintf("%d %s", w.Position, w.Holder))
	}
	if diff := cmp.Diff([]string{"1 first", "2 second", "3 third"}, got); diff != "" {
		t.Error(diff)
	}
	h := a.Holders(mustRef("lease/l"))
	if len(h) != 1 || h[0].Process != mustRef("pod/p") || h[0].Node != "node-1" || h[0].Token == 0 || !h[0].Since.Equal(testNow.Add(-5*time.Minute)) {
		t.Errorf("holders: %+v", h)
	}
}

func TestMissingArrivals(t *testing.T) {
	s := newSnapshotBuilder()
	s.addBarrier("parts", 6, "job/indexed/0", "job/sharded/1")
	s.addJob("indexed", withCommand("koncli barrier arrive parts"), func(j *batchv1.Job) {
		j.Spec.CompletionMode = ptr.To(batchv1.IndexedCompletion)
		j.Spec.Completions, j.Spec.Parallelism = ptr.To[int32](4), ptr.To[int32](1)
	})
	s.addPod("indexed-1", ownedByJob("indexed"), withCompletionIndex(1), runningContainer("main", "koncli barrier arrive parts"))
	s.addPod("alone", runningContainer("main", "sh: work && /konductor/koncli barrier arrive parts"))
	s.addPod("done", succeededInitContainer("main", "koncli barrier arrive parts"), runningContainer("rest", "work"))
	s.addPod("renamed", runningContainer("main", "koncli barrier arrive parts --holder me"))
	s.addJob("failed", withCommand("koncli barrier arrive parts"), func(j *batchv1.Job) {
		j.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobFailed, Status: corev1.ConditionTrue}}
	})
	s.addPod("over", runningContainer("main", "koncli barrier arrive parts"), func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed })
	// Only its arrivals show that this one arrives.
	s.addJob("sharded", withCommand("work"), func(j *batchv1.Job) {
		j.Spec.CompletionMode, j.Spec.Completions = ptr.To(batchv1.IndexedCompletion), ptr.To[int32](3)
	})
	s.addPod("sharded-2", ownedByJob("sharded"), withCompletionIndex(2), runningContainer("main", "work"))
	got := waitgraph.Analyze(&s.Snapshot).MissingArrivals(mustRef("barrier/parts"))
	want := &waitgraph.MissingArrivals{Count: 4, Known: []waitgraph.Participant{
		{Name: "job/indexed/1", Count: 1, Process: mustRef("pod/indexed-1")},
		{Name: "job/indexed/…", Count: 2, Process: mustRef("job/indexed")},
		{Name: "job/sharded/2", Count: 1, Process: mustRef("pod/sharded-2")},
		{Name: "job/sharded/…", Count: 1, Process: mustRef("job/sharded")},
		{Name: "pod/alone", Count: 1, Process: mustRef("pod/alone")},
	}, Ended: []waitgraph.Participant{
		{Name: "job/failed", Count: 1, Process: mustRef("job/failed")},
		{Name: "pod/over", Count: 1, Process: mustRef("pod/over")},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestReasonsDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/why.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(doc), "### Reasons\n")
	var got []waitgraph.Reason
	for _, line := range strings.Split(table, "\n") {
		if name, found := strings.CutPrefix(line, "| `"); found {
			name, _, _ = strings.Cut(name, "`")
			got = append(got, waitgraph.Reason(name))
		}
	}
	if diff := cmp.Diff(waitgraph.Reasons(), got); diff != "" {
		t.Errorf("docs/why.md (-want +got):\n%s", diff)
	}
}

// gateChainPath is the path down the first n of a chain of gates.
func gateChainPath(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, " > gate/g%d", i+1)
	}
	return b.String()
}

package waits_test

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

	"github.com/LogicIQ/konductor/apis/rules"
	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/apis/waits"
)

// path writes the way to a root cause: objects with the reason at the end.
func path(r *waits.Root) string {
	var names []string
	for _, ref := range r.Path {
		names = append(names, ref.String())
	}
	return strings.Join(names, " > ") + ": " + string(r.Reason)
}

// whyCase is a scene, an object that somebody asks about, and what the answer begins with.
type whyCase struct {
	set   func(*scene)
	ask   string
	root  string // the path to the first root cause; "" when nothing blocks it
	says  string // part of that cause's message
	never bool
	next  string // part of the command to look further
}

func TestWhyFindsTheRootCause(t *testing.T) {
	unbound := func(c *konductorv1.Claim) *konductorv1.Claim { c.Spec.BoundTo = nil; return c }
	tests := map[string]whyCase{
		"through the whole chain: job, gate, job, lease, and a pod that can't be scheduled": {
			set: func(s *scene) {
				s.pod("deploy-1", of("deploy"), inits("wait", "koncli gate wait ready"), will("main", "deploy"))
				s.job("deploy")
				s.gate("ready", on("Job", "load"))
				s.job("load")
				s.pod("load-1", of("load"), inits("lock", "koncli lease acquire db"))
				s.pod("migrate-1", unscheduled("Unschedulable", "0/3 nodes are available: 3 Insufficient cpu."))
				s.lease("db")
				s.holds("migrate-1", "lease/db")
				s.waits("load-1", "lease/db")
			},
			ask:  "job/deploy",
			root: "job/deploy > pod/deploy-1 > gate/ready > job/load > pod/load-1 > lease/db > pod/migrate-1: PodUnschedulable",
			says: "can't be scheduled: 0/3 nodes are available: 3 Insufficient cpu.", next: "kubectl describe pod/migrate-1 -n shop",
		},
		"an open gate":       {set: func(s *scene) { s.gate("g").Status.Phase = konductorv1.GateOpen }, ask: "gate/g"},
		"a complete job":     {set: func(s *scene) { s.job("j", ended(batchv1.JobComplete, "")) }, ask: "job/j"},
		"a free lease":       {set: func(s *scene) { s.lease("l") }, ask: "lease/l"},
		"a semaphore's room": {set: func(s *scene) { s.semaphore("s", 2) }, ask: "semaphore/s"},
		"a pod at work":      {set: func(s *scene) { s.pod("p", runs("main", "work")) }, ask: "pod/p"},
		"a succeeded pod":    {set: func(s *scene) { s.pod("p", phase(corev1.PodSucceeded)) }, ask: "pod/p"},
		"a holder at work": {
			set:  func(s *scene) { s.pod("p", runs("main", "work")); s.lease("l"); s.holds("p", "lease/l") },
			ask:  "lease/l",
			root: "lease/l > pod/p: Running", says: "runs on node node-1 for 10m, and nothing known holds it up", next: "kubectl logs pod/p",
		},
		"a holder who isn't a pod": {
			set: func(s *scene) {
				s.lease("l")
				s.holds("ann's laptop", "lease/l")
				s.Leases[0].Status.ExpiresAt = ptr.To(metav1.NewMicroTime(noon.Add(3 * time.Minute)))
			},
			ask: "lease/l", root: "lease/l > holder/ann's laptop: HeldOutside", says: "its hold ends in 3m unless it renews", next: "koncli lease break l -n shop",
		},
		"pods that hold leases crosswise": {
			set: func(s *scene) {
				crosswise(s)
			},
			ask: "lease/a", root: "lease/a: Deadlock", never: true, next: "kubectl delete pod/p",
			says: "pod/p2 waits for lease/a, held by pod/p1, which waits for lease/b, held by pod/p2",
		},
		"what waits behind a deadlock": {
			set: func(s *scene) { crosswise(s); s.waits("late", "lease/a") },
			ask: "holder/late", root: "holder/late > lease/a: Deadlock", never: true, says: "is in a circle", next: "kubectl delete",
		},
		"gates in a circle": {
			set: func(s *scene) {
				s.gate("a", on("Gate", "b"))
				s.gate("b", on("Gate", "a"))
			},
			ask: "gate/a", root: "gate/a: GateCycle", never: true, says: "these gates wait for each other and can never open: a -> b -> a", next: "kubectl edit gates.konductor.io/a",
		},
		"scripts in what may be a circle": {
			set: func(s *scene) {
				s.pod("p", runs("main", "sh: work; koncli gate wait g; more"))
				s.lease("l")
				s.holds("p", "lease/l")
				s.gate("g", on("Lease", "l"))
			},
			ask: "gate/g", root: "gate/g > lease/l > pod/p > gate/g: PossibleDeadlock", says: "waits for itself",
		},
		"a barrier that expects more than the semaphore lets run": {
			set: func(s *scene) {
				s.semaphore("db", 2)
				s.barrier("all", 3)
				for _, name := range []string{"a", "b", "c"} {
					s.job(name, does("sh: koncli semaphore acquire db; koncli barrier arrive all --wait"))
				}
			},
			ask: "barrier/all", root: "barrier/all: BarrierExceedsSemaphore", never: true,
			says: "waits for 3 participants, and semaphore/db lets only 2 of them run at a time", next: "koncli semaphore resize db --permits 3 -n shop",
		},
		"a barrier that nobody is left to arrive at": {
			set:  func(s *scene) { s.barrier("all", 3, "a", "b"); s.job("a", ended(batchv1.JobComplete, "")) },
			ask:  "barrier/all",
			root: "barrier/all: NobodyLeftToArrive", never: true, says: "2 of 3 have arrived, and no pod or job is left that could arrive", next: "describe",
		},
		"a barrier whose pods don't tell": {
			set: func(s *scene) { s.barrier("all", 3, "a", "b"); s.pod("p", runs("main", "python etl.py")) },
			ask: "barrier/all", root: "barrier/all: ArrivalsMissing", says: "1 pod run whose commands don't tell",
		},
		"a barrier whose last participant crashes": {
			set: func(s *scene) {
				s.barrier("all", 2, "a")
				s.pod("b", runs("main", "koncli barrier arrive all"), stuck("CrashLoopBackOff", "back-off"))
			},
			ask: "barrier/all", root: "barrier/all > pod/b: ContainerCrashes", says: "crashes again and again in its container main",
		},
		"a barrier that failed": {
			set: func(s *scene) { s.barrier("b", 2).Status.Phase = konductorv1.BarrierFailed },
			ask: "barrier/b", root: "barrier/b: BarrierFailed", never: true,
		},
		"a barrier that timed out": {
			set: func(s *scene) { s.barrier("b", 2).Status.Phase = konductorv1.BarrierTimeout },
			ask: "barrier/b", root: "barrier/b: BarrierTimedOut", never: true, next: "kubectl edit",
		},
		"a gate on a failed job": {
			set: func(s *scene) {
				s.gate("g", on("Job", "j")).Status.Phase = konductorv1.GateFailed
				s.job("j", ended(batchv1.JobFailed, "BackoffLimitExceeded"))
			},
			ask: "gate/g", root: "gate/g > job/j: JobFailed", never: true, says: "has failed (BackoffLimitExceeded)", next: "kubectl describe job/j",
		},
		"a gate that failed for what is gone": {
			set: func(s *scene) { s.gate("g", on("Job", "j")).Status.Phase = konductorv1.GateFailed },
			ask: "gate/g", root: "gate/g: GateFailed", never: true,
		},
		"a gate that timed out": {
			set: func(s *scene) { s.gate("g", on("Job", "j")).Status.Phase = konductorv1.GateTimeout },
			ask: "gate/g", root: "gate/g: GateTimedOut", never: true,
		},
		"a gate on a state that won't come": {
			set: func(s *scene) {
				s.gate("g", konductorv1.GateCondition{Type: "Job", Name: "j", State: konductorv1.StateFailed})
				s.job("j", ended(batchv1.JobComplete, ""))
			},
			ask: "gate/g", root: "gate/g > job/j: WrongState", never: true, says: "is complete, and the gate wants it Failed",
		},
		"a gate into a namespace that doesn't allow it": {
			set: func(s *scene) {
				c := on("Job", "j")
				c.Namespace = "other"
				s.gate("g", c).Status.ConditionStatuses[0].Message = rules.DeniedMessage("other")
			},
			ask: "gate/g", root: "gate/g > job/j: NamespaceDenied", never: true, next: "kubectl annotate namespace other konductor.io/allow-gates-from=shop",
		},
		"a gate on a job that doesn't exist": {
			set: func(s *scene) { s.gate("g", on("Job", "j")) },
			ask: "gate/g", root: "gate/g > job/j: JobMissing", says: "does not exist",
		},
		"a gate for more permits than there are": {
			set: func(s *scene) {
				s.semaphore("s", 2)
				s.gate("g", konductorv1.GateCondition{Type: "Semaphore", Name: "s", Value: ptr.To[int32](3)})
			},
			ask: "gate/g", root: "gate/g > semaphore/s: AsksTooMuch", never: true, says: "has 2 permits, and the gate wants 3",
		},
		"a gate for more free permits than there are at the moment": {
			set: func(s *scene) {
				s.semaphore("s", 3)
				s.pod("p", runs("main", "work"))
				s.holds("p", "semaphore/s")
				s.gate("g", konductorv1.GateCondition{Type: "Semaphore", Name: "s", Value: ptr.To[int32](3)})
			},
			ask: "gate/g", root: "gate/g > semaphore/s > pod/p: Running",
		},
		"a gate that the operator hasn't told": {
			set: func(s *scene) { s.gate("g", on("Job", "j")); s.job("j", ended(batchv1.JobComplete, "")) },
			ask: "gate/g", root: "gate/g > job/j: OperatorSilent", says: "is complete for 60s", next: "koncli doctor -n shop",
		},
		"a job that failed": {
			set: func(s *scene) { s.job("j", ended(batchv1.JobFailed, "DeadlineExceeded")) },
			ask: "job/j", root: "job/j: JobFailed", never: true,
		},
		"a pod that waits for two things at once": {
			set: func(s *scene) {
				s.pod("p", runs("main", "work"))
				s.pod("q", runs("main", "work"))
				s.lease("l")
				s.holds("q", "lease/l")
				s.waits("p", "lease/l")
				s.semaphore("s", 0)
				s.waits("p", "semaphore/s")
			},
			ask: "pod/p", root: "pod/p > semaphore/s: SemaphorePaused",
		},
		"a suspended job": {
			set: func(s *scene) { s.job("j", func(j *batchv1.Job) { j.Spec.Suspend = ptr.To(true) }) },
			ask: "job/j", root: "job/j: JobSuspended", next: `kubectl patch job/j -n shop -p '{"spec":{"suspend":false}}'`,
		},
		"a job without pods": {set: func(s *scene) { s.job("j") }, ask: "job/j", root: "job/j: JobWithoutPods"},
		"a job between two tries": {
			set: func(s *scene) { s.job("j", func(j *batchv1.Job) { j.Status.Failed = 2 }) },
			ask: "job/j", root: "job/j: JobBacksOff", says: "2 pods failed",
		},
		"a pod with scheduling gates": {
			set: func(s *scene) { s.pod("p", unscheduled(corev1.PodReasonSchedulingGated, "")) },
			ask: "pod/p", root: "pod/p: PodSchedulingGated",
		},
		"a pod without a node": {set: func(s *scene) {
			s.pod("p", func(p *corev1.Pod) { p.Spec.NodeName, p.Status.Phase = "", corev1.PodPending })
		}, ask: "pod/p", root: "pod/p: PodPending"},
		"a pod that starts":    {set: func(s *scene) { s.pod("p", stuck("ContainerCreating", "")) }, ask: "pod/p", root: "pod/p: PodStarting"},
		"a pod being deleted":  {set: func(s *scene) { s.pod("p", deleting()) }, ask: "pod/p", root: "pod/p: PodTerminating"},
		"a pod on a lost node": {set: func(s *scene) { s.pod("p", phase(corev1.PodUnknown)) }, ask: "pod/p", root: "pod/p: PodNodeLost"},
		"a pod that failed":    {set: func(s *scene) { s.pod("p", phase(corev1.PodFailed)) }, ask: "pod/p", root: "pod/p: PodFailed", never: true, next: "kubectl logs"},
		"an image that can't be had": {
			set: func(s *scene) { s.pod("p", stuck("ImagePullBackOff", "no such host")) },
			ask: "pod/p", root: "pod/p: ImagePullFails", says: "can't get the image busybox of its container main (ImagePullBackOff: no such host)",
		},
		"a container without its secret": {
			set: func(s *scene) { s.pod("p", stuck("CreateContainerConfigError", `secret "db" not found`)) },
			ask: "pod/p", root: "pod/p: ContainerMisconfigured", says: `secret "db" not found`,
		},
		"a pod that waits for a gate that doesn't exist": {
			set: func(s *scene) { s.pod("p", inits("wait", "koncli gate wait g")) },
			ask: "pod/p", root: "pod/p > gate/g: GateMissing", next: "koncli gate create g",
		},
		"a pod that waits for a barrier that doesn't exist": {
			set: func(s *scene) { s.pod("p", inits("wait", "koncli barrier arrive b --wait")) },
			ask: "pod/p", root: "pod/p > barrier/b: BarrierMissing",
		},
		"a pod that acquires a lease that doesn't exist": {
			set: func(s *scene) { s.pod("p", inits("lock", "koncli lease acquire l")) },
			ask: "pod/p", root: "pod/p > lease/l: LeaseMissing", next: "koncli lease create l -n shop",
		},
		"a claim on a semaphore that doesn't exist": {
			set: func(s *scene) { s.waits("me", "semaphore/s") },
			ask: "semaphore/s", root: "semaphore/s: SemaphoreMissing",
		},
		"a paused semaphore": {
			set: func(s *scene) { s.semaphore("s", 0); s.waits("me", "semaphore/s") },
			ask: "holder/me", root: "holder/me > semaphore/s: SemaphorePaused", next: "koncli semaphore resize s --permits N",
		},
		"a claim for more permits than there are": {
			set: func(s *scene) { s.semaphore("s", 2); s.waits("me", "semaphore/s", 3) },
			ask: "holder/me", root: "holder/me > semaphore/s: AsksTooMuch", never: true, says: "has 2 permits, and holder/me asks for 3",
		},
		"a lease that is free for long while somebody waits": {
			set: func(s *scene) { s.lease("l"); s.waits("me", "lease/l") },
			ask: "lease/l", root: "lease/l: OperatorSilent", says: "hasn't granted it to holder/me, which waits since 5m",
		},
		"a lease that no operator has seen": {
			set: func(s *scene) { s.lease("l").Status = konductorv1.LeaseStatus{} },
			ask: "lease/l", root: "lease/l: OperatorSilent", says: "was created 60m ago, and no operator has looked at it",
		},
		"a gate whose change no operator has seen": {
			set: func(s *scene) { s.gate("g", on("Job", "j")).Generation = 2 },
			ask: "gate/g", root: "gate/g: OperatorSilent", says: "generation 2",
		},
		"a lease that is about to be granted": {
			set: func(s *scene) {
				s.lease("l")
				s.waits("me", "lease/l").CreationTimestamp = metav1.NewTime(noon.Add(-time.Second))
			},
			ask: "lease/l",
		},
		"permits that are kept for a large claim": {
			set: func(s *scene) {
				s.semaphore("s", 3)
				s.pod("p", runs("main", "work"))
				s.holds("p", "semaphore/s", 2)
				unbound(s.waits("large", "semaphore/s", 3))
				unbound(s.waits("small", "semaphore/s", 1))
			},
			ask: "holder/small", root: "holder/small > semaphore/s > pod/p: Running",
		},
		"a pod that an annotation says waits": {
			set: func(s *scene) {
				s.pod("p", runs("main", "program"), annotated(konductorv1.WaitsForAnnotation, "gate/g, lease/x"))
				s.gate("g", on("Job", "j"))
			},
			ask: "pod/p", root: "pod/p > gate/g > job/j: JobMissing",
		},
		"the holder's pod is gone": {
			set: func(s *scene) {
				s.pod("p")
				s.lease("l")
				s.holds("p", "lease/l")
				s.Pods = nil
			},
			ask: "lease/l", root: "lease/l > pod/p: PodMissing", says: "is gone",
		},
		"pods that can't be listed": {
			set: func(s *scene) {
				s.job("j")
				s.Gaps = []waits.Gap{{Kind: "Pod", Namespace: shop, Message: "you may not list pods in namespace shop"}}
			},
			ask: "job/j", root: "job/j: Unreadable", says: "you may not list pods in namespace shop", next: "kubectl auth can-i list pod -n shop",
		},
	}
	seen := map[waits.Reason]bool{}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := newScene()
			test.set(s)
			d, err := waits.Analyze(&s.Snapshot).Why(ref(test.ask))
			if err != nil {
				t.Fatal(err)
			}
			each(d.Chain, func(c *waits.Cause) { seen[c.Reason] = true })
			if !d.Blocked && test.root == "" {
				return
			}
			if len(d.Roots) == 0 {
				t.Fatalf("no root cause; chain: %s %s", d.Chain.Reason, d.Chain.Message)
			}
			first := &d.Roots[0]
			if diff := cmp.Diff(test.root, path(first)); diff != "" {
				t.Errorf("the root cause (-want +got):\n%s%s", diff, first.Message)
			}
			if !strings.Contains(first.Message, test.says) {
				t.Errorf("it says %q, not %q", first.Message, test.says)
			}
			if !strings.Contains(first.Command, test.next) {
				t.Errorf("the command is %q, not %q", first.Command, test.next)
			}
			if d.Never != test.never {
				t.Errorf("never is %t", d.Never)
			}
		})
	}
	t.Run("each reason is reached by a case", func(t *testing.T) {
		for _, r := range waits.Reasons() {
			if !seen[r] {
				t.Errorf("no case has %s", r)
			}
		}
	})
}

func each(c *waits.Cause, f func(*waits.Cause)) {
	f(c)
	for _, b := range c.Because {
		each(b, f)
	}
}

// crosswise has two Pods that hold a lease each and wait for the other's.
func crosswise(s *scene) {
	s.lease("a")
	s.lease("b")
	s.pod("p1", runs("main", "work"))
	s.pod("p2", runs("main", "work"))
	s.holds("p1", "lease/a")
	s.holds("p2", "lease/b")
	s.waits("p1", "lease/b")
	s.waits("p2", "lease/a")
}

func TestWhyKnowsWhatDoesNotExist(t *testing.T) {
	_, err := waits.Analyze(&newScene().Snapshot).Why(ref("lease/none"))
	var missing *waits.NotFoundError
	if !errors.As(err, &missing) || err.Error() != "lease/none not found in namespace shop" {
		t.Errorf("got %v", err)
	}
}

func TestTheQueueIsInTheOperatorsOrder(t *testing.T) {
	s := newScene()
	s.pod("p", runs("main", "work"))
	s.lease("l")
	s.holds("p", "lease/l")
	s.waits("second", "lease/l")
	s.waits("third", "lease/l")
	s.waits("first", "lease/l").Spec.Priority = 1
	a := waits.Analyze(&s.Snapshot)
	var got []string
	for _, w := range a.Queue(ref("lease/l")) {
		got = append(got, fmt.Sprintf("%d %s", w.Place, w.Holder))
	}
	if diff := cmp.Diff([]string{"1 first", "2 second", "3 third"}, got); diff != "" {
		t.Error(diff)
	}
	h := a.Holders(ref("lease/l"))
	if len(h) != 1 || h[0].Process != ref("pod/p") || h[0].Node != "node-1" || h[0].Token == 0 || !h[0].Since.Equal(noon.Add(-5*time.Minute)) {
		t.Errorf("holders: %+v", h)
	}
}

func TestWhoIsMissingAtABarrier(t *testing.T) {
	s := newScene()
	s.barrier("parts", 6, "job/indexed/0", "job/sharded/1")
	s.job("indexed", does("koncli barrier arrive parts"), func(j *batchv1.Job) {
		j.Spec.CompletionMode = ptr.To(batchv1.IndexedCompletion)
		j.Spec.Completions, j.Spec.Parallelism = ptr.To[int32](4), ptr.To[int32](1)
	})
	s.pod("indexed-1", of("indexed"), index(1), runs("main", "koncli barrier arrive parts"))
	s.pod("alone", runs("main", "sh: work && /konductor/koncli barrier arrive parts"))
	s.pod("done", ran("main", "koncli barrier arrive parts"), runs("rest", "work"))
	s.pod("renamed", runs("main", "koncli barrier arrive parts --holder me"))
	s.job("failed", does("koncli barrier arrive parts"), func(j *batchv1.Job) {
		j.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobFailed, Status: corev1.ConditionTrue}}
	})
	s.pod("over", runs("main", "koncli barrier arrive parts"), func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed })
	// Of this one only the arrival tells.
	s.job("sharded", does("work"), func(j *batchv1.Job) {
		j.Spec.CompletionMode, j.Spec.Completions = ptr.To(batchv1.IndexedCompletion), ptr.To[int32](3)
	})
	s.pod("sharded-2", of("sharded"), index(2), runs("main", "work"))
	got := waits.Analyze(&s.Snapshot).Missing(ref("barrier/parts"))
	want := &waits.Missing{Count: 4, Known: []waits.Participant{
		{Name: "job/indexed/1", Count: 1, Process: ref("pod/indexed-1")},
		{Name: "job/indexed/…", Count: 2, Process: ref("job/indexed")},
		{Name: "job/sharded/2", Count: 1, Process: ref("pod/sharded-2")},
		{Name: "job/sharded/…", Count: 1, Process: ref("job/sharded")},
		{Name: "pod/alone", Count: 1, Process: ref("pod/alone")},
	}, Ended: []waits.Participant{
		{Name: "job/failed", Count: 1, Process: ref("job/failed")},
		{Name: "pod/over", Count: 1, Process: ref("pod/over")},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestEachReasonIsDocumentedInItsOrder(t *testing.T) {
	doc, err := os.ReadFile("../../docs/why.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(doc), "### Reasons\n")
	var got []waits.Reason
	for _, line := range strings.Split(table, "\n") {
		if name, found := strings.CutPrefix(line, "| `"); found {
			name, _, _ = strings.Cut(name, "`")
			got = append(got, waits.Reason(name))
		}
	}
	if diff := cmp.Diff(waits.Reasons(), got); diff != "" {
		t.Errorf("docs/why.md (-want +got):\n%s", diff)
	}
}

package waitgraph_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/rules"
	"github.com/LogicIQ/konductor/internal/waitgraph"
)

// simulation runs processes that acquire, arrive, wait and release, each by a program of its own. The real rules decide about
// grants and openings. The wait graph is computed from its snapshots.
type simulation struct {
	*snapshotBuilder
	programs  [][]step
	positions []int
}

// step is what a process does at one point of its program, all of it at the same time; it proceeds when all is done.
type step []string // commands of koncli

func (w *simulation) instant() rules.Instant {
	return rules.Instant{ServerTime: testNow, Monotonic: time.Hour}
}

func podName(i int) string { return fmt.Sprintf("p%d", i) }
func podNumber(pod string) int {
	n := 0
	_, _ = fmt.Sscanf(pod, "p%d", &n)
	return n
}

func jobName(i int) string { return fmt.Sprintf("j%d", i) }

// drawSimulation draws objects and programs. Everything exists, no program asks for more than there is, and each barrier expects
// exactly its participants. So a process can only be blocked because of a wait cycle.
func drawSimulation(t *rapid.T) *simulation {
	w := &simulation{snapshotBuilder: newSnapshotBuilder()}
	var holdable []string
	permits := map[string]int{}
	for i := range rapid.IntRange(1, 3).Draw(t, "leases") {
		name := fmt.Sprintf("l%d", i)
		w.addLease(name)
		holdable = append(holdable, "lease "+name)
		permits["lease "+name] = 1
	}
	for i := range rapid.IntRange(0, 2).Draw(t, "semaphores") {
		name := fmt.Sprintf("s%d", i)
		n := rapid.IntRange(1, 3).Draw(t, "permits")
		w.addSemaphore(name, int32(n))
		holdable = append(holdable, "semaphore "+name)
		permits["semaphore "+name] = n
	}
	processes := rapid.IntRange(2, 5).Draw(t, "processes")
	barriers := rapid.IntRange(0, 2).Draw(t, "barriers")
	gates := rapid.IntRange(0, 3).Draw(t, "gates")
	comers := make([]int, barriers)
	for range processes {
		var program []step
		arrived := map[int]bool{}
		for range rapid.IntRange(1, 4).Draw(t, "steps") {
			var s step
			for range rapid.SampledFrom([]int{1, 1, 1, 2}).Draw(t, "at once") {
				target := rapid.SampledFrom(holdable).Draw(t, "target")
				kind, name, _ := strings.Cut(target, " ")
				command := fmt.Sprintf("koncli %s acquire %s", kind, name)
				switch what := rapid.IntRange(0, 9).Draw(t, "what"); {
				case what <= 5:
					if n := rapid.IntRange(1, permits[target]).Draw(t, "n"); kind == "semaphore" {
						command += fmt.Sprintf(" --permits=%d", n)
					}
				case what == 6:
					command = fmt.Sprintf("koncli %s release %s", kind, name)
				case what == 7 && barriers > 0:
					b := rapid.IntRange(0, barriers-1).Draw(t, "barrier")
					command = fmt.Sprintf("koncli barrier arrive b%d --wait", b)
					if !arrived[b] {
						comers[b]++
					}
					arrived[b] = true
				case gates > 0:
					command = fmt.Sprintf("koncli gate wait g%d", rapid.IntRange(0, gates-1).Draw(t, "gate"))
				}
				if !slices.Contains(s, command) {
					s = append(s, command)
				}
			}
			program = append(program, s)
		}
		w.programs = append(w.programs, program)
	}
	for i, n := range comers {
		if b := w.addBarrier(fmt.Sprintf("b%d", i), int32(max(n, 1))); n == 0 {
			b.Status.Phase = konductorv1.BarrierOpen
		} else {
			quorum := int32(rapid.IntRange(1, n).Draw(t, "quorum"))
			b.Spec.Quorum = &quorum
		}
	}
	for i := range gates {
		w.addGate(fmt.Sprintf("g%d", i), drawConditions(t, holdable, permits, processes, barriers, gates)...)
	}
	for i := range processes {
		w.addJob(jobName(i))
		w.addPod(podName(i), ownedByJob(jobName(i)))
		w.positions = append(w.positions, -1)
	}
	for i := range processes {
		w.startStep(i)
	}
	w.reconcileUntilStable()
	return w
}

func drawConditions(t *rapid.T, holdable []string, permits map[string]int, processes, barriers, gates int) (conditions []konductorv1.GateCondition) {
	for range rapid.IntRange(1, 2).Draw(t, "conditions") {
		switch what := rapid.IntRange(0, 3).Draw(t, "on"); {
		case what == 0:
			conditions = append(conditions, conditionOn("Job", jobName(rapid.IntRange(0, processes-1).Draw(t, "job"))))
		case what == 1 && barriers > 0:
			conditions = append(conditions, conditionOn("Barrier", fmt.Sprintf("b%d", rapid.IntRange(0, barriers-1).Draw(t, "barrier"))))
		case what == 2:
			conditions = append(conditions, conditionOn("Gate", fmt.Sprintf("g%d", rapid.IntRange(0, gates-1).Draw(t, "gate"))))
		default:
			target := rapid.SampledFrom(holdable).Draw(t, "target")
			kind, name, _ := strings.Cut(target, " ")
			c := conditionOn("Lease", name)
			if kind == "semaphore" {
				n := int32(rapid.IntRange(1, permits[target]).Draw(t, "free"))
				c.Type, c.Value = "Semaphore", &n
			}
			conditions = append(conditions, c)
		}
	}
	return conditions
}

// startStep starts the next step of a process: it creates its claims, arrives and releases. At the end its Pod ends.
func (w *simulation) startStep(i int) {
	w.positions[i]++
	pod := w.Pods[i]
	if w.positions[i] == len(w.programs[i]) {
		pod.Status.Phase = corev1.PodSucceeded
		withJobCondition(batchv1.JobComplete, "")(w.Jobs[i])
		w.Claims = slices.DeleteFunc(w.Claims, func(c *konductorv1.Claim) bool { return c.Spec.Holder == pod.Name })
		return
	}
	for _, command := range w.programs[i][w.positions[i]] {
		argv := strings.Fields(command)
		target := argv[1] + "/" + argv[3]
		switch argv[2] {
		case "acquire":
			permits := int32(1)
			if len(argv) > 4 {
				_, _ = fmt.Sscanf(argv[4], "--permits=%d", &permits)
			}
			if w.findClaim(i, target) == nil {
				w.addWaiter(pod.Name, target, permits)
			}
		case "release":
			c := w.findClaim(i, target)
			w.Claims = slices.DeleteFunc(w.Claims, func(other *konductorv1.Claim) bool { return other == c })
		case "arrive":
			participant := "job/" + jobName(i)
			if !slices.ContainsFunc(w.Arrivals, func(a *konductorv1.Arrival) bool {
				return a.Spec.Participant == participant && a.Spec.Barrier == argv[3]
			}) {
				w.Arrivals = append(w.Arrivals, &konductorv1.Arrival{
					ObjectMeta: w.objectMeta("a"), Spec: konductorv1.ArrivalSpec{Barrier: argv[3], Participant: participant},
				})
			}
		}
	}
	w.updateContainers(i)
}

// updateContainers gives the Pod a container for each command: those of earlier steps have terminated, those of later ones have
// yet to start.
func (w *simulation) updateContainers(i int) {
	pod := w.Pods[i]
	pod.Spec, pod.Status.InitContainerStatuses = corev1.PodSpec{}, nil
	for n, s := range w.programs[i] {
		for k, command := range s {
			state := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
			if n < w.positions[i] {
				state = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}
			} else if n > w.positions[i] {
				state = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "PodInitializing"}}
			}
			addContainer(pod, true, fmt.Sprintf("c%d-%d", n, k), strings.Fields(command), state)
		}
	}
}

func (w *simulation) findClaim(i int, target string) *konductorv1.Claim {
	for _, c := range w.Claims {
		if c.Spec.Holder == podName(i) && strings.EqualFold(c.Spec.Target.Kind+"/"+c.Spec.Target.Name, target) {
			return c
		}
	}
	return nil
}

// isStepDone reports whether a process has all that its step waits for.
func (w *simulation) isStepDone(i int) bool {
	if w.positions[i] == len(w.programs[i]) {
		return false // it has ended
	}
	for _, command := range w.programs[i][w.positions[i]] {
		argv := strings.Fields(command)
		switch argv[1] + " " + argv[2] {
		case "barrier arrive":
			for _, b := range w.Barriers {
				if b.Name == argv[3] && b.Status.Phase != konductorv1.BarrierOpen {
					return false
				}
			}
		case "gate wait":
			for _, g := range w.Gates {
				if g.Name == argv[3] && g.Status.Phase != konductorv1.GateOpen {
					return false
				}
			}
		case "lease acquire", "semaphore acquire":
			// A claim may have been released by the same step.
			if c := w.findClaim(i, argv[1]+"/"+argv[3]); c != nil && c.Status.Phase != konductorv1.ClaimGranted {
				return false
			}
		}
	}
	return true
}

// reconcileUntilStable has the rules decide until nothing changes any more.
func (w *simulation) reconcileUntilStable() {
	for changed := true; changed; {
		changed = false
		for _, l := range w.Leases {
			status, act := rules.DecideLease(l, w.newClaimSet(konductorv1.KindLease, l.Name), uint64(w.nextRevision()), w.instant())
			changed = changed || act.Changed
			l.Status = status
			w.notify(act)
		}
		for _, s := range w.Semaphores {
			status, act := rules.DecideSemaphore(s, w.newClaimSet(konductorv1.KindSemaphore, s.Name), uint64(w.nextRevision()), w.instant())
			changed = changed || act.Changed
			s.Status = status
			w.notify(act)
		}
		for _, b := range w.Barriers {
			var arrivals []rules.Arrival
			for _, a := range w.Arrivals {
				if a.Spec.Barrier == b.Name {
					arrivals = append(arrivals, rules.Arrival{Participant: a.Spec.Participant, Created: a.CreationTimestamp.Time})
				}
			}
			d := rules.DecideBarrier(b, arrivals, w.instant())
			changed = changed || d.Changed
			b.Status = d.Status
		}
		for _, g := range w.Gates {
			d := rules.DecideGate(g, w.observations(g), w.instant())
			changed = changed || d.Changed
			g.Status = d.Status
		}
	}
}

func (w *simulation) nextRevision() int { w.revision++; return w.revision }

func (w *simulation) notify(act rules.HoldDecision) {
	for _, h := range act.Notify {
		for _, c := range w.Claims {
			if c.UID == h.ClaimUID {
				c.Status.Phase, c.Status.FencingToken = konductorv1.ClaimGranted, h.FencingToken
			}
		}
	}
}

// newClaimSet returns the claims on an object, with tombstones for the deleted claims of its holders.
func (w *simulation) newClaimSet(kind, name string) *rules.ClaimSet {
	claims := rules.NewClaimSet()
	for _, c := range w.Claims {
		if c.Spec.Target.Kind == kind && c.Spec.Target.Name == name {
			var revision uint64
			_, _ = fmt.Sscan(c.ResourceVersion, &revision)
			claims.Observe(rules.Claim{
				Name: c.Name, UID: c.UID, Holder: c.Spec.Holder, Permits: c.Spec.Permits, Priority: c.Spec.Priority,
				Created: c.CreationTimestamp.Time, CreationRevision: revision, BoundToPod: true, Phase: c.Status.Phase, Token: c.Status.FencingToken,
			}, time.Hour)
		}
	}
	for _, c := range w.deletedClaims(kind, name) {
		claims.ObserveDeletion(c)
	}
	return claims
}

// deletedClaims returns the claims of holders that don't exist any more.
func (w *simulation) deletedClaims(kind, name string) (uids []types.UID) {
	exists := func(uid types.UID) bool {
		return slices.ContainsFunc(w.Claims, func(c *konductorv1.Claim) bool { return c.UID == uid })
	}
	for _, l := range w.Leases {
		if kind == konductorv1.KindLease && l.Name == name && l.Status.ClaimUID != "" && !exists(l.Status.ClaimUID) {
			uids = append(uids, l.Status.ClaimUID)
		}
	}
	for _, s := range w.Semaphores {
		for _, h := range s.Status.Holders {
			if kind == konductorv1.KindSemaphore && s.Name == name && !exists(h.ClaimUID) {
				uids = append(uids, h.ClaimUID)
			}
		}
	}
	return uids
}

// observations returns what the operator would observe of each object that a gate's conditions name.
func (w *simulation) observations(g *konductorv1.Gate) (seen []rules.Observation) {
	for i := range g.Spec.Conditions {
		c := &g.Spec.Conditions[i]
		o := rules.Observation{Found: true, UID: "x", Description: "there"}
		switch c.Type {
		case konductorv1.GateOnJob:
			for k, j := range w.Jobs {
				if j.Name == c.Name && w.positions[k] == len(w.programs[k]) {
					o.State = konductorv1.StateComplete
				}
			}
		case konductorv1.GateOnBarrier:
			for _, b := range w.Barriers {
				if b.Name == c.Name && b.Status.Phase == konductorv1.BarrierOpen {
					o.State = konductorv1.StateOpen
				}
			}
		case konductorv1.GateOnGate:
			for _, other := range w.Gates {
				if other.Name == c.Name && other.Status.Phase == konductorv1.GateOpen {
					o.State = konductorv1.StateOpen
				}
			}
		case konductorv1.GateOnLease:
			for _, l := range w.Leases {
				if l.Name == c.Name {
					o.State = konductorv1.GateState(l.Status.Phase)
				}
			}
		case konductorv1.GateOnSemaphore:
			for _, s := range w.Semaphores {
				if s.Name == c.Name {
					o.FreePermits = s.Status.Available
				}
			}
		}
		seen = append(seen, o)
	}
	return seen
}

// runnable returns the processes that can proceed.
func (w *simulation) runnable() (can []int) {
	for i := range w.programs {
		if w.isStepDone(i) {
			can = append(can, i)
		}
	}
	return can
}

// permanentlyBlocked returns the names of the processes that never proceed by themselves, according to Why: they are in a wait
// cycle, or behind one, or at a barrier that a semaphore keeps from opening.
func (w *simulation) permanentlyBlocked() (names []string) {
	a := waitgraph.Analyze(&w.Snapshot)
	for _, p := range w.Pods {
		if p.Status.Phase == corev1.PodSucceeded {
			continue
		}
		if d, err := a.Why(mustRef("pod/" + p.Name)); err == nil && d.Never {
			names = append(names, p.Name)
		}
	}
	return names
}

// isSequential reports whether all processes do one thing after the other. If they do several at once, their commands don't show
// what they hold while they wait.
func (w *simulation) isSequential() bool {
	return !slices.ContainsFunc(w.programs, func(program []step) bool {
		return slices.ContainsFunc(program, func(s step) bool { return len(s) > 1 })
	})
}

func TestDeadlocksMatchSimulation(t *testing.T) {
	found := 0
	rapid.Check(t, func(t *rapid.T) {
		w := drawSimulation(t)
		// The processes reported as deadlocked, with their positions at that time.
		reported := map[string]int{}
		givenUp := map[string]int{}
		for {
			if w.isSequential() {
				for _, name := range w.permanentlyBlocked() {
					if _, before := givenUp[name]; !before {
						givenUp[name] = w.positions[podNumber(name)]
					}
				}
				for name, at := range givenUp {
					if w.positions[podNumber(name)] != at {
						t.Fatalf("it was said that %s never goes on, and it has\n%s", name, w.describe())
					}
				}
			}
			a := waitgraph.Analyze(&w.Snapshot)
			for i, p := range w.Pods {
				member := slices.ContainsFunc(a.Deadlocks(), func(d *waitgraph.Deadlock) bool { return slices.Contains(d.Members, mustRef("pod/"+p.Name)) })
				at, before := reported[p.Name]
				switch {
				case before && at != w.positions[i]:
					t.Fatalf("%s was called deadlocked and has gone on", p.Name)
				case member:
					reported[p.Name] = w.positions[i]
				}
			}
			can := w.runnable()
			if len(can) == 0 {
				break
			}
			w.startStep(rapid.SampledFrom(can).Draw(t, "next"))
			w.reconcileUntilStable()
		}
		// No process can proceed any more: each that has not ended is blocked, in a wait cycle or behind one.
		var left []string
		for _, p := range w.Pods {
			if p.Status.Phase != corev1.PodSucceeded {
				left = append(left, p.Name)
			}
		}
		if got := w.permanentlyBlocked(); !slices.Equal(left, got) {
			t.Fatalf("stuck are %v, called so are %v\n%s", left, got, w.describe())
		}
		if len(left) > 0 {
			found++
		}
	})
	if found == 0 {
		t.Error("no world was stuck: nothing has been tested")
	}
	t.Logf("%d worlds were stuck in the end", found)
}

// describe returns the positions of all processes, for a failing test.
func (w *simulation) describe() string {
	var b strings.Builder
	for i := range w.programs {
		fmt.Fprintf(&b, "p%d at %d of %q\n", i, w.positions[i], w.programs[i])
	}
	for _, l := range w.Leases {
		fmt.Fprintf(&b, "lease %s: %s %s\n", l.Name, l.Status.Phase, l.Status.Holder)
	}
	for _, s := range w.Semaphores {
		fmt.Fprintf(&b, "semaphore %s: %d of %d in use %+v\n", s.Name, s.Status.InUse, s.Spec.Permits, s.Status.Overtaken)
	}
	for _, g := range w.Gates {
		fmt.Fprintf(&b, "gate %s: %s %+v\n", g.Name, g.Status.Phase, g.Spec.Conditions)
	}
	for _, o := range w.Barriers {
		fmt.Fprintf(&b, "barrier %s: %s %d of %d\n", o.Name, o.Status.Phase, o.Status.Arrived, o.Quorum())
	}
	return b.String()
}

package waits

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/duration"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// Version of the form in which a Diagnosis and a Graph are written as JSON. Fields may be added to it, and reasons.
const Version = "cli.konductor.io/v1"

// Diagnosis says why an object doesn't go on.
type Diagnosis struct {
	// APIVersion is Version, and Kind is Diagnosis.
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	// Object that was asked about.
	Object Ref `json:"object"`
	// Blocked says that something keeps it from going on. An object that is held and does its work isn't.
	Blocked bool `json:"blocked"`
	// Never says that it won't go on by itself, as things stand.
	Never bool `json:"never"`
	// Roots are the ends of the chain, the one that explains most first. At most MaxRoots.
	Roots []Root `json:"rootCauses,omitempty"`
	// Chain says how the object stands, and below it what it waits for, down to the root causes.
	Chain *Cause `json:"chain"`
	// Holders of a Lease or Semaphore, in the order in which they were granted.
	Holders []Holder `json:"holders,omitempty"`
	// Queue of a Lease or Semaphore, in the order in which it is served.
	Queue []Waiter `json:"queue,omitempty"`
	// Missing tells who has yet to arrive at a Barrier that waits.
	Missing *Missing `json:"missing,omitempty"`
	// Gaps are what could not be read, so that the chain may end early.
	Gaps []Gap `json:"gaps,omitempty"`
}

// MaxRoots is how many root causes a Diagnosis has at most.
const MaxRoots = 5

// Root is a root cause.
type Root struct {
	Cause
	// Path leads from the object that was asked about to the cause's.
	Path []Ref `json:"path"`
}

// Cause says how one object in the chain stands.
type Cause struct {
	// Object that this is about.
	Object Ref `json:"object"`
	// Reason in one word.
	Reason Reason `json:"reason"`
	// Message in words, to be read after the object's name: "is held by pod/x".
	Message string `json:"message"`
	// Remedy is what would let it go on.
	Remedy string `json:"remedy,omitempty"`
	// Command looks further, or does what Remedy says. It is meant to be copied.
	Command string `json:"command,omitempty"`
	// Inferred says what this was concluded from, when it isn't certain.
	Inferred string `json:"inferred,omitempty"`
	// Because is what the object waits for.
	Because []*Cause `json:"because,omitempty"`
	// More is how many further objects it waits for that are not in Because.
	More int `json:"more,omitempty"`

	// stuck says that the reduction found it not live: see deadlock.go.
	stuck bool
}

// never reports whether it will not go on by itself, as things stand: because it is stuck, or because something that it
// needs never will. Of the holders of a semaphore one may be enough, and a barrier may not need all that are on their way.
func (c *Cause) never() bool {
	switch {
	case c.stuck || (len(c.Because) == 0 && c.Reason.never()):
		return true
	case c.Reason == ArrivalsMissing:
		return false
	case c.Reason == PermitsInUse || c.Reason == PermitsReserved:
		return len(c.Because) > 0 && c.More == 0 && !slices.ContainsFunc(c.Because, func(b *Cause) bool { return !b.never() })
	default:
		return slices.ContainsFunc(c.Because, (*Cause).never)
	}
}

// maxBranches is how many of the things that an object waits for are looked into: of a hundred holders, those that
// explain most.
const maxBranches = 5

// operatorAnswers is how soon an operator that runs has seen an object, with time to spare.
const operatorAnswers = 5 * time.Second

// NotFoundError says that the snapshot has no such object.
type NotFoundError struct{ Object Ref }

func (e *NotFoundError) Error() string {
	return fmt.Sprintf("%s not found in namespace %s", e.Object, e.Object.Namespace)
}

// Why says why an object doesn't go on. It returns a *NotFoundError when there is none of that name and nothing waits for
// one.
func (a *Analysis) Why(ref Ref) (*Diagnosis, error) {
	if !a.known(ref) {
		return nil, &NotFoundError{ref}
	}
	w := &walk{Analysis: a, onPath: map[Ref]bool{}, told: map[Ref]*Cause{}}
	d := &Diagnosis{
		APIVersion: Version, Kind: "Diagnosis", Object: ref, Chain: w.tell(ref, nil),
		Holders: a.Holders(ref), Queue: a.Queue(ref), Missing: a.Missing(ref), Gaps: a.Gaps,
	}
	d.Roots = roots(d.Chain)
	d.Never = d.Chain.never()
	d.Blocked = !d.Chain.Reason.fine() && d.Chain.Reason != HeldOutside
	return d, nil
}

// known reports whether there is something to say about an object.
func (a *Analysis) known(ref Ref) bool {
	switch ref.Kind {
	case konductorv1.KindGate:
		if a.gates[ref] != nil {
			return true
		}
	case konductorv1.KindBarrier:
		if a.barriers[ref] != nil {
			return true
		}
	case KindJob:
		if a.jobs[ref] != nil {
			return true
		}
	case KindPod, KindHolder:
		if a.byRef[ref] != nil || a.endedPods[ref] != nil {
			return true
		}
	default:
		if r := a.resources[ref]; r != nil {
			return true
		}
	}
	return slices.ContainsFunc(a.processes, func(p *process) bool {
		return slices.ContainsFunc(p.waits, func(w *wait) bool { return w.target == ref })
	})
}

// roots returns the ends of the chain, the most telling first.
func roots(chain *Cause) (found []Root) {
	seen := map[Ref]bool{}
	var search func(c *Cause, path []Ref)
	search = func(c *Cause, path []Ref) {
		path = append(slices.Clone(path), c.Object)
		if len(c.Because) > 0 {
			for _, b := range c.Because {
				search(b, path)
			}
			return
		}
		if !seen[c.Object] && (c.Reason != Open && c.Reason != Available && c.Reason != Complete) {
			seen[c.Object] = true
			found = append(found, Root{Cause: *c, Path: path})
		}
	}
	search(chain, nil)
	slices.SortStableFunc(found, func(x, y Root) int {
		return cmp.Or(cmp.Compare(x.Reason.urgency(), y.Reason.urgency()), cmp.Compare(len(x.Path), len(y.Path)))
	})
	return found[:min(len(found), MaxRoots)]
}

// walk goes down the chain.
type walk struct {
	*Analysis
	onPath map[Ref]bool
	told   map[Ref]*Cause
}

// tell says how an object stands, and why. For a lease or semaphore, it is seen with the eyes of the one that waits for
// it, if any.
func (w *walk) tell(ref Ref, by *wait) *Cause {
	return w.tellOne(ref, by, by != nil && by.process.live)
}

// tellOne does so for one that waits of which it is known whether it is live: a semaphore in a circle may have permits left
// for others.
func (w *walk) tellOne(ref Ref, by *wait, live bool) *Cause {
	if d := w.deadlocked[ref]; d != nil && (!live || ref.Kind != konductorv1.KindSemaphore) {
		return w.deadlock(ref, d)
	}
	if c := w.told[ref]; c != nil && by == nil && !live {
		return c
	}
	if w.onPath[ref] {
		return &Cause{
			Object: ref, Reason: PossibleDeadlock, Message: "waits for itself by way of what is listed above",
			Inferred: "scripts or annotations, which don't tell where they wait just now",
			Remedy:   "if they do wait there: delete one of those in the circle",
		}
	}
	w.onPath[ref] = true
	defer delete(w.onPath, ref)
	c := w.look(ref, by)
	c.Object = ref
	c.stuck = w.stuck(ref)
	c.Because, c.More = mostTelling(c.Because, c.More)
	if by == nil && !live {
		w.told[ref] = c
	}
	return c
}

// stuck reports whether a process, Job, gate or barrier is not live.
func (w *walk) stuck(ref Ref) bool {
	switch ref.Kind {
	case konductorv1.KindGate:
		return w.gates[ref] != nil && !w.gates[ref].live
	case konductorv1.KindBarrier:
		return w.barriers[ref] != nil && !w.barriers[ref].live
	case KindJob:
		return w.jobs[ref] != nil && !w.jobs[ref].live
	case KindPod, KindHolder:
		return w.byRef[ref] != nil && !w.byRef[ref].live
	}
	return false
}

func (w *walk) look(ref Ref, by *wait) *Cause {
	if !w.readable(ref.Kind, ref.Namespace) && !w.present(ref) {
		return w.unreadable(ref)
	}
	switch ref.Kind {
	case konductorv1.KindGate:
		return w.gate(ref)
	case konductorv1.KindBarrier:
		return w.barrier(ref)
	case KindJob:
		return w.job(ref)
	case KindPod, KindHolder:
		return w.process(ref)
	default:
		return w.resource(ref, by)
	}
}

// present reports whether the object itself is in the snapshot.
func (w *walk) present(ref Ref) bool {
	r := w.resources[ref]
	return w.gates[ref] != nil || w.barriers[ref] != nil || w.jobs[ref] != nil || w.byRef[ref] != nil || (r != nil && r.exists())
}

func (w *walk) unreadable(ref Ref) *Cause {
	for _, g := range w.Gaps {
		if g.Kind == ref.Kind && (g.Namespace == "" || g.Namespace == ref.Namespace) {
			return &Cause{Reason: Unreadable, Message: "can't be looked at: " + g.Message, Command: canI(ref)}
		}
	}
	return &Cause{Reason: Unreadable, Message: "can't be looked at: it is in another namespace", Command: canI(ref)}
}

func canI(ref Ref) string {
	return fmt.Sprintf("kubectl auth can-i list %s -n %s", resourceName(ref.Kind), ref.Namespace)
}

// mostTelling keeps the causes that explain most, in front.
func mostTelling(causes []*Cause, more int) ([]*Cause, int) {
	slices.SortStableFunc(causes, func(x, y *Cause) int { return cmp.Compare(x.urgency(), y.urgency()) })
	if len(causes) > maxBranches {
		return causes[:maxBranches:maxBranches], more + len(causes) - maxBranches
	}
	return causes, more
}

// urgency of the most urgent end below.
func (c *Cause) urgency() int {
	if len(c.Because) == 0 {
		return c.Reason.urgency()
	}
	return c.Because[0].urgency()
}

func (w *walk) deadlock(ref Ref, d *Deadlock) *Cause {
	if d.Reason == konductorv1.ReasonCycle {
		return &Cause{
			Object: ref, Reason: GateCycle, Message: "is in a circle: " + d.Message(ref),
			Remedy: "take the condition that closes the circle out of one of these gates", Command: kubectl("edit", ref),
		}
	}
	c := &Cause{Object: ref, Reason: DeadlockFound, Message: "is in a circle: " + d.Message(ref)}
	c.Remedy, c.Command = "one of them must give up", "koncli graph -n "+ref.Namespace
	for _, m := range d.Members {
		if b := w.barriers[m]; b != nil {
			if exceeds := w.exceedsSemaphore(b); exceeds != nil {
				c.Message += "; " + m.In(ref.Namespace) + " " + exceeds.Message
				c.Remedy, c.Command = exceeds.Remedy, exceeds.Command
				return c
			}
		}
	}
	for _, m := range d.Members {
		r := w.resources[m]
		if r == nil {
			continue
		}
		for _, h := range r.holds {
			if !slices.Contains(d.Members, h.process.ref) {
				continue
			}
			if h.process.ref.Kind == KindPod {
				c.Remedy = fmt.Sprintf("one of them must give up, for example %s, which gives back %s", h.process.ref.In(ref.Namespace), m.In(ref.Namespace))
				c.Command = kubectl("delete", h.process.ref)
				return c
			}
			if m.Kind == konductorv1.KindLease {
				c.Remedy = fmt.Sprintf("one of them must give up, or %s be taken away from %s", m.In(ref.Namespace), h.holder.Holder)
				c.Command = fmt.Sprintf("koncli lease break %s -n %s", m.Name, m.Namespace)
				return c
			}
		}
	}
	return c
}

// since says for how long something has been.
func (w *walk) since(t time.Time) string { return duration.HumanDuration(max(w.Now.Sub(t), 0)) }

// old reports whether something has been for so long that an operator must have seen it.
func (w *walk) old(t time.Time) bool { return w.Now.Sub(t) > operatorAnswers }

func (w *walk) silent(namespace, what string) *Cause {
	return &Cause{
		Reason: OperatorSilent, Message: what, Remedy: "find out whether konductor's operator runs",
		Command: "koncli doctor -n " + namespace,
	}
}

// kubectl returns a command on an object.
func kubectl(verb string, ref Ref) string {
	return fmt.Sprintf("kubectl %s %s/%s -n %s", verb, resourceName(ref.Kind), ref.Name, ref.Namespace)
}

// resourceName returns a kind as kubectl takes it without mistaking it for another's.
func resourceName(kind string) string {
	switch kind {
	case KindJob, KindPod:
		return strings.ToLower(kind)
	case konductorv1.KindLease, konductorv1.KindGate, konductorv1.KindSemaphore, konductorv1.KindBarrier:
		return strings.ToLower(kind) + "s." + konductorv1.GroupName
	}
	return strings.ToLower(kind)
}

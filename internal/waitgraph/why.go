package waitgraph

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/duration"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// APIVersion is that of the JSON form of a Diagnosis and a Graph. New fields and reasons may be added to it.
const APIVersion = "cli.konductor.io/v1"

// Diagnosis explains why an object doesn't make progress.
type Diagnosis struct {
	// APIVersion is the constant APIVersion, and Kind is Diagnosis.
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	// Object that was asked about.
	Object Ref `json:"object"`
	// Blocked says that something keeps it from making progress. An object whose holder is at work isn't blocked.
	Blocked bool `json:"blocked"`
	// Never says that it won't make progress by itself, as things stand.
	Never bool `json:"never"`
	// RootCauses are the ends of the chain, those that explain most first. At most MaxRootCauses.
	RootCauses []RootCause `json:"rootCauses,omitempty"`
	// Chain describes the object and, below it, what it waits for, down to the root causes.
	Chain *Cause `json:"chain"`
	// Holders of a Lease or Semaphore, in the order in which they were granted.
	Holders []Holder `json:"holders,omitempty"`
	// Queue of a Lease or Semaphore, in the order in which it is served.
	Queue []Waiter `json:"queue,omitempty"`
	// Missing are the participants that have yet to arrive at a waiting Barrier.
	Missing *MissingArrivals `json:"missing,omitempty"`
	// Gaps are the objects that could not be read, so that the chain may end early.
	Gaps []Gap `json:"gaps,omitempty"`
}

// MaxRootCauses is how many root causes a Diagnosis has at most.
const MaxRootCauses = 5

// RootCause is a cause at the end of a chain.
type RootCause struct {
	Cause
	// Path leads from the object that was asked about to the cause's object.
	Path []Ref `json:"path"`
}

// Cause describes one object in the chain.
type Cause struct {
	// Object that is described.
	Object Ref `json:"object"`
	// Reason in one word.
	Reason Reason `json:"reason"`
	// Message is a predicate, to be read after the object's name: "is held by pod/x".
	Message string `json:"message"`
	// Remedy is what would unblock it.
	Remedy string `json:"remedy,omitempty"`
	// Command shows more, or does what Remedy says. It is meant to be copied.
	Command string `json:"command,omitempty"`
	// Inferred is what this was inferred from, when it isn't certain.
	Inferred string `json:"inferred,omitempty"`
	// Because are the causes of what the object waits for.
	Because []*Cause `json:"because,omitempty"`
	// More is how many further objects it waits for that are not in Because.
	More int `json:"more,omitempty"`
	// Above says that its causes are listed earlier in the chain, where the same object appears first.
	Above bool `json:"above,omitempty"`

	// height is the number of steps of the longest chain from here on.
	height int
	// blocked says that the reduction found it not reducible: see reduction.go.
	blocked bool
	// neverKnown says that never has been computed.
	neverKnown, never bool
}

// neverProceeds reports whether it won't make progress by itself, as things stand: because it is blocked, or because something
// that it needs never will. Of the holders of a semaphore one may be enough, and a barrier may not need all participants that are
// expected.
func (c *Cause) neverProceeds() bool {
	if !c.neverKnown {
		c.neverKnown, c.never = true, c.computeNever()
	}
	return c.never
}

func (c *Cause) computeNever() bool {
	switch {
	case c.blocked || (len(c.Because) == 0 && c.Reason.neverProceeds()):
		return true
	case c.Reason == ReasonArrivalsMissing:
		return false
	case c.Reason == ReasonPermitsInUse || c.Reason == ReasonPermitsReserved:
		return len(c.Because) > 0 && c.More == 0 && !slices.ContainsFunc(c.Because, func(b *Cause) bool { return !b.neverProceeds() })
	default:
		return slices.ContainsFunc(c.Because, (*Cause).neverProceeds)
	}
}

// maxCausesPerObject is how many causes of one object are kept, those that explain most: it may wait for a hundred holders.
const maxCausesPerObject = 5

// maxChainDepth is how many steps a chain is followed down.
const maxChainDepth = 100

// operatorReactionTime is how soon a running operator has observed an object, with a margin.
const operatorReactionTime = 5 * time.Second

// NotFoundError says that the snapshot has no such object.
type NotFoundError struct{ Object Ref }

func (e *NotFoundError) Error() string {
	return fmt.Sprintf("%s not found in namespace %s", e.Object, e.Object.Namespace)
}

// Why explains why an object doesn't make progress. It returns a *NotFoundError when there is no object of that name and nothing
// waits for one.
func (a *Analysis) Why(ref Ref) (*Diagnosis, error) {
	if !a.isKnown(ref) {
		return nil, &NotFoundError{ref}
	}
	w := &explainer{Analysis: a, onPath: map[Ref]bool{}, memo: map[memoKey]*Cause{}, holderCauses: map[*resource][]*Cause{}}
	d := &Diagnosis{
		APIVersion: APIVersion, Kind: "Diagnosis", Object: ref, Chain: w.explain(ref, nil),
		Holders: a.Holders(ref), Queue: a.Queue(ref), Missing: a.MissingArrivals(ref), Gaps: a.Gaps,
	}
	d.RootCauses = rootCauses(d.Chain)
	d.Never = d.Chain.neverProceeds()
	d.Blocked = !d.Chain.Reason.isHealthy() && d.Chain.Reason != ReasonHeldOutside
	d.Chain.collapseRepeated(map[*Cause]bool{})
	return d, nil
}

// isKnown reports whether the object exists or something waits for it.
func (a *Analysis) isKnown(ref Ref) bool {
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
		if a.processByRef[ref] != nil || a.endedPods[ref] != nil {
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

// collapseRepeated removes the causes of an object where it appears again in the chain. Repeated each time, a few objects that
// wait for each other by many paths would make an endless chain.
func (c *Cause) collapseRepeated(visited map[*Cause]bool) {
	visited[c] = true
	for i, b := range c.Because {
		switch {
		case !visited[b]:
			b.collapseRepeated(visited)
		case len(b.Because) > 0:
			again := *b
			again.Because, again.More, again.Above = nil, 0, true
			c.Because[i] = &again
		}
	}
}

// rootCauses returns the ends of the chain, those that explain most first.
func rootCauses(chain *Cause) (found []RootCause) {
	seen, visited := map[Ref]bool{}, map[*Cause]bool{}
	var search func(c *Cause, path []Ref)
	search = func(c *Cause, path []Ref) {
		if visited[c] {
			return
		}
		visited[c] = true
		path = append(path, c.Object)
		if len(c.Because) > 0 {
			for _, b := range c.Because {
				search(b, path)
			}
			return
		}
		if !seen[c.Object] && (c.Reason != ReasonOpen && c.Reason != ReasonAvailable && c.Reason != ReasonComplete) {
			seen[c.Object] = true
			found = append(found, RootCause{Cause: *c, Path: slices.Clone(path)})
		}
	}
	search(chain, nil)
	slices.SortStableFunc(found, func(x, y RootCause) int {
		return cmp.Or(cmp.Compare(x.Reason.urgency(), y.Reason.urgency()), cmp.Compare(len(x.Path), len(y.Path)))
	})
	return found[:min(len(found), MaxRootCauses)]
}

// explainer builds the chain of causes.
type explainer struct {
	*Analysis
	onPath map[Ref]bool
	memo   map[memoKey]*Cause
	// holderCauses are the causes of the holders of each resource, those that explain most first.
	holderCauses map[*resource][]*Cause
}

// memoKey is an object, its waiter and whether that is reducible. Several claims of one process for as many permits give the
// same explanation.
type memoKey struct {
	ref       Ref
	waiter    waiterKey
	reducible bool
}

// waiterKey identifies a waiter and the permits that it asks for; the zero value is no waiter.
type waiterKey struct {
	process  *process
	permits  int32
	hasClaim bool
}

func (w *wait) waiterKey() waiterKey {
	if w == nil {
		return waiterKey{}
	}
	return waiterKey{w.process, w.permits, w.claim != nil}
}

// explain describes an object and its causes. A lease or semaphore is described as it concerns waiter, if that isn't nil.
func (w *explainer) explain(ref Ref, waiter *wait) *Cause {
	return w.explainFor(ref, waiter, waiter != nil && waiter.process.reducible)
}

// explainFor is explain for a waiter that is known to be reducible or not: a semaphore in a wait cycle may have permits left for
// others.
func (w *explainer) explainFor(ref Ref, waiter *wait, reducible bool) *Cause {
	if d := w.deadlockByMember[ref]; d != nil && (!reducible || ref.Kind != konductorv1.KindSemaphore) {
		return w.deadlockCause(ref, d)
	}
	key := memoKey{ref, waiter.waiterKey(), reducible}
	if c := w.memo[key]; c != nil {
		return w.limitDepth(c)
	}
	if len(w.onPath) == maxChainDepth {
		return notFollowedCause(ref)
	}
	if w.onPath[ref] {
		return &Cause{
			Object: ref, Reason: ReasonPossibleDeadlock, Message: "waits for itself through the objects listed above",
			Inferred: "scripts or annotations, which don't show where their processes wait now",
			Remedy:   "if they do wait there, delete one of the objects in the cycle",
		}
	}
	w.onPath[ref] = true
	defer delete(w.onPath, ref)
	c := w.explainByKind(ref, waiter)
	c.Object = ref
	c.blocked = w.isBlocked(ref)
	c.Because, c.More = mostUrgent(c.Because, c.More)
	c.height = chainHeight(c.Because)
	w.memo[key] = c
	return c
}

// limitDepth returns a memoized cause, unless the chain is too long with it. Without this limit, a chain made of a few short ones
// could be endless.
func (w *explainer) limitDepth(c *Cause) *Cause {
	if len(w.onPath)+c.height > maxChainDepth {
		return notFollowedCause(c.Object)
	}
	return c
}

// chainHeight returns the height of a cause with these causes below it.
func chainHeight(causes []*Cause) int {
	most := 0
	for _, c := range causes {
		most = max(most, c.height)
	}
	return most + 1
}

func notFollowedCause(ref Ref) *Cause {
	return &Cause{
		Object: ref, Reason: ReasonNotFollowed, Message: "is waited for too, but the chain is too long to follow further",
		Remedy: "run why on this object", Command: fmt.Sprintf("koncli why %s -n %s", ref, ref.Namespace), height: 1,
	}
}

// isBlocked reports whether a process, Job, gate or barrier is not reducible.
func (w *explainer) isBlocked(ref Ref) bool {
	switch ref.Kind {
	case konductorv1.KindGate:
		return w.gates[ref] != nil && !w.gates[ref].reducible
	case konductorv1.KindBarrier:
		return w.barriers[ref] != nil && !w.barriers[ref].reducible
	case KindJob:
		return w.jobs[ref] != nil && !w.jobs[ref].statusNode().reducible
	case KindPod, KindHolder:
		return w.processByRef[ref] != nil && !w.processByRef[ref].reducible
	}
	return false
}

func (w *explainer) explainByKind(ref Ref, waiter *wait) *Cause {
	if !w.isReadable(ref.Kind, ref.Namespace) && !w.isPresent(ref) {
		return w.unreadableCause(ref)
	}
	if c := w.terminatingCause(ref); c != nil {
		return c
	}
	switch ref.Kind {
	case konductorv1.KindGate:
		return w.gateCause(ref)
	case konductorv1.KindBarrier:
		return w.barrierCause(ref)
	case KindJob:
		return w.jobCause(ref)
	case KindPod, KindHolder:
		return w.processCause(ref)
	default:
		return w.resourceCause(ref, waiter)
	}
}

// isPresent reports whether the object itself is in the snapshot.
func (w *explainer) isPresent(ref Ref) bool {
	r := w.resources[ref]
	return w.gates[ref] != nil || w.barriers[ref] != nil || w.jobs[ref] != nil || w.processByRef[ref] != nil || (r != nil && r.exists())
}

func (w *explainer) unreadableCause(ref Ref) *Cause {
	if g, ok := w.gapFor(ref.Kind, ref.Namespace); ok {
		return &Cause{Reason: ReasonUnreadable, Message: "can't be read: " + g.Message, Command: canICommand(ref)}
	}
	return &Cause{Reason: ReasonUnreadable, Message: "can't be read: it is in another namespace", Command: canICommand(ref)}
}

func canICommand(ref Ref) string {
	return fmt.Sprintf("kubectl auth can-i list %s -n %s", kubectlResource(ref.Kind), ref.Namespace)
}

// mostUrgent returns the causes that explain most, in that order, and adds the number of the others to more.
func mostUrgent(causes []*Cause, more int) ([]*Cause, int) {
	slices.SortStableFunc(causes, func(x, y *Cause) int { return cmp.Compare(x.urgency(), y.urgency()) })
	if len(causes) > maxCausesPerObject {
		// Cloned, so that those left out are not kept in memory.
		return slices.Clone(causes[:maxCausesPerObject]), more + len(causes) - maxCausesPerObject
	}
	return causes, more
}

// urgency returns that of the most urgent root cause below.
func (c *Cause) urgency() int {
	if len(c.Because) == 0 {
		return c.Reason.urgency()
	}
	return c.Because[0].urgency()
}

func (w *explainer) deadlockCause(ref Ref, d *Deadlock) *Cause {
	if d.Reason == konductorv1.ReasonCycle {
		return &Cause{
			Object: ref, Reason: ReasonGateCycle, Message: "is in a wait cycle: " + d.Message(ref),
			Remedy: "remove the condition that closes the cycle from one of these gates", Command: kubectlCommand("edit", ref),
		}
	}
	c := &Cause{Object: ref, Reason: ReasonDeadlock, Message: "is in a wait cycle: " + d.Message(ref)}
	c.Remedy, c.Command = "end one of the processes in the cycle", "koncli graph -n "+ref.Namespace
	for _, m := range d.Members {
		if b := w.barriers[m]; b != nil {
			if exceeded := w.exceedsSemaphoreCause(b); exceeded != nil {
				c.Message += "; " + m.StringIn(ref.Namespace) + " " + exceeded.Message
				c.Remedy, c.Command = exceeded.Remedy, exceeded.Command
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
			if w.deadlockByMember[h.process.ref] != d {
				continue
			}
			if h.process.ref.Kind == KindPod {
				c.Remedy = fmt.Sprintf("end one of the processes in the cycle, for example %s, which then releases %s", h.process.ref.StringIn(ref.Namespace), m.StringIn(ref.Namespace))
				c.Command = kubectlCommand("delete", h.process.ref)
				return c
			}
			if m.Kind == konductorv1.KindLease {
				c.Remedy = fmt.Sprintf("end one of the processes in the cycle, or break the hold of %s on %s", h.holder.Name, m.StringIn(ref.Namespace))
				c.Command = fmt.Sprintf("koncli lease break %s -n %s", m.Name, m.Namespace)
				return c
			}
		}
	}
	return c
}

// formatAge returns the time since t in words.
func (w *explainer) formatAge(t time.Time) string {
	return duration.HumanDuration(max(w.Now.Sub(t), 0))
}

// isOperatorOverdue reports whether t is so long ago that an operator must have reacted.
func (w *explainer) isOperatorOverdue(t time.Time) bool { return w.Now.Sub(t) > operatorReactionTime }

func (w *explainer) operatorSilentCause(namespace, message string) *Cause {
	return &Cause{
		Reason: ReasonOperatorSilent, Message: message, Remedy: "check whether konductor's operator is running",
		Command: "koncli doctor -n " + namespace,
	}
}

// kubectlCommand returns a kubectl command line for an object.
func kubectlCommand(verb string, ref Ref) string {
	return fmt.Sprintf("kubectl %s %s/%s -n %s", verb, kubectlResource(ref.Kind), ref.Name, ref.Namespace)
}

// kubectlResource returns a kind in a form that kubectl can't mistake for another's.
func kubectlResource(kind string) string {
	switch kind {
	case KindJob, KindPod:
		return strings.ToLower(kind)
	case konductorv1.KindLease, konductorv1.KindGate, konductorv1.KindSemaphore, konductorv1.KindBarrier:
		return strings.ToLower(kind) + "s." + konductorv1.GroupName
	}
	return strings.ToLower(kind)
}

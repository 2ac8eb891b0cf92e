package controller

import (
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/apis/waits"
)

// stakes knows of each namespace whether there can be a circle of waits in it at all: somebody must hold or wait for two
// things at once, or wait by a command, or gates must wait for gates. Where there can't, as where each takes one lease and
// gives it back, nothing is ever looked at, and a change costs a look into a map.
type stakes struct {
	mu      sync.Mutex
	corners map[string]*corner // by namespace
	claims  map[types.UID]string
}

// corner is what is known of one namespace.
type corner struct {
	perProcess map[string]int         // claims that wait or hold, by who made them
	entangled  int                    // how many made two or more
	waiting    map[types.UID]struct{} // Pods that may wait by a command
	marked     map[waits.Ref]struct{} // what carries the condition Deadlocked
	lookedAt   time.Duration          // on the operator's clock, when the last look began
	took       time.Duration          // that look
}

func newStakes() *stakes {
	return &stakes{corners: map[string]*corner{}, claims: map[types.UID]string{}}
}

// locked returns the corner of a namespace. The caller holds s.mu.
func (s *stakes) locked(namespace string) *corner {
	c, ok := s.corners[namespace]
	if !ok {
		c = &corner{perProcess: map[string]int{}, waiting: map[types.UID]struct{}{}, marked: map[waits.Ref]struct{}{}}
		s.corners[namespace] = c
	}
	return c
}

// high reports whether a change in the namespace must be looked at.
func (c *corner) high() bool { return c.entangled > 0 || len(c.waiting) > 0 || len(c.marked) > 0 }

// empty reports whether there is nothing to remember of the namespace.
func (c *corner) empty() bool { return !c.high() && len(c.perProcess) == 0 }

// note takes note of a change by f, and returns after what time the namespace must be looked at, if it must: because of
// how things stand now, or stood before.
func (s *stakes) note(namespace string, now time.Duration, f func(*corner)) (after time.Duration, look bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.locked(namespace)
	before := c.high()
	f(c)
	look = before || c.high()
	if c.empty() {
		delete(s.corners, namespace)
	}
	return c.pause(now), look
}

// pause returns how long to wait before the next look.
func (c *corner) pause(now time.Duration) time.Duration {
	if c.lookedAt == 0 {
		return lookAfter
	}
	return max(lookAfter, c.lookedAt+max(lookApart, c.took*lookShare)-now)
}

// looked takes note that the namespace was looked at from then on, and how long it took.
func (s *stakes) looked(namespace string, at, took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := s.corners[namespace]; ok {
		c.lookedAt, c.took = at, took
	}
}

// markedNamespaces returns the namespaces in which something carries the condition Deadlocked.
func (s *stakes) markedNamespaces() (namespaces []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for namespace, c := range s.corners {
		if len(c.marked) > 0 {
			namespaces = append(namespaces, namespace)
		}
	}
	return namespaces
}

// mayWait reports whether somebody in the namespace may wait by a command.
func (s *stakes) mayWait(namespace string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.corners[namespace]
	return ok && len(c.waiting) > 0
}

// claim takes note of a claim, which counts while it waits or holds.
func (s *stakes) claim(c *corner, claim *konductorv1.Claim, gone bool) {
	gone = gone || claim.Status.Phase == konductorv1.ClaimExpired || claim.Status.Phase == konductorv1.ClaimRefused
	process, counted := s.claims[claim.UID]
	switch {
	case gone && counted:
		delete(s.claims, claim.UID)
		if c.perProcess[process]--; c.perProcess[process] == 1 {
			c.entangled--
		} else if c.perProcess[process] == 0 {
			delete(c.perProcess, process)
		}
	case !gone && !counted:
		process = madeBy(claim)
		s.claims[claim.UID] = process
		if c.perProcess[process]++; c.perProcess[process] == 2 {
			c.entangled++
		}
	}
}

// madeBy returns what is the same for all claims of a process: its Pod, or the name it goes by.
func madeBy(claim *konductorv1.Claim) string {
	if claim.Spec.BoundTo != nil {
		return string(claim.Spec.BoundTo.UID)
	}
	return "holder " + claim.Spec.Holder
}

// onPrimitive has a namespace looked at when a Gate, Barrier, Lease or Semaphore has changed in it and there may be
// circles. Gates can make one by themselves.
func (r *deadlocks) onPrimitive() handler.EventHandler {
	note := func(obj client.Object, q queue, gone bool) {
		kind, gate := kindOfPrimitive(obj)
		ref := waits.Ref{Kind: kind, Namespace: obj.GetNamespace(), Name: obj.GetName()}
		cleared := false
		after, look := r.stakes.note(ref.Namespace, r.Clock.Now().Elapsed, func(c *corner) {
			_, cleared = c.marked[ref]
			delete(c.marked, ref)
			if conditions := conditionsOf(obj); !gone && conditions != nil && meta.IsStatusConditionTrue(*conditions, konductorv1.ConditionDeadlocked) {
				c.marked[ref] = struct{}{}
				cleared = false
			}
		})
		if cleared {
			// The circle may have gone through other namespaces, which can't be found from here any more.
			for _, namespace := range r.stakes.markedNamespaces() {
				q.AddAfter(lookInto(namespace), lookAfter)
			}
		}
		if look || (gate != nil && waitsForGates(gate)) {
			q.AddAfter(lookInto(ref.Namespace), after)
		}
	}
	return watchHandler(
		func(obj client.Object, q queue) { note(obj, q, false) },
		func(obj client.Object, q queue) { note(obj, q, true) },
	)
}

func kindOfPrimitive(obj client.Object) (string, *konductorv1.Gate) {
	switch o := obj.(type) {
	case *konductorv1.Gate:
		return konductorv1.KindGate, o
	case *konductorv1.Barrier:
		return konductorv1.KindBarrier, nil
	case *konductorv1.Lease:
		return konductorv1.KindLease, nil
	default:
		return konductorv1.KindSemaphore, nil
	}
}

// waitsForGates reports whether a gate waits for others of its kind.
func waitsForGates(g *konductorv1.Gate) bool {
	if g.Status.Phase != konductorv1.GateWaiting {
		return false
	}
	for i := range g.Spec.Conditions {
		if g.Spec.Conditions[i].Type == konductorv1.GateOnGate {
			return true
		}
	}
	return false
}

// onParticipant has a namespace looked at when a Claim, a Pod or a Job has changed in it and there may be circles.
func (r *deadlocks) onParticipant() handler.EventHandler {
	note := func(obj client.Object, q queue, gone bool) {
		after, look := r.stakes.note(obj.GetNamespace(), r.Clock.Now().Elapsed, func(c *corner) {
			switch o := obj.(type) {
			case *konductorv1.Claim:
				r.stakes.claim(c, o, gone)
			case *corev1.Pod:
				delete(c.waiting, o.UID)
				if !gone && waits.MayWait(o) {
					c.waiting[o.UID] = struct{}{}
				}
			}
		})
		if look {
			q.AddAfter(lookInto(obj.GetNamespace()), after)
		}
	}
	return watchHandler(
		func(obj client.Object, q queue) { note(obj, q, false) },
		func(obj client.Object, q queue) { note(obj, q, true) },
	)
}

// lookInto is the request to look at a namespace.
func lookInto(namespace string) reconcile.Request {
	return reconcile.Request{NamespacedName: types.NamespacedName{Namespace: namespace}}
}

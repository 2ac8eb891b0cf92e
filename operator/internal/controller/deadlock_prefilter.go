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
	"github.com/LogicIQ/konductor/internal/waitgraph"
)

// deadlockPrefilter knows in which namespaces a wait cycle is possible at all: a process must hold or wait for two things at
// once, or a Pod wait by a command, or gates depend on gates. Elsewhere, as where each process takes one lease and releases
// it, nothing is analyzed, and a change costs a map look-up.
type deadlockPrefilter struct {
	mu               sync.Mutex
	namespaces       map[string]*namespaceState
	holderKeyByClaim map[types.UID]string
}

// namespaceState is what could form a deadlock in one namespace.
type namespaceState struct {
	claimsPerHolder   map[string]int             // pending and granted claims, by holderKey
	multiClaimHolders int                        // number of holders with two or more
	waitingPods       map[types.UID]struct{}     // Pods that may wait by a command
	deadlockedObjects map[waitgraph.Ref]struct{} // objects with the condition Deadlocked
	lastCheckAt       time.Duration              // start of the last check, on the monotonic clock
	lastCheckDuration time.Duration
}

func newDeadlockPrefilter() *deadlockPrefilter {
	return &deadlockPrefilter{namespaces: map[string]*namespaceState{}, holderKeyByClaim: map[types.UID]string{}}
}

// namespaceLocked returns the state of a namespace, a new one if there is none. The caller holds s.mu.
func (s *deadlockPrefilter) namespaceLocked(namespace string) *namespaceState {
	c, ok := s.namespaces[namespace]
	if !ok {
		c = &namespaceState{claimsPerHolder: map[string]int{}, waitingPods: map[types.UID]struct{}{}, deadlockedObjects: map[waitgraph.Ref]struct{}{}}
		s.namespaces[namespace] = c
	}
	return c
}

// needsCheck reports whether a deadlock is possible in the namespace, so that changes in it must be checked.
func (c *namespaceState) needsCheck() bool {
	return c.multiClaimHolders > 0 || len(c.waitingPods) > 0 || len(c.deadlockedObjects) > 0
}

// isEmpty reports whether the state of the namespace can be dropped.
func (c *namespaceState) isEmpty() bool { return !c.needsCheck() && len(c.claimsPerHolder) == 0 }

// recordChange records a change by calling update with the namespace's state. It returns whether the namespace must be
// checked, because of its state before or after the change, and after what delay.
func (s *deadlockPrefilter) recordChange(namespace string, now time.Duration, update func(*namespaceState)) (after time.Duration, needsCheck bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.namespaceLocked(namespace)
	before := c.needsCheck()
	update(c)
	needsCheck = before || c.needsCheck()
	if c.isEmpty() {
		delete(s.namespaces, namespace)
	}
	return c.nextCheckDelay(now), needsCheck
}

// nextCheckDelay returns how long to wait before the next check.
func (c *namespaceState) nextCheckDelay(now time.Duration) time.Duration {
	if c.lastCheckAt == 0 {
		return checkDelay
	}
	return max(checkDelay, c.lastCheckAt+max(minCheckInterval, c.lastCheckDuration*checkPauseFactor)-now)
}

// recordCheck records when a check of the namespace started, and how long it took.
func (s *deadlockPrefilter) recordCheck(namespace string, at, took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := s.namespaces[namespace]; ok {
		c.lastCheckAt, c.lastCheckDuration = at, took
	}
}

// namespacesWithDeadlocks returns the namespaces with objects that have the condition Deadlocked.
func (s *deadlockPrefilter) namespacesWithDeadlocks() (namespaces []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for namespace, c := range s.namespaces {
		if len(c.deadlockedObjects) > 0 {
			namespaces = append(namespaces, namespace)
		}
	}
	return namespaces
}

// namespacesToCheck returns the namespaces in which a wait cycle is possible.
func (s *deadlockPrefilter) namespacesToCheck() map[string]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	in := map[string]bool{}
	for namespace, c := range s.namespaces {
		if c.needsCheck() {
			in[namespace] = true
		}
	}
	return in
}

// hasWaitingPods reports whether a Pod in the namespace may wait by a command.
func (s *deadlockPrefilter) hasWaitingPods(namespace string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.namespaces[namespace]
	return ok && len(c.waitingPods) > 0
}

// recordClaim counts a claim while it is pending or granted.
func (s *deadlockPrefilter) recordClaim(c *namespaceState, claim *konductorv1.Claim, gone bool) {
	gone = gone || claim.Status.Phase == konductorv1.ClaimExpired || claim.Status.Phase == konductorv1.ClaimRefused
	holder, counted := s.holderKeyByClaim[claim.UID]
	switch {
	case gone && counted:
		delete(s.holderKeyByClaim, claim.UID)
		if c.claimsPerHolder[holder]--; c.claimsPerHolder[holder] == 1 {
			c.multiClaimHolders--
		} else if c.claimsPerHolder[holder] == 0 {
			delete(c.claimsPerHolder, holder)
		}
	case !gone && !counted:
		holder = holderKey(claim)
		s.holderKeyByClaim[claim.UID] = holder
		if c.claimsPerHolder[holder]++; c.claimsPerHolder[holder] == 2 {
			c.multiClaimHolders++
		}
	}
}

// holderKey returns the same key for all claims of a process: the UID of its Pod, or its holder name.
func holderKey(claim *konductorv1.Claim) string {
	if claim.Spec.BoundTo != nil {
		return string(claim.Spec.BoundTo.UID)
	}
	return "holder " + claim.Spec.Holder
}

// onPrimitive enqueues the namespace of a changed Gate, Barrier, Lease or Semaphore if a wait cycle is possible in it. Gates
// alone can form one.
func (r *deadlockReconciler) onPrimitive() handler.EventHandler {
	handle := func(obj client.Object, q requestQueue, gone bool) {
		kind, gate := primitiveKindAndGate(obj)
		ref := waitgraph.Ref{Kind: kind, Namespace: obj.GetNamespace(), Name: obj.GetName()}
		cleared := false
		after, needsCheck := r.prefilter.recordChange(ref.Namespace, r.Clock.Now().Monotonic, func(c *namespaceState) {
			_, cleared = c.deadlockedObjects[ref]
			delete(c.deadlockedObjects, ref)
			if conditions := conditionsOf(obj); !gone && conditions != nil && meta.IsStatusConditionTrue(*conditions, konductorv1.ConditionDeadlocked) {
				c.deadlockedObjects[ref] = struct{}{}
				cleared = false
			}
		})
		if cleared {
			// The wait cycle may have included other namespaces, which can't be found from here any more.
			for _, namespace := range r.prefilter.namespacesWithDeadlocks() {
				q.AddAfter(requestForNamespace(namespace), checkDelay)
			}
		}
		if needsCheck || (gate != nil && dependsOnGates(gate)) {
			q.AddAfter(requestForNamespace(ref.Namespace), after)
		}
	}
	return newEventHandler(
		func(obj client.Object, q requestQueue) { handle(obj, q, false) },
		func(obj client.Object, q requestQueue) { handle(obj, q, true) },
	)
}

func primitiveKindAndGate(obj client.Object) (string, *konductorv1.Gate) {
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

// dependsOnGates reports whether a waiting gate has a condition on a gate.
func dependsOnGates(g *konductorv1.Gate) bool {
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

// onClaimOrWorkload enqueues the namespace of a changed Claim, Pod or Job if a wait cycle is possible in it.
func (r *deadlockReconciler) onClaimOrWorkload() handler.EventHandler {
	handle := func(obj client.Object, q requestQueue, gone bool) {
		after, needsCheck := r.prefilter.recordChange(obj.GetNamespace(), r.Clock.Now().Monotonic, func(c *namespaceState) {
			switch o := obj.(type) {
			case *konductorv1.Claim:
				r.prefilter.recordClaim(c, o, gone)
			case *corev1.Pod:
				delete(c.waitingPods, o.UID)
				if !gone && waitgraph.MayWait(o) {
					c.waitingPods[o.UID] = struct{}{}
				}
			}
		})
		if needsCheck {
			q.AddAfter(requestForNamespace(obj.GetNamespace()), after)
		}
	}
	return newEventHandler(
		func(obj client.Object, q requestQueue) { handle(obj, q, false) },
		func(obj client.Object, q requestQueue) { handle(obj, q, true) },
	)
}

// requestForNamespace returns the request to check a namespace.
func requestForNamespace(namespace string) reconcile.Request {
	return reconcile.Request{NamespacedName: types.NamespacedName{Namespace: namespace}}
}

package controller

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/LogicIQ/konductor/apis/rules"
	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// ledger has the claims on all objects of one kind (Lease or Semaphore), kept up to date by watch events, so that a
// decision reads no list.
type ledger[T client.Object] struct {
	kind string

	mu       sync.Mutex
	accounts map[types.NamespacedName]*account[T]
	// byPod finds the claims that are bound to a Pod.
	byPod map[types.UID]map[types.UID]types.NamespacedName // pod → claim → account
}

// account is what is known of one Lease or Semaphore. Its fields are guarded by mu, which is never held across a
// request to the API server: events of all objects come through one goroutine that must not wait.
type account[T client.Object] struct {
	memory[T]

	mu      sync.Mutex
	dropped bool
	exists  bool // the object itself has been seen, and has not been seen deleted
	claims  *rules.Claims
	pods    map[types.UID]boundPod      // by claim: Pods not looked at yet
	ended   map[types.UID]string        // by claim, its name: claims to delete, since their Pod has ended
	done    map[types.UID]finishedClaim // claims to delete after a while
}

type boundPod struct {
	name string
	uid  types.UID
}

type finishedClaim struct {
	name string
	at   time.Duration
}

func newLedger[T client.Object](kind string) *ledger[T] {
	return &ledger[T]{
		kind:     kind,
		accounts: map[types.NamespacedName]*account[T]{},
		byPod:    map[types.UID]map[types.UID]types.NamespacedName{},
	}
}

// account returns the account of the object with that key.
func (l *ledger[T]) account(key types.NamespacedName) *account[T] {
	l.mu.Lock()
	defer l.mu.Unlock()
	a, ok := l.accounts[key]
	if !ok {
		a = &account[T]{
			claims: rules.NewClaims(),
			pods:   map[types.UID]boundPod{},
			ended:  map[types.UID]string{},
			done:   map[types.UID]finishedClaim{},
		}
		l.accounts[key] = a
	}
	return a
}

// seen takes note that the object exists and who holds it. What happened to claims that are not among them is not asked
// any more: without this, a replica that only stands by would remember every claim there ever was.
func (l *ledger[T]) seen(key types.NamespacedName, holders []konductorv1.SemaphoreHolder) {
	l.with(key, func(a *account[T]) {
		a.exists = true
		a.claims.Settle(holders)
	})
}

// gone takes note that the object was deleted.
func (l *ledger[T]) gone(key types.NamespacedName) {
	l.with(key, func(a *account[T]) { a.exists = false })
	l.drop(key)
}

// drop forgets the account of an object that is gone, unless claims are left that wait for one of its name.
func (l *ledger[T]) drop(key types.NamespacedName) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a, ok := l.accounts[key]
	if !ok {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.claims.Len() == 0 && !a.exists {
		a.dropped = true
		delete(l.accounts, key)
	}
}

// with calls f with the account of that key, locked.
func (l *ledger[T]) with(key types.NamespacedName, f func(*account[T])) {
	for {
		a := l.account(key)
		a.mu.Lock()
		if !a.dropped {
			f(a)
			a.mu.Unlock()
			return
		}
		// Dropped between the look-up and the lock. What we came to note belongs into a new one.
		a.mu.Unlock()
	}
}

// target returns the key of the object that the claim is on, if it is one of the ledger's kind.
func (l *ledger[T]) target(c *konductorv1.Claim) (types.NamespacedName, bool) {
	return types.NamespacedName{Namespace: c.Namespace, Name: c.Spec.Target.Name}, c.Spec.Target.Kind == l.kind
}

// observe takes note of a claim as the watch shows it, and reports whether that is news.
func (l *ledger[T]) observe(c *konductorv1.Claim, now rules.Now) bool {
	key, ok := l.target(c)
	if !ok {
		return false
	}
	if c.Spec.BoundTo != nil {
		l.bind(c.Spec.BoundTo.UID, c.UID, key)
	}
	news := false
	l.with(key, func(a *account[T]) { news = a.observe(c, l.kind, now) })
	return news
}

// answer takes note of a claim as the API server has answered a request of ours, and reports whether the claim is known.
// One that isn't known is not added: an answer may come after the news that the claim was deleted, and when that has been
// forgotten again nothing would ever remove it. Only the watch, which tells of the deletion too, adds claims.
func (l *ledger[T]) answer(c *konductorv1.Claim, now rules.Now) (known bool) {
	key, ok := l.target(c)
	if !ok {
		return false
	}
	l.with(key, func(a *account[T]) {
		if !c.DeletionTimestamp.IsZero() {
			known = a.observe(c, l.kind, now)
			return
		}
		if _, presence := a.claims.Find(c.UID); presence == rules.Present {
			known = true
			a.observe(c, l.kind, now)
		}
	})
	return known
}

// observe takes note of a claim as seen, and reports whether that is news. The caller holds a.mu.
func (a *account[T]) observe(c *konductorv1.Claim, kind string, now rules.Now) bool {
	if !c.DeletionTimestamp.IsZero() {
		// To delete the claim is to release, however long a finalizer keeps it from going away.
		_, presence := a.claims.Find(c.UID)
		a.forget(c)
		return presence != rules.Gone
	}
	if _, presence := a.claims.Find(c.UID); presence != rules.Present && c.Spec.BoundTo != nil {
		a.pods[c.UID] = boundPod{c.Spec.BoundTo.Name, c.Spec.BoundTo.UID}
	}
	if c.Status.Phase == konductorv1.ClaimExpired || c.Status.Phase == konductorv1.ClaimRefused {
		if _, known := a.done[c.UID]; !known {
			a.done[c.UID] = finishedClaim{c.Name, now.Elapsed}
		}
	}
	return a.claims.Observe(claimFacts(c, kind), now.Elapsed)
}

// forget takes note that a claim is gone, and returns the key of its object.
func (l *ledger[T]) forget(c *konductorv1.Claim) (types.NamespacedName, bool) {
	key, ok := l.target(c)
	if !ok {
		return key, false
	}
	if c.Spec.BoundTo != nil {
		l.unbind(c.Spec.BoundTo.UID, c.UID)
	}
	l.with(key, func(a *account[T]) { a.forget(c) })
	l.drop(key)
	return key, true
}

// forget takes note that the claim is gone. The caller holds a.mu.
func (a *account[T]) forget(c *konductorv1.Claim) {
	if by := c.Annotations[konductorv1.BrokenByAnnotation]; by != "" {
		a.claims.Broken(c.UID, by)
	}
	a.forgetUID(c.UID)
}

// forgetUID takes note that the claim with that UID is gone. The caller holds a.mu.
func (a *account[T]) forgetUID(uid types.UID) {
	a.claims.Forget(uid)
	delete(a.pods, uid)
	delete(a.ended, uid)
	delete(a.done, uid)
}

// endPod takes note that a Pod has finished or is gone, and returns the keys of the objects this touches.
func (l *ledger[T]) endPod(pod types.UID) []types.NamespacedName {
	l.mu.Lock()
	bound := make(map[types.UID]types.NamespacedName, len(l.byPod[pod]))
	for claim, key := range l.byPod[pod] {
		bound[claim] = key
	}
	l.mu.Unlock()
	var keys []types.NamespacedName
	for claim, key := range bound {
		l.with(key, func(a *account[T]) { a.endPodOf(claim) })
		keys = append(keys, key)
	}
	return keys
}

// endPodOf takes note that the Pod of that claim has ended. The caller holds a.mu.
func (a *account[T]) endPodOf(claim types.UID) {
	if c, presence := a.claims.Find(claim); presence == rules.Present {
		a.claims.EndPod(claim)
		a.ended[claim] = c.Name
	}
	delete(a.pods, claim)
}

func (l *ledger[T]) bind(pod, claim types.UID, key types.NamespacedName) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byPod[pod] == nil {
		l.byPod[pod] = map[types.UID]types.NamespacedName{}
	}
	l.byPod[pod][claim] = key
}

func (l *ledger[T]) unbind(pod, claim types.UID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.byPod[pod], claim)
	if len(l.byPod[pod]) == 0 {
		delete(l.byPod, pod)
	}
}

// claimFacts extracts what the rules need to know.
func claimFacts(c *konductorv1.Claim, kind string) rules.Claim {
	facts := rules.Claim{
		Name: c.Name, UID: c.UID, Holder: c.Spec.Holder, Version: c.ResourceVersion,
		Permits: max(c.Spec.Permits, 1), Priority: c.Spec.Priority, Created: c.CreationTimestamp.Time,
		TTL: c.Spec.TTL.Or(0), Bound: c.Spec.BoundTo != nil, Refuse: c.Spec.WhenBusy == konductorv1.BusyRefuse,
		Phase: c.Status.Phase, Token: c.Status.FencingToken, Renewals: c.Spec.Renewals,
		BrokenBy: c.Annotations[konductorv1.BrokenByAnnotation],
	}
	if rev, err := revisionOf(c); err == nil {
		facts.Revision = rev
	}
	if c.Status.ExpiresAt != nil {
		facts.ExpiresAt = c.Status.ExpiresAt.Time
	}
	for _, owner := range c.OwnerReferences {
		if owner.Kind == kind && owner.APIVersion == konductorv1.GroupVersion().String() {
			facts.Target = owner.UID
		}
	}
	return facts
}

package controller

import (
	"cmp"
	"slices"
	"sync"
	"time"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/rules"
	"k8s.io/apimachinery/pkg/types"
)

// arrivalCache has the arrivals at one Barrier, kept up to date by watch events.
type arrivalCache struct {
	writeCache[*konductorv1.Barrier]

	mu            sync.Mutex
	barrierExists bool          // the barrier itself was observed, and its deletion was not
	lastCountedAt time.Duration // on the monotonic clock, when all arrivals were last counted
	arrivals      map[types.UID]cachedArrival
	failedCount   int // arrivals that report a failure
}

type cachedArrival struct {
	rules.Arrival
	barrierUID types.UID // spec.barrierUID
	revision   uint64
}

func newArrivalCache() *arrivalCache { return &arrivalCache{arrivals: map[types.UID]cachedArrival{}} }

func (a *arrivalCache) addArrival(obj *konductorv1.Arrival) {
	added := cachedArrival{Arrival: rules.Arrival{
		Participant: obj.Spec.Participant, Failed: obj.Spec.Failed, Reason: obj.Spec.Reason, Created: obj.CreationTimestamp.Time,
	}, barrierUID: obj.Spec.BarrierUID}
	if rev, err := rules.Revision(obj); err == nil {
		added.revision = rev
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if known, ok := a.arrivals[obj.UID]; ok {
		// An update, for example of a label, must not change the order, which is that of creation.
		added.revision = known.revision
	} else if added.Failed {
		a.failedCount++
	}
	a.arrivals[obj.UID] = added
}

func (a *arrivalCache) removeArrival(obj *konductorv1.Arrival) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if known, ok := a.arrivals[obj.UID]; ok && known.Failed {
		a.failedCount--
	}
	delete(a.arrivals, obj.UID)
}

// arrivalsInOrder returns the arrivals at the barrier with that UID in the order of their creation. Arrivals at a deleted
// barrier of the same name don't count.
func (a *arrivalCache) arrivalsInOrder(barrier types.UID) []rules.Arrival {
	a.mu.Lock()
	all := make([]cachedArrival, 0, len(a.arrivals))
	for _, seen := range a.arrivals {
		if seen.barrierUID == "" || seen.barrierUID == barrier {
			all = append(all, seen)
		}
	}
	a.mu.Unlock()
	slices.SortFunc(all, func(x, y cachedArrival) int {
		return cmp.Or(x.Created.Compare(y.Created), cmp.Compare(x.revision, y.revision))
	})
	ordered := make([]rules.Arrival, len(all))
	for i := range all {
		ordered[i] = all[i].Arrival
	}
	return ordered
}

func (a *arrivalCache) setBarrierExists(exists bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.barrierExists = exists
}

func (a *arrivalCache) isUnused() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.arrivals) == 0 && !a.barrierExists
}

// cannotChangePhase reports whether only the number of arrivals can have changed: too few for the barrier to open, however
// they are counted, and too few failures for it to fail. Counting all of them at each arrival would make a barrier of n cost
// n².
func (a *arrivalCache) cannotChangePhase(b *konductorv1.Barrier) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return b.Status.Phase == konductorv1.BarrierWaiting && b.Status.ObservedGeneration == b.Generation &&
		len(a.arrivals) < int(b.Quorum()) && a.failedCount <= int(b.Spec.Expected-b.Quorum())
}

// recountThreshold is the number of arrivals above which they are not all counted again at each new one.
const recountThreshold = 2000

// recountDelay returns how long to wait before all arrivals are counted again; zero: count them now. With very many
// arrivals, each new one would cost as much as all others together.
func (a *arrivalCache) recountDelay(now rules.Instant) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.arrivals) > recountThreshold && a.lastCountedAt != 0 {
		if left := a.lastCountedAt + statusBatchInterval - now.Monotonic; left > 0 {
			return left
		}
	}
	a.lastCountedAt = now.Monotonic
	return 0
}

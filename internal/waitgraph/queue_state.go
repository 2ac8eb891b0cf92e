package waitgraph

import (
	"iter"
	"math"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// queueState is the queue of a lease or semaphore during the reduction.
//
// Permits of blocked holders don't come back. Neither do those for a process ahead of wait w that is blocked for another reason:
// it is served before w, so it gets the permits first if it asks for no more. A process ahead that waits for this resource alone
// needs no check: it is blocked only if w is too.
//
// Whatever blocks w also blocks all waits behind it that ask for no less. So behind unsatisfiable waits only those are checked
// that ask for less than all of them. The sums of blocking permits are kept, and reduced when a process becomes reducible: to add
// them up anew each time would cost the square of the queue.
type queueState struct {
	queue []*wait
	// blockedPermits is the sum of the permits of holders that are not reducible.
	blockedPermits int64
	// wantedPermits has, by queue position, the permits of each wait that isn't satisfiable yet.
	wantedPermits minSegmentTree
	// competingPermits has the waits of processes that are not reducible and wait elsewhere as well. It is a Fenwick tree by
	// queue position, whose elements are Fenwick trees by permits: those up to a position are in as many of these as the position
	// has bits.
	competingPermits []*fenwickTree
	// reservedWaits are waits of processes that are not reducible, and behind which nothing is granted: as many as the status can
	// name.
	reservedWaits []*wait
}

func newQueueState(r *resource) *queueState {
	l := &queueState{queue: r.queue, wantedPermits: newMinSegmentTree(len(r.queue)), competingPermits: make([]*fenwickTree, len(r.queue)+1)}
	r.reservedClaims = reservedClaims(r)
	for i := range r.holds {
		if h := &r.holds[i]; !h.ending {
			l.blockedPermits += int64(h.holder.Permits)
		}
	}
	within := make([][]*wait, len(l.competingPermits))
	for i, w := range r.queue {
		w.queuePosition = i + 1
		w.waitsElsewhere = w.process.waitsForOtherThan(w)
		if w.needsPermits(r) {
			l.wantedPermits.set(w.queuePosition, int64(w.permits))
		}
		if r.isReservedFor(w) {
			l.reservedWaits = append(l.reservedWaits, w)
		}
		for at := w.queuePosition; w.waitsElsewhere && at < len(within); at += at & -at {
			within[at] = append(within[at], w)
		}
	}
	for at := range within {
		l.competingPermits[at] = newFenwickTree(within[at])
	}
	for _, w := range r.queue {
		if w.waitsElsewhere {
			l.addCompeting(w, int64(w.permits))
		}
	}
	return l
}

func (l *queueState) addCompeting(w *wait, permits int64) {
	for at := w.queuePosition; at < len(l.competingPermits); at += at & -at {
		l.competingPermits[at].add(w.permits, permits)
	}
}

// releaseHold records that the holder is reducible.
func (l *queueState) releaseHold(h *hold) {
	if !h.ending {
		l.blockedPermits -= int64(h.holder.Permits)
	}
}

// removeWait records that the process of w is reducible.
func (l *queueState) removeWait(w *wait) {
	if w.queuePosition == 0 {
		return
	}
	l.wantedPermits.remove(w.queuePosition)
	l.reservedWaits = slices.DeleteFunc(l.reservedWaits, func(other *wait) bool { return other == w })
	if w.waitsElsewhere {
		l.addCompeting(w, -int64(w.permits))
	}
}

// candidates iterates over the waits to check. The caller removes satisfiable ones from wantedPermits meanwhile.
func (l *queueState) candidates() iter.Seq[*wait] {
	return func(yield func(*wait) bool) {
		least := int64(math.MaxInt64)
		for at := l.wantedPermits.nextBelow(1, least); at > 0; at = l.wantedPermits.nextBelow(at+1, least) {
			w := l.queue[at-1]
			if !yield(w) {
				return
			}
			if !w.satisfiable {
				least = int64(w.permits)
			}
		}
	}
}

// permitsAhead returns how many permits w can't have because of holders and waits ahead.
func (l *queueState) permitsAhead(w *wait) int64 {
	sum := l.blockedPermits + l.competingAhead(w.queuePosition, w.permits)
	for _, other := range l.reservedWaits {
		if other.queuePosition < w.queuePosition && (other.permits > w.permits || !other.waitsElsewhere) {
			sum += int64(other.permits)
		}
	}
	return sum
}

// permitsAheadAtTail returns the same for a condition that asks for that many permits behind the whole queue.
func (l *queueState) permitsAheadAtTail(permits int32) int64 {
	return l.blockedPermits + l.competingAhead(len(l.queue)+1, permits)
}

// competingAhead returns the sum of the permits of competing waits before a queue position that ask for at most that many.
func (l *queueState) competingAhead(place int, permits int32) (sum int64) {
	for at := place - 1; at > 0; at -= at & -at {
		sum += l.competingPermits[at].sumUpTo(permits)
	}
	return sum
}

// reservedClaims returns the claims that have been overtaken as often as is allowed.
func reservedClaims(r *resource) map[types.UID]bool {
	uids := map[types.UID]bool{}
	if r.sem != nil {
		for _, o := range r.sem.Status.Overtaken {
			if o.Times >= konductorv1.MaxOvertaken {
				uids[o.ClaimUID] = true
			}
		}
	}
	return uids
}

// isReservedFor reports whether w has been overtaken as often as is allowed, so that free permits are reserved for it and nothing
// behind it is granted.
func (r *resource) isReservedFor(w *wait) bool {
	return w.claim != nil && r.reservedClaims[w.claim.UID]
}

package checks

import (
	"cmp"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/e2e/chaos/revisions"
)

// barrierIncarnation is one incarnation of a barrier with its arrivals.
type barrierIncarnation struct {
	key      revisions.ObjectKey
	last     *konductorv1.Barrier
	deleted  bool
	arrivals []arrival
}

type arrival struct {
	participant     string
	failed          bool
	createdAt       time.Time
	createdRevision int64
}

func newArrival(r revisions.Revision) arrival {
	return arrival{r.Arrival.Spec.Participant, r.Arrival.Spec.Failed, r.Arrival.CreationTimestamp.Time, r.Created}
}

// countArrivals counts each participant once, by its first arrival before the deadline, as the documentation of Barrier says.
func (m *barrierIncarnation) countArrivals(b *konductorv1.Barrier) (arrived, failed int32, names map[string]bool) {
	ordered := slices.Clone(m.arrivals)
	slices.SortFunc(ordered, func(a, b arrival) int {
		return cmp.Or(a.createdAt.Compare(b.createdAt), cmp.Compare(a.createdRevision, b.createdRevision))
	})
	names = map[string]bool{}
	for _, a := range ordered {
		if _, counted := names[a.participant]; counted {
			continue
		}
		if b.Spec.Timeout != nil && a.createdAt.After(barrierDeadline(b)) {
			continue
		}
		names[a.participant] = !a.failed
		if a.failed {
			failed++
		} else {
			arrived++
		}
	}
	return arrived, failed, names
}

func barrierDeadline(b *konductorv1.Barrier) time.Time {
	return b.CreationTimestamp.Add(b.Spec.Timeout.Duration.Duration)
}

func quorum(b *konductorv1.Barrier) int32 {
	if b.Spec.Quorum != nil {
		return *b.Spec.Quorum
	}
	return b.Spec.Expected
}

func checkBarriers(run *CampaignData, f *findings) {
	incarnations := map[types.UID]*barrierIncarnation{}
	incarnation := func(uid types.UID) *barrierIncarnation {
		if incarnations[uid] == nil {
			incarnations[uid] = &barrierIncarnation{}
		}
		return incarnations[uid]
	}
	for _, r := range run.Revisions {
		switch {
		case r.Arrival != nil && !r.Deleted && r.Version == 1:
			m := incarnation(r.Arrival.Spec.BarrierUID)
			m.arrivals = append(m.arrivals, newArrival(r))
		case r.Barrier != nil:
			m := incarnation(r.Barrier.UID)
			m.key, m.deleted = revisions.ObjectKey{Namespace: r.Namespace, Kind: konductorv1.KindBarrier, Name: r.Name}, r.Deleted
			if !r.Deleted {
				m.checkRevision(run, f, r)
				m.last = r.Barrier
			}
		}
	}
	for _, m := range incarnations {
		if m.last != nil && !m.deleted {
			m.checkFinalState(run, f)
		}
	}
}

// checkRevision checks one revision against those before it.
func (m *barrierIncarnation) checkRevision(run *CampaignData, f *findings, r revisions.Revision) {
	b := r.Barrier
	arrived, failed, names := m.countArrivals(b)
	before := konductorv1.BarrierPhase("")
	if m.last != nil {
		before = m.last.Status.Phase
	}
	phase := b.Status.Phase
	if before == konductorv1.BarrierOpen && phase != before {
		f.add(m.key, "revision %d: it was open and is %s", r.Number, phase)
	}
	if before != konductorv1.BarrierOpen && b.Status.Arrived > arrived {
		f.add(m.key, "revision %d: status counts %d participants of the %d that have arrived", r.Number, b.Status.Arrived, arrived)
	}
	listed := map[string]bool{}
	for _, name := range b.Status.Arrivals {
		if listed[name] || (before != konductorv1.BarrierOpen && !names[name]) {
			f.add(m.key, "revision %d: %s is listed twice, or has not arrived", r.Number, name)
		}
		listed[name] = true
	}
	if phase == before {
		return
	}
	switch phase {
	case konductorv1.BarrierOpen:
		if arrived < quorum(b) {
			f.add(m.key, "revision %d: it opens when %d participants of %d have arrived", r.Number, arrived, quorum(b))
		}
	case konductorv1.BarrierFailed:
		if failed <= b.Spec.Expected-quorum(b) {
			f.add(m.key, "revision %d: it fails when %d participants have failed of %d, and %d are enough", r.Number, failed, b.Spec.Expected, quorum(b))
		}
	case konductorv1.BarrierTimeout:
		m.checkTimeout(run, f, r, arrived)
	default:
	}
}

func (m *barrierIncarnation) checkTimeout(run *CampaignData, f *findings, r revisions.Revision, arrived int32) {
	b := r.Barrier
	// Creation times and the API server's clock have a resolution of one second.
	const exact = 2 * time.Second
	if at := run.StartTime.Add(r.ReadAt); b.Spec.Timeout == nil || at.Before(barrierDeadline(b).Add(-exact)) {
		f.add(m.key, "revision %d: it times out at %s, before its time", r.Number, at)
	}
	if arrived >= quorum(b) {
		f.add(m.key, "revision %d: it times out though %d participants of %d had arrived in time", r.Number, arrived, quorum(b))
	}
}

// checkFinalState checks the status of the barrier at quiescence.
func (m *barrierIncarnation) checkFinalState(run *CampaignData, f *findings) {
	now := run.StartTime.Add(run.Revisions[len(run.Revisions)-1].ReadAt)
	if want, arrived, failed := m.expectedState(m.last, now); !matchesExpectedState(m.last, want, arrived, failed) {
		s := m.last.Status
		f.add(m.key, "in the end it is %s with %d arrived and %d failed, and ought to be %s with %d and %d", s.Phase, s.Arrived, s.Failed, want, arrived, failed)
	}
}

// expectedState returns the phase and the counts that b must have once the operator has had the time to reconcile it.
func (m *barrierIncarnation) expectedState(b *konductorv1.Barrier, now time.Time) (phase konductorv1.BarrierPhase, arrived, failed int32) {
	arrived, failed, _ = m.countArrivals(b)
	const soon = 5 * time.Second
	switch {
	case arrived >= quorum(b):
		return konductorv1.BarrierOpen, arrived, failed
	case failed > b.Spec.Expected-quorum(b):
		return konductorv1.BarrierFailed, arrived, failed
	case b.Spec.Timeout != nil && now.After(barrierDeadline(b).Add(soon)):
		return konductorv1.BarrierTimeout, arrived, failed
	default:
		return konductorv1.BarrierWaiting, arrived, failed
	}
}

// matchesExpectedState reports whether b's status is as expected. A barrier that has opened or timed out doesn't change any more;
// checkRevision has checked whether that was right when it happened.
func matchesExpectedState(b *konductorv1.Barrier, want konductorv1.BarrierPhase, arrived, failed int32) bool {
	s := b.Status
	if s.Phase == konductorv1.BarrierOpen || s.Phase == konductorv1.BarrierTimeout {
		return true
	}
	return s.Phase == want && s.Arrived == arrived && s.Failed == failed
}

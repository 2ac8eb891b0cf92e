package checks

import (
	"cmp"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/e2e/chaos/revisions"
)

// meeting is one incarnation of a barrier and who has come.
type meeting struct {
	key      revisions.Key
	last     *konductorv1.Barrier
	gone     bool
	arrivals []arrival
}

type arrival struct {
	participant string
	failed      bool
	second      time.Time
	revision    int64
}

func arrivalOf(r revisions.Revision) arrival {
	return arrival{r.Arrival.Spec.Participant, r.Arrival.Spec.Failed, r.Arrival.CreationTimestamp.Time, r.Created}
}

// count counts each participant once, by its first arrival in time, as the documentation of Barrier has it.
func (m *meeting) count(b *konductorv1.Barrier) (arrived, failed int32, names map[string]bool) {
	ordered := slices.Clone(m.arrivals)
	slices.SortFunc(ordered, func(a, b arrival) int { return cmp.Or(a.second.Compare(b.second), cmp.Compare(a.revision, b.revision)) })
	names = map[string]bool{}
	for _, a := range ordered {
		if _, counted := names[a.participant]; counted {
			continue
		}
		if b.Spec.Timeout != nil && a.second.After(deadline(b)) {
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

func deadline(b *konductorv1.Barrier) time.Time {
	return b.CreationTimestamp.Add(b.Spec.Timeout.Duration.Duration)
}

func quorum(b *konductorv1.Barrier) int32 {
	if b.Spec.Quorum != nil {
		return *b.Spec.Quorum
	}
	return b.Spec.Expected
}

func checkBarriers(run *Run, f *findings) {
	meetings := map[types.UID]*meeting{}
	of := func(uid types.UID) *meeting {
		if meetings[uid] == nil {
			meetings[uid] = &meeting{}
		}
		return meetings[uid]
	}
	for _, r := range run.Revisions {
		switch {
		case r.Arrival != nil && !r.Deleted && r.Version == 1:
			for _, owner := range r.Arrival.OwnerReferences {
				m := of(owner.UID)
				m.arrivals = append(m.arrivals, arrivalOf(r))
			}
		case r.Barrier != nil:
			m := of(r.Barrier.UID)
			m.key, m.gone = revisions.Key{Namespace: r.Namespace, Kind: konductorv1.KindBarrier, Name: r.Name}, r.Deleted
			if !r.Deleted {
				m.see(run, f, r)
				m.last = r.Barrier
			}
		}
	}
	for _, m := range meetings {
		if m.last != nil && !m.gone {
			m.end(run, f)
		}
	}
}

// see checks one revision against those before it.
func (m *meeting) see(run *Run, f *findings, r revisions.Revision) {
	b := r.Barrier
	arrived, failed, names := m.count(b)
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
		m.timesOut(run, f, r, arrived)
	default:
	}
}

func (m *meeting) timesOut(run *Run, f *findings, r revisions.Revision, arrived int32) {
	b := r.Barrier
	// Creation times have whole seconds, and so has the clock that the API server shows.
	const exact = 2 * time.Second
	if at := run.Began.Add(r.Seen); b.Spec.Timeout == nil || at.Before(deadline(b).Add(-exact)) {
		f.add(m.key, "revision %d: it times out at %s, before its time", r.Number, at)
	}
	if arrived >= quorum(b) {
		f.add(m.key, "revision %d: it times out though %d participants of %d had arrived in time", r.Number, arrived, quorum(b))
	}
}

// end checks how the barrier stands when all is quiet.
func (m *meeting) end(run *Run, f *findings) {
	now := run.Began.Add(run.Revisions[len(run.Revisions)-1].Seen)
	if want, arrived, failed := m.ought(m.last, now); !reached(m.last, want, arrived, failed) {
		s := m.last.Status
		f.add(m.key, "in the end it is %s with %d arrived and %d failed, and ought to be %s with %d and %d", s.Phase, s.Arrived, s.Failed, want, arrived, failed)
	}
}

// ought returns how b ought to stand once the operator has had the time to see to it.
func (m *meeting) ought(b *konductorv1.Barrier, now time.Time) (phase konductorv1.BarrierPhase, arrived, failed int32) {
	arrived, failed, _ = m.count(b)
	const soon = 5 * time.Second
	switch {
	case arrived >= quorum(b):
		return konductorv1.BarrierOpen, arrived, failed
	case failed > b.Spec.Expected-quorum(b):
		return konductorv1.BarrierFailed, arrived, failed
	case b.Spec.Timeout != nil && now.After(deadline(b).Add(soon)):
		return konductorv1.BarrierTimeout, arrived, failed
	default:
		return konductorv1.BarrierWaiting, arrived, failed
	}
}

// reached reports whether b stands as it ought to. One that has opened or timed out stays as it was, and whether that was
// right was looked at when it happened.
func reached(b *konductorv1.Barrier, want konductorv1.BarrierPhase, arrived, failed int32) bool {
	s := b.Status
	if s.Phase == konductorv1.BarrierOpen || s.Phase == konductorv1.BarrierTimeout {
		return true
	}
	return s.Phase == want && s.Arrived == arrived && s.Failed == failed
}

package checks

import (
	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/e2e/chaos/revisions"
)

// arrivingWorkload is a held Job or Pod that is to arrive, at its latest revision, and the number of its arrivals.
type arrivingWorkload struct {
	revisions.Workload
	arrivals int
}

// checkWorkloadArrivals checks that a held Job or Pod arrives only after it has finished, with the right outcome and once, and that
// it has arrived before its label says that it is settled. One that is deleted after it has finished, or that finishes while it is
// being deleted, may or may not arrive. Each has a barrier of its own.
func checkWorkloadArrivals(run *CampaignData, f *findings) {
	arriving := map[revisions.ObjectKey]*arrivingWorkload{} // by barrier
	barrierKey := func(r revisions.Revision, name string) revisions.ObjectKey {
		return revisions.ObjectKey{Namespace: r.Namespace, Kind: konductorv1.KindBarrier, Name: name}
	}
	for _, r := range run.Revisions {
		workload := r.Job
		if workload == nil {
			workload = r.Pod
		}
		if workload != nil && workload.Barrier != "" {
			key := barrierKey(r, workload.Barrier)
			if arriving[key] == nil {
				arriving[key] = &arrivingWorkload{}
			}
			a := arriving[key]
			if workload.Settled && !a.Settled && a.arrivals == 0 {
				f.add(key, "revision %d: %s is settled and has not arrived", r.Number, workload.Holder)
			}
			a.Workload = *workload
			continue
		}
		if r.Arrival == nil || r.Deleted || r.Version != 1 {
			continue
		}
		spec := r.Arrival.Spec
		key := barrierKey(r, spec.Barrier)
		a := arriving[key]
		if a == nil {
			continue // It is a barrier of other clients.
		}
		a.arrivals++
		switch {
		case spec.Participant != a.Holder || a.arrivals > 1:
			f.add(key, "revision %d: %s arrives, and only %s was to arrive, once", r.Number, spec.Participant, a.Holder)
		case !a.Finished:
			f.add(key, "revision %d: %s arrives before it has finished", r.Number, a.Holder)
		case spec.Failed != a.Failed:
			f.add(key, "revision %d: %s arrives with failed %t, and with %t it has finished", r.Number, a.Holder, spec.Failed, a.Failed)
		}
	}
}

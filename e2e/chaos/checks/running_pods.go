package checks

import (
	"k8s.io/apimachinery/pkg/types"

	"github.com/LogicIQ/konductor/e2e/chaos/revisions"
)

// workloadHold names what a held Job or Pod holds, or is to hold.
type workloadHold struct {
	holder string
	target revisions.ObjectKey
}

// workloadKey names a held Job or Pod. Their names are unique.
type workloadKey struct{ namespace, holder string }

// runningWorkload is a held Job with Pods that have not finished, or such a held Pod.
type runningWorkload struct {
	pods    map[types.UID]bool
	targets []revisions.ObjectKey
}

// checkRunningPods checks that at every revision each held Pod that may run, and each held Job with a Pod that may run, holds what
// it is to hold. Together with the limit of holds this is the guarantee about Pods. A Pod behind the operator's scheduling gate
// can't run. A hold that was lost with its object, which somebody has deleted, is no violation: a Job is stopped, which takes a
// moment, and a Pod runs on.
func checkRunningPods(run *CampaignData, f *findings) {
	last := map[revisions.ObjectKey]revisions.Target{}
	lostByDeletion := map[workloadHold]bool{}
	running := map[workloadKey]*runningWorkload{}
	isHeld := func(h workloadHold) bool {
		for _, hold := range last[h.target].Holds {
			if hold.Holder == h.holder {
				return true
			}
		}
		return lostByDeletion[h]
	}
	for _, r := range run.Revisions {
		if pod := r.Pod; pod != nil && pod.Holds != "" && !pod.Gated {
			key := workloadKey{r.Namespace, pod.Holder}
			workload := running[key]
			if r.Deleted || pod.Finished {
				if workload != nil {
					delete(workload.pods, pod.UID)
				}
				continue
			}
			if workload == nil {
				workload = &runningWorkload{pods: map[types.UID]bool{}, targets: pod.Targets(r.Namespace)}
				running[key] = workload
			}
			isNew := !workload.pods[pod.UID]
			workload.pods[pod.UID] = true
			for _, target := range workload.targets {
				if isNew && !isHeld(workloadHold{pod.Holder, target}) {
					f.add(target, "revision %d: pod %s may run, and %s doesn't hold", r.Number, r.Name, pod.Holder)
				}
			}
			continue
		}
		now, ok := r.Target()
		if !ok {
			continue
		}
		before := last[now.ObjectKey]
		if r.Deleted {
			for _, hold := range before.Holds {
				lostByDeletion[workloadHold{hold.Holder, now.ObjectKey}] = true
			}
			delete(last, now.ObjectKey)
			continue
		}
		last[now.ObjectKey] = now
		for _, hold := range now.Holds {
			if _, held := before.HoldOf(hold.UID); !held {
				delete(lostByDeletion, workloadHold{hold.Holder, now.ObjectKey})
			}
		}
		for _, hold := range before.Holds {
			workload := running[workloadKey{now.Namespace, hold.Holder}]
			if workload != nil && len(workload.pods) > 0 && !isHeld(workloadHold{hold.Holder, now.ObjectKey}) {
				f.add(now.ObjectKey, "revision %d: the hold of %s (token %d) ends, and %d pods of it may run", r.Number, hold.Holder, hold.Token, len(workload.pods))
			}
		}
	}
}

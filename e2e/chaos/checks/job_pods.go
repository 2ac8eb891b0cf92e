package checks

import (
	"k8s.io/apimachinery/pkg/types"

	"github.com/LogicIQ/konductor/e2e/chaos/revisions"
)

// jobHold names what a Job holds, or is to hold.
type jobHold struct {
	job    types.UID
	target revisions.ObjectKey
}

// runningJob is a Job with Pods that have not finished.
type runningJob struct {
	pods    map[types.UID]bool
	targets []revisions.ObjectKey
}

// checkJobPods checks that at every revision each Job with a Pod that may run holds what it is to hold. Together with the limit
// of holds this is the guarantee about the Pods of Jobs. A hold that was lost with its object, which somebody has deleted, is
// no violation: the Job is stopped, which takes a moment.
func checkJobPods(run *CampaignData, f *findings) {
	last := map[revisions.ObjectKey]revisions.Target{}
	lostByDeletion := map[jobHold]bool{}
	running := map[types.UID]*runningJob{}
	isHeld := func(h jobHold) bool {
		for _, hold := range last[h.target].Holds {
			if hold.Job == h.job {
				return true
			}
		}
		return lostByDeletion[h]
	}
	for _, r := range run.Revisions {
		if pod := r.Pod; pod != nil && pod.Job != "" {
			job := running[pod.Job]
			if r.Deleted || pod.Finished {
				if job != nil {
					delete(job.pods, pod.UID)
				}
				continue
			}
			if job == nil {
				job = &runningJob{pods: map[types.UID]bool{}, targets: pod.Targets(r.Namespace)}
				running[pod.Job] = job
			}
			isNew := !job.pods[pod.UID]
			job.pods[pod.UID] = true
			for _, target := range job.targets {
				if isNew && !isHeld(jobHold{pod.Job, target}) {
					f.add(target, "revision %d: pod %s exists, and its job doesn't hold", r.Number, r.Name)
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
				lostByDeletion[jobHold{hold.Job, now.ObjectKey}] = true
			}
			delete(last, now.ObjectKey)
			continue
		}
		last[now.ObjectKey] = now
		for _, hold := range now.Holds {
			if _, held := before.HoldOf(hold.UID); !held {
				delete(lostByDeletion, jobHold{hold.Job, now.ObjectKey})
			}
		}
		for _, hold := range before.Holds {
			if job := running[hold.Job]; job != nil && len(job.pods) > 0 && !isHeld(jobHold{hold.Job, now.ObjectKey}) {
				f.add(now.ObjectKey, "revision %d: the hold of %s (token %d) ends, and %d pods of its job may run", r.Number, hold.Holder, hold.Token, len(job.pods))
			}
		}
	}
}

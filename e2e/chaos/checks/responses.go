package checks

import (
	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/e2e/chaos/history"
	"github.com/LogicIQ/konductor/e2e/chaos/revisions"
)

func checkResponses(run *CampaignData, f *findings) {
	type grantKey struct {
		key    revisions.ObjectKey
		holder string
		token  int64
	}
	grants := map[grantKey]*revisions.Grant{}
	for _, g := range revisions.FindGrants(run.Revisions) {
		grants[grantKey{g.ObjectKey, g.Holder, g.Token}] = g
	}
	phases := barrierPhases(run)
	first := map[grantKey]history.Op{} // by key and holder, with token 0
	for _, op := range run.Ops {
		key := objectKey(op)
		switch {
		case op.Action == history.Acquire && op.Outcome == history.OK:
			if grants[grantKey{key, op.Holder, op.Token}] == nil {
				f.add(key, "%s was told of token %d, which is not on record", op.Holder, op.Token)
			}
			id := grantKey{key: key, holder: op.Holder}
			before, again := first[id]
			if !again {
				first[id] = op
				continue
			}
			g := grants[grantKey{key, op.Holder, before.Token}]
			if before.Token != op.Token && g != nil && !g.EndedBefore(op.Return) {
				f.add(key, "%s asked again and was told of token %d, while it held with token %d", op.Holder, op.Token, before.Token)
			}
		case op.Action == history.Wait && op.Outcome == history.OK && !phases[key][konductorv1.BarrierOpen]:
			f.add(key, "%s was told that it is open, and it never was", op.Client)
		case op.Action == history.Wait && op.Reason == history.Failed && !phases[key][konductorv1.BarrierFailed] && !phases[key][konductorv1.BarrierTimeout]:
			f.add(key, "%s was told that it has failed, and it never has", op.Client)
		}
	}
}

// barrierPhases returns which phases each barrier was ever in.
func barrierPhases(run *CampaignData) map[revisions.ObjectKey]map[konductorv1.BarrierPhase]bool {
	phases := map[revisions.ObjectKey]map[konductorv1.BarrierPhase]bool{}
	for _, r := range run.Revisions {
		if r.Barrier == nil {
			continue
		}
		key := revisions.ObjectKey{Namespace: r.Namespace, Kind: konductorv1.KindBarrier, Name: r.Name}
		if phases[key] == nil {
			phases[key] = map[konductorv1.BarrierPhase]bool{}
		}
		phases[key][r.Barrier.Status.Phase] = true
	}
	return phases
}

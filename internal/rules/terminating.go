package rules

import (
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// An object that is being deleted counts as deleted from the moment in which the API server has accepted the deletion: a
// finalizer, or a deletion in the foreground, may keep the object for long, and can't bring it back. So nothing is
// decided for it any more.

// DeletedMessage is the message for claims and waiters whose object was deleted, or is being deleted.
func DeletedMessage(kind, name string) string { return kind + " " + name + " was deleted" }

// decideTerminatingBarrier decides for a barrier that is being deleted: it doesn't open, fail or time out any more.
func decideTerminatingBarrier(b *konductorv1.Barrier, now Instant) BarrierDecision {
	next := b.Status.DeepCopy()
	next.ObservedGeneration = b.Generation
	setTerminatingConditions(&next.Conditions, konductorv1.KindBarrier, b.Generation, now)
	changed := !equality.Semantic.DeepEqual(b.Status, *next)
	return BarrierDecision{Status: *next, Changed: changed, Urgent: changed}
}

// decideTerminatingGate does the same for a gate.
func decideTerminatingGate(g *konductorv1.Gate, now Instant) GateDecision {
	next := g.Status.DeepCopy()
	next.ObservedGeneration = g.Generation
	setTerminatingConditions(&next.Conditions, konductorv1.KindGate, g.Generation, now)
	return GateDecision{Status: *next, Changed: !equality.Semantic.DeepEqual(g.Status, *next)}
}

// setTerminatingConditions sets the conditions of an object that is being deleted. Open stays true if it is.
func setTerminatingConditions(conditions *[]metav1.Condition, kind string, generation int64, now Instant) {
	set := func(name string) {
		meta.SetStatusCondition(conditions, newCondition(name, false, konductorv1.ReasonTerminating, "the "+strings.ToLower(kind)+" is being deleted", generation, now))
	}
	set(konductorv1.ConditionReady)
	if (kind == konductorv1.KindBarrier || kind == konductorv1.KindGate) && !meta.IsStatusConditionTrue(*conditions, konductorv1.ConditionOpen) {
		set(konductorv1.ConditionOpen)
	}
	if kind == konductorv1.KindSemaphore {
		set(konductorv1.ConditionAvailable)
	}
}

// terminateClaims decides about the claims on an object that is being deleted, given the remaining holders. The clients
// of holders are notified; those of waiters learn it from the deletion of their claim. A claim that was made without an
// owner goes on waiting for an object of that name.
func (in *holdState) terminateClaims(claims *ClaimSet, act *HoldDecision) {
	in.overtaken, in.waiting = nil, 0
	unnotified := map[*Claim]bool{}
	for i := range in.holders {
		c, existence := claims.Find(in.holders[i].ClaimUID)
		switch {
		case existence != ExistenceConfirmed:
		case phaseRank(c.Phase) == 0:
			// The client may know of the grant from the object's own status.
			unnotified[c] = true
			act.StaleTarget = append(act.StaleTarget, c)
		default:
			act.Expire = append(act.Expire, Termination{c, in.deletedMessage})
		}
	}
	for c := range claims.Queue(nil) {
		switch {
		case unnotified[c]:
		case c.TargetUID == "":
			in.waiting++
		default:
			act.StaleTarget = append(act.StaleTarget, c)
		}
	}
	act.RevokeUnrecorded = unrecordedClaims(in.holders, claims)
}

package waitgraph

import (
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// missingCause describes an object that does not exist.
func missingCause(ref Ref, reason Reason, create string) *Cause {
	return &Cause{
		Reason: reason, Message: "does not exist", Remedy: "create it: waiters keep waiting until it exists",
		Command: fmt.Sprintf("koncli %s create %s%s -n %s", strings.ToLower(ref.Kind), ref.Name, create, ref.Namespace),
	}
}

// unobservedCause describes an object that no operator has observed yet, or returns nil. After operatorReactionTime it blames the
// operator.
func (w *explainer) unobservedCause(namespace string, observed, generation int64, created time.Time, neverObserved bool) *Cause {
	switch {
	case neverObserved && w.isOperatorOverdue(created):
		return w.operatorSilentCause(namespace, fmt.Sprintf("was created %s ago, but no operator has reconciled it", w.formatAge(created)))
	case neverObserved:
		return &Cause{Reason: ReasonAboutToGo, Message: "is new: the operator is about to reconcile it"}
	case observed < generation:
		return w.operatorSilentCause(namespace, fmt.Sprintf("has changed (generation %d), but the operator has only reconciled generation %d", generation, observed))
	}
	return nil
}

// conditionSince returns since when a condition has had a status; the zero time when it doesn't have it.
func conditionSince(conditions []metav1.Condition, kind string, status metav1.ConditionStatus) time.Time {
	if c := meta.FindStatusCondition(conditions, kind); c != nil && c.Status == status {
		return c.LastTransitionTime.Time
	}
	return time.Time{}
}

func pluralize(n int, thing string) string {
	if n == 1 {
		return thing
	}
	return thing + "s"
}

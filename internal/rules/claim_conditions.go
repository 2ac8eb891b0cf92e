package rules

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// ClaimConditions returns the conditions of a claim with that status. since is when the phase began.
func ClaimConditions(s *konductorv1.ClaimStatus, since time.Time) []metav1.Condition {
	granted := metav1.Condition{
		Type: konductorv1.ConditionGranted, Status: metav1.ConditionFalse, Message: s.Message, LastTransitionTime: metav1.NewTime(since),
	}
	switch s.Phase {
	case konductorv1.ClaimGranted:
		granted.Status, granted.Reason = metav1.ConditionTrue, konductorv1.ReasonGranted
	case konductorv1.ClaimExpired:
		granted.Reason = konductorv1.ReasonExpired
	case konductorv1.ClaimRefused:
		granted.Reason = konductorv1.ReasonRefused
	default:
		return nil
	}
	return []metav1.Condition{granted}
}

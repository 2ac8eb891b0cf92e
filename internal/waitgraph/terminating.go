package waitgraph

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// terminatingObject returns the object of that name if it is being deleted, or nil. It counts as deleted: nobody waits for it any
// more. Not so a Pod, whose program goes on until it has ended, and a Job that has ended, whose result counts.
func (a *Analysis) terminatingObject(ref Ref) metav1.Object {
	var obj metav1.Object
	switch ref.Kind {
	case konductorv1.KindGate:
		if g := a.gates[ref]; g != nil {
			obj = g.obj
		}
	case konductorv1.KindBarrier:
		if b := a.barriers[ref]; b != nil {
			obj = b.obj
		}
	case KindJob:
		if j := a.jobs[ref]; j != nil && j.terminalCondition() == "" {
			obj = j.obj
		}
	default:
		if r := a.resources[ref]; r != nil && r.lease != nil {
			obj = r.lease
		} else if r != nil && r.sem != nil {
			obj = r.sem
		}
	}
	if obj == nil || obj.GetDeletionTimestamp() == nil {
		return nil
	}
	return obj
}

// terminatingCause describes an object that is being deleted, with its finalizers; nil when it isn't being deleted.
func (w *explainer) terminatingCause(ref Ref) *Cause {
	obj := w.terminatingObject(ref)
	if obj == nil {
		return nil
	}
	c := &Cause{
		Reason: ReasonTerminating, Message: fmt.Sprintf("is being deleted (for %s), and counts as deleted", w.formatAge(obj.GetDeletionTimestamp().Time)),
		Command: kubectlCommand("describe", ref),
	}
	if kept := obj.GetFinalizers(); len(kept) > 0 {
		c.Message += "; it still has finalizers: " + strings.Join(kept, ", ")
		c.Remedy = "wait until its finalizers are removed, then create it again"
	}
	return c
}

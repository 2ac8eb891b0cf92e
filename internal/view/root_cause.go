package view

import (
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/waitgraph"
)

// analysisMaxAge is how long an analysis of a namespace is reused: it reads every object in it, and a frame is drawn up to
// ten times a second.
const analysisMaxAge = 2 * time.Second

// cachedAnalysis is the last analysis of a namespace and its last diagnosis: a screen asks for the same one again and again.
type cachedAnalysis struct {
	namespace  string
	analyzedAt time.Time
	*waitgraph.Analysis
	diagnosedRef Ref // empty: no diagnosis yet
	diagnosis    *waitgraph.Diagnosis
}

// rootCauseText returns a sentence with the root cause why an object is blocked; empty if it is not blocked or the cause is
// not known.
func (w *Store) rootCauseText(ref Ref, now time.Time) string {
	if !w.HasSynced(PrimitiveKinds()...) || !w.HasSynced(konductorv1.KindClaim, konductorv1.KindArrival, KindPod, KindJob) {
		return ""
	}
	d := w.diagnose(ref, now)
	if d == nil || !d.Blocked || len(d.RootCauses) == 0 {
		// An object that was created after the analysis is not in it.
		return ""
	}
	root := d.RootCauses[0]
	if root.Object.Kind == ref.Kind && root.Object.Name == ref.Name {
		// The object's own state is shown already.
		if root.Remedy == "" {
			return ""
		}
		return "fix: " + root.Remedy
	}
	text := "why: " + Ref{Kind: root.Object.Kind, Name: root.Object.Name}.String() + " " + root.Message
	if root.Remedy != "" {
		text += ": " + root.Remedy
	}
	return text
}

// diagnose returns the diagnosis of an object by an analysis no older than analysisMaxAge; nil if the object is not in it.
func (w *Store) diagnose(ref Ref, now time.Time) *waitgraph.Diagnosis {
	a := w.currentAnalysis(ref.Namespace, now)
	if a.diagnosedRef != ref {
		// diagnosis is nil if no object has that name.
		a.diagnosis, _ = a.Why(waitgraph.Ref{Kind: ref.Kind, Namespace: ref.Namespace, Name: ref.Name})
		a.diagnosedRef = ref
	}
	return a.diagnosis
}

// currentAnalysis returns an analysis of a namespace that is no older than analysisMaxAge.
func (w *Store) currentAnalysis(namespace string, now time.Time) *cachedAnalysis {
	if w.analysis.Analysis == nil || w.analysis.namespace != namespace || now.Sub(w.analysis.analyzedAt).Abs() >= analysisMaxAge {
		w.analysis = cachedAnalysis{namespace: namespace, analyzedAt: now, Analysis: waitgraph.Analyze(w.snapshot(namespace, now))}
	}
	return &w.analysis
}

// snapshot returns the objects of a namespace, and the kinds that are denied.
func (w *Store) snapshot(namespace string, now time.Time) *waitgraph.Snapshot {
	s := &waitgraph.Snapshot{Now: now, Namespaces: []string{namespace}}
	for ref, obj := range w.objects {
		if ref.Namespace != namespace {
			continue
		}
		switch o := obj.(type) {
		case *konductorv1.Barrier:
			s.Barriers = append(s.Barriers, o)
		case *konductorv1.Arrival:
			s.Arrivals = append(s.Arrivals, o)
		case *konductorv1.Gate:
			s.Gates = append(s.Gates, o)
		case *konductorv1.Lease:
			s.Leases = append(s.Leases, o)
		case *konductorv1.Semaphore:
			s.Semaphores = append(s.Semaphores, o)
		case *konductorv1.Claim:
			s.Claims = append(s.Claims, o)
		case *batchv1.Job:
			s.Jobs = append(s.Jobs, o)
		case *corev1.Pod:
			s.Pods = append(s.Pods, o)
		}
	}
	for kind, denied := range w.deniedMessages {
		if denied != "" && kind != KindEvent {
			s.Gaps = append(s.Gaps, waitgraph.Gap{Kind: kind, Namespace: namespace, Message: denied})
		}
	}
	return s
}

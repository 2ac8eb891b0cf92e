package view

import (
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/apis/waits"
)

// fresh is how long an analysis of a namespace is good enough: it looks at everything in it, and a frame is drawn up to
// ten times a second.
const fresh = 2 * time.Second

// analysis is the last analysis of a namespace.
type analysis struct {
	namespace string
	at        time.Time
	*waits.Analysis
}

// why returns a sentence with the root cause of why an object doesn't go on, or nothing where it does or not enough is known.
func (w *World) why(ref Ref, now time.Time) string {
	if !w.Complete(Kinds()...) || !w.Complete(konductorv1.KindClaim, konductorv1.KindArrival, KindPod, KindJob) {
		return ""
	}
	d, err := w.analyze(ref.Namespace, now).Why(waits.Ref{Kind: ref.Kind, Namespace: ref.Namespace, Name: ref.Name})
	if err != nil || !d.Blocked || len(d.Roots) == 0 {
		// An object that was created since is not in the analysis yet.
		return ""
	}
	root := d.Roots[0]
	if root.Object.Kind == ref.Kind && root.Object.Name == ref.Name {
		// How it stands is said already.
		if root.Remedy == "" {
			return ""
		}
		return "what to do: " + root.Remedy
	}
	text := "why: " + Ref{Kind: root.Object.Kind, Name: root.Object.Name}.String() + " " + root.Message
	if root.Remedy != "" {
		text += ": " + root.Remedy
	}
	return text
}

// analyze returns an analysis of a namespace that is fresh.
func (w *World) analyze(namespace string, now time.Time) *waits.Analysis {
	if w.analysis.Analysis == nil || w.analysis.namespace != namespace || now.Sub(w.analysis.at).Abs() >= fresh {
		w.analysis = analysis{namespace, now, waits.Analyze(w.snapshot(namespace, now))}
	}
	return w.analysis.Analysis
}

// snapshot returns what there is in a namespace.
func (w *World) snapshot(namespace string, now time.Time) *waits.Snapshot {
	s := &waits.Snapshot{Now: now, Namespaces: []string{namespace}}
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
	for kind, denied := range w.denied {
		if denied != "" && kind != KindEvent {
			s.Gaps = append(s.Gaps, waits.Gap{Kind: kind, Namespace: namespace, Message: denied})
		}
	}
	return s
}

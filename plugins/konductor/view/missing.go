package view

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/apis/waits"
)

// A barrier knows how many it expects and not whom. Package waits concludes it from what is known of Jobs and Pods.

// missing is a participant that has not arrived, or several of one Job, and how it is.
type missing struct {
	participant, how string
	count            int
	mood             Mood
}

// missingDetail adds who is missing at a barrier that waits.
func (w *World) missingDetail(d *Detail, b *konductorv1.Barrier, arrivals []*konductorv1.Arrival, now time.Time) {
	if d.Row.State == Open || d.Row.State == Deleting {
		return
	}
	come := int(b.Status.Arrived + b.Status.Failed)
	expected := max(int(b.Spec.Expected)-come, 0)
	var known []missing
	if w.Denied(konductorv1.KindArrival) == "" {
		known = w.missingAt(b, arrivals, now)
	}
	unknown := expected
	s := Section{Title: fmt.Sprintf("Missing (%d)", expected), Columns: []string{"PARTICIPANT", "HOW IT IS"}}
	for _, m := range known {
		s.Lines = append(s.Lines, Line{Cells: []string{m.participant, m.how}, Mood: m.mood})
		unknown -= m.count
	}
	switch {
	case unknown > 0 && len(known) > 0:
		s.More = fmt.Sprintf("and %d of whom nothing is known yet", unknown)
	case unknown > 0 && w.Denied(konductorv1.KindArrival) != "":
		s.More = w.Denied(konductorv1.KindArrival)
	case unknown > 0 && w.Denied(KindJob) != "":
		s.More = w.Denied(KindJob)
	case unknown > 0 && !w.Complete(KindJob, KindPod):
		// They are being listed.
		s.More = "who they are is not known yet"
	case unknown > 0:
		s.More = fmt.Sprintf("nothing is known yet of the %d: no Job or Pod here says that it will arrive", unknown)
	}
	d.section(s)
}

// missingAt returns those of whom it is known that they take part and have not arrived, in order.
func (w *World) missingAt(b *konductorv1.Barrier, arrivals []*konductorv1.Arrival, now time.Time) (all []missing) {
	if !w.Complete(konductorv1.KindArrival, KindPod, KindJob) {
		return nil
	}
	m := w.analyze(b.Namespace, now).Missing(waits.Ref{Kind: konductorv1.KindBarrier, Namespace: b.Namespace, Name: b.Name})
	if m == nil {
		return nil
	}
	// The analysis may be older than the latest arrivals.
	here := make(map[string]bool, len(arrivals))
	for _, a := range arrivals {
		here[a.Spec.Participant] = true
	}
	for _, p := range slices.Concat(m.Known, m.Ended) {
		if !here[p.Name] {
			all = append(all, w.missing(&p))
		}
	}
	slices.SortFunc(all, func(a, b missing) int {
		_, jobA, indexA := participantParts(a.participant)
		_, jobB, indexB := participantParts(b.participant)
		return cmp.Or(cmp.Compare(jobA, jobB), cmp.Compare(len(indexA), len(indexB)), cmp.Compare(indexA, indexB))
	})
	return all
}

// missing says how a participant is.
func (w *World) missing(p *waits.Participant) missing {
	m := missing{participant: p.Name, count: p.Count}
	switch o := w.objects[Ref{p.Process.Kind, p.Process.Namespace, p.Process.Name}].(type) {
	case *batchv1.Job:
		m.how, m.mood = jobIs(o), jobMood(o)
		if p.Name != p.Process.String() {
			m.how = fmt.Sprintf("%d without a pod, job %s", p.Count, m.how)
		}
	case *corev1.Pod:
		m.how, m.mood = podIs(o), podMood(o)
		if p.Name != p.Process.String() {
			m.how = "pod " + o.Name + " " + m.how
		}
	}
	return m
}

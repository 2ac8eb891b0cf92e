package view

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/waitgraph"
)

// A barrier knows how many participants it expects, but not which. Package waitgraph infers them from the Jobs and Pods.

// missingParticipant is a participant that has not arrived, or several of one Job, and its status.
type missingParticipant struct {
	participant, statusText string
	count                   int
	severity                Severity
}

// addMissingSection adds the missing participants of a barrier that waits.
func (w *Store) addMissingSection(d *Detail, b *konductorv1.Barrier, arrivals []*konductorv1.Arrival, now time.Time) {
	if d.Row.State == StateOpen || d.Row.State == StateDeleting {
		return
	}
	arrived := int(b.Status.Arrived + b.Status.Failed)
	expected := max(int(b.Spec.Expected)-arrived, 0)
	var known []missingParticipant
	if w.DeniedMessage(konductorv1.KindArrival) == "" {
		known = w.missingParticipants(b, arrivals, now)
	}
	unknown := expected
	s := Section{Title: fmt.Sprintf("Missing (%d)", expected), Columns: []string{"PARTICIPANT", "DETAILS"}}
	for _, m := range known {
		s.Lines = append(s.Lines, Line{Cells: []string{m.participant, m.statusText}, Severity: m.severity})
		unknown -= m.count
	}
	switch {
	case unknown > 0 && len(known) > 0:
		s.Footnote = fmt.Sprintf("and %d more, not known yet", unknown)
	case unknown > 0 && w.DeniedMessage(konductorv1.KindArrival) != "":
		s.Footnote = w.DeniedMessage(konductorv1.KindArrival)
	case unknown > 0 && w.DeniedMessage(KindJob) != "":
		s.Footnote = w.DeniedMessage(KindJob)
	case unknown > 0 && !w.HasSynced(KindJob, KindPod):
		// They are still being listed.
		s.Footnote = "not known yet"
	case unknown > 0:
		s.Footnote = fmt.Sprintf("%d not known yet: no Job or Pod in this namespace has a command that arrives at this barrier", unknown)
	}
	d.addSection(s)
}

// missingParticipants returns the known participants that have not arrived, by Job and index.
func (w *Store) missingParticipants(b *konductorv1.Barrier, arrivals []*konductorv1.Arrival, now time.Time) (all []missingParticipant) {
	if !w.HasSynced(konductorv1.KindArrival, KindPod, KindJob) {
		return nil
	}
	m := w.currentAnalysis(b.Namespace, now).MissingArrivals(waitgraph.Ref{Kind: konductorv1.KindBarrier, Namespace: b.Namespace, Name: b.Name})
	if m == nil {
		return nil
	}
	// The analysis may be older than the latest arrivals.
	arrived := make(map[string]bool, len(arrivals))
	for _, a := range arrivals {
		arrived[a.Spec.Participant] = true
	}
	for _, p := range slices.Concat(m.Known, m.Ended) {
		if !arrived[p.Name] {
			all = append(all, w.describeMissing(&p))
		}
	}
	slices.SortFunc(all, func(a, b missingParticipant) int {
		_, jobA, indexA := parseParticipant(a.participant)
		_, jobB, indexB := parseParticipant(b.participant)
		return cmp.Or(cmp.Compare(jobA, jobB), cmp.Compare(len(indexA), len(indexB)), cmp.Compare(indexA, indexB))
	})
	return all
}

// describeMissing returns a participant with its status.
func (w *Store) describeMissing(p *waitgraph.Participant) missingParticipant {
	m := missingParticipant{participant: p.Name, count: p.Count}
	switch o := w.objects[Ref{p.Process.Kind, p.Process.Namespace, p.Process.Name}].(type) {
	case *batchv1.Job:
		m.statusText, m.severity = jobStatusText(o), jobSeverity(o)
		if p.Name != p.Process.String() {
			m.statusText = fmt.Sprintf("%d without a pod, job %s", p.Count, m.statusText)
		}
	case *corev1.Pod:
		m.statusText, m.severity = podStatusText(o), podSeverity(o)
		if p.Name != p.Process.String() {
			m.statusText = "pod " + o.Name + " " + m.statusText
		}
	}
	return m
}

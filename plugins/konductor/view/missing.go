package view

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// A barrier knows how many it expects and not whom. Two things tell nevertheless: an Indexed Job of which some indexes
// have arrived has others; and the command line of a Job or Pod says that it will arrive.

// missing is a participant that has not arrived, and how it is.
type missing struct {
	participant, how string
	mood             Mood
}

// missingDetail adds who is missing at a barrier that waits.
func (w *World) missingDetail(d *Detail, b *konductorv1.Barrier, arrivals []*konductorv1.Arrival) {
	if d.Row.State == Open || d.Row.State == Deleting {
		return
	}
	come := int(b.Status.Arrived + b.Status.Failed)
	expected := max(int(b.Spec.Expected)-come, 0)
	var known []missing
	if w.Denied(konductorv1.KindArrival) == "" {
		known = w.missingAt(b, arrivals)
	}
	s := Section{Title: fmt.Sprintf("Missing (%d)", expected), Columns: []string{"PARTICIPANT", "HOW IT IS"}}
	for _, m := range known {
		s.Lines = append(s.Lines, Line{Cells: []string{m.participant, m.how}, Mood: m.mood})
	}
	switch unknown := expected - len(known); {
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
func (w *World) missingAt(b *konductorv1.Barrier, arrivals []*konductorv1.Arrival) []missing {
	here := make(map[string]bool, len(arrivals))
	indexed := map[string]bool{}
	for _, a := range arrivals {
		here[a.Spec.Participant] = true
		if kind, job, index := participantParts(a.Spec.Participant); kind == "job" && index != "" {
			indexed[job] = true
		}
	}
	arrives := arriving(b.Name)
	var all []missing
	add := func(m missing) {
		if !here[m.participant] {
			all = append(all, m)
		}
	}
	for ref, obj := range w.objects {
		if ref.Namespace != b.Namespace {
			continue
		}
		switch o := obj.(type) {
		case *batchv1.Job:
			if indexed[o.Name] || arrives(&o.Spec.Template.Spec) {
				for _, m := range w.participants(o) {
					add(m)
				}
			}
		case *corev1.Pod:
			if metav1.GetControllerOf(o) == nil && arrives(&o.Spec) {
				add(missing{participant: "pod/" + o.Name, how: podIs(o), mood: podMood(o)})
			}
		}
	}
	slices.SortFunc(all, func(a, b missing) int {
		_, jobA, indexA := participantParts(a.participant)
		_, jobB, indexB := participantParts(b.participant)
		return cmp.Or(cmp.Compare(jobA, jobB), cmp.Compare(len(indexA), len(indexB)), cmp.Compare(indexA, indexB))
	})
	return all
}

// participants are those that a Job sends to a barrier: itself, or one for each index.
func (w *World) participants(job *batchv1.Job) []missing {
	whole := missing{participant: "job/" + job.Name, how: jobIs(job), mood: jobMood(job)}
	if job.Spec.CompletionMode == nil || *job.Spec.CompletionMode != batchv1.IndexedCompletion || job.Spec.Completions == nil {
		return []missing{whole}
	}
	pods := map[string]*corev1.Pod{}
	for _, p := range w.podsOf(job) {
		pods[p.Annotations[batchv1.JobCompletionIndexAnnotation]] = p
	}
	var all []missing
	for i := range *job.Spec.Completions {
		m := missing{participant: fmt.Sprintf("%s/%d", whole.participant, i), how: "job " + whole.how + ", no pod for it", mood: whole.mood}
		if p, ok := pods[strconv.Itoa(int(i))]; ok {
			m.how, m.mood = "pod "+p.Name+" "+podIs(p), podMood(p)
		}
		all = append(all, m)
	}
	return all
}

// arriving returns what tells whether a Pod's command lines arrive at the barrier of that name, under the name that is
// theirs by default.
func arriving(barrier string) func(*corev1.PodSpec) bool {
	call := regexp.MustCompile(`\bbarrier\s+arrive\s([^\n;&|]*\s)?['"]?` + regexp.QuoteMeta(barrier) + `['"]?([\s;&|)]|$)`)
	return func(spec *corev1.PodSpec) bool {
		return slices.ContainsFunc(slices.Concat(spec.InitContainers, spec.Containers), func(c corev1.Container) bool {
			line := strings.Join(append(slices.Clone(c.Command), c.Args...), " ")
			found := call.FindString(line)
			// Under another name it can't be told whether it has arrived.
			return found != "" && !strings.Contains(line, "--holder")
		})
	}
}

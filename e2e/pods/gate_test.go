package pods

import (
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

func TestAGateOpensAlthoughOneOfItsJobsHasCleanedItselfAway(t *testing.T) {
	s := newScene(t, "gate")
	gates := watching[*konductorv1.Gate](s)

	s.given("examples/gate/gate.yaml")
	s.given("examples/gate/deploy.yaml")
	deploy := s.runs(1, "deploy", "wait")[0]

	s.given("examples/gate/validate.yaml")
	gates.awaitOne("dependencies-ready", "content with validate", met(1))
	s.jobs.awaitGone("validate")
	s.given("examples/gate/load.yaml")
	gates.awaitOne("dependencies-ready", "content with load too, and waiting on", func(g *konductorv1.Gate) bool {
		return met(2)(g) && g.Status.Phase == konductorv1.GateWaiting
	})
	s.given("examples/gate/approve.yaml")

	s.complete(1, "deploy")
	gates.awaitOne("dependencies-ready", "open", gateIs(konductorv1.GateOpen))
	opened := gates.first("the gate open", func(e entry[*konductorv1.Gate]) bool { return gateIs(konductorv1.GateOpen)(e.obj) })
	at := s.pods.first("deploy at work", func(e entry[*corev1.Pod]) bool {
		return e.obj.Name == deploy.Name && started(e.obj, "deploy")
	})
	if at.revision <= opened.revision {
		t.Errorf("deploy was at work at revision %d, before the gate opened at %d", at.revision, opened.revision)
	}
	gone := s.jobs.first("validate gone", func(e entry[*batchv1.Job]) bool { return e.obj.Name == "validate" && e.deleted })
	if gone.revision >= opened.revision {
		t.Errorf("the gate opened at revision %d, so that the end of validate at %d was no trial", opened.revision, gone.revision)
	}
}

func TestAJobThatFailsFailsTheGateAtOnce(t *testing.T) {
	s := newScene(t, "gate-failed")
	gates := watching[*konductorv1.Gate](s)

	s.given("examples/gate/gate.yaml")
	s.given("examples/gate/deploy.yaml")
	s.runs(1, "deploy", "wait")
	s.given("examples/gate/failing-load.yaml")

	s.fails("load")
	gates.awaitOne("dependencies-ready", "failed", gateIs(konductorv1.GateFailed))
	pod, at := s.exits("deploy", "wait", 6)
	s.fails("deploy")
	failed := s.jobs.first("load failed", func(e entry[*batchv1.Job]) bool {
		_, ended := jobEnded(e.obj, batchv1.JobFailed)
		return ended && e.obj.Name == "load"
	})
	late := at.Sub(failureTime(failed.obj))
	t.Logf("the waiter ended %s after the job had failed", late.Round(time.Second))
	if late > atOnce {
		t.Errorf("the waiter ended %s after the job had failed", late)
	}
	if started(pod, "deploy") {
		t.Error("deploy went to work all the same")
	}
}

func gateIs(phase konductorv1.GatePhase) func(*konductorv1.Gate) bool {
	return func(g *konductorv1.Gate) bool { return g.Status.Phase == phase }
}

// met tells whether n of a gate's conditions are met.
func met(n int32) func(*konductorv1.Gate) bool {
	return func(g *konductorv1.Gate) bool { return g.Status.ConditionsMet == n }
}

func failureTime(job *batchv1.Job) time.Time {
	for _, c := range job.Status.Conditions {
		if c.Type == batchv1.JobFailed {
			return c.LastTransitionTime.Time
		}
	}
	return time.Time{}
}

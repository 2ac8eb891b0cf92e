package pods

import (
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

func TestGateWithJobRemovedByTTL(t *testing.T) {
	s := newTestEnv(t, "gate")
	gates := recordRevisions[*konductorv1.Gate](s)

	s.createExample("examples/gate/gate.yaml")
	s.createExample("examples/gate/deploy.yaml")
	deploy := s.waitContainersRunning(1, "deploy", "wait")[0]

	s.createExample("examples/gate/validate.yaml")
	gates.waitForObject("dependencies-ready", "content with validate", hasConditionsMet(1))
	s.jobs.waitGone("validate")
	s.createExample("examples/gate/load.yaml")
	gates.waitForObject("dependencies-ready", "content with load too, and waiting on", func(g *konductorv1.Gate) bool {
		return hasConditionsMet(2)(g) && g.Status.Phase == konductorv1.GateWaiting
	})
	s.createExample("examples/gate/approve.yaml")

	s.waitJobsComplete(1, "deploy")
	gates.waitForObject("dependencies-ready", "open", hasPhase(konductorv1.GateOpen))
	opened := gates.firstEntry("the gate open", func(e entry[*konductorv1.Gate]) bool { return hasPhase(konductorv1.GateOpen)(e.obj) })
	at := s.pods.firstEntry("deploy at work", func(e entry[*corev1.Pod]) bool {
		return e.obj.Name == deploy.Name && hasContainerStarted(e.obj, "deploy")
	})
	if at.revision <= opened.revision {
		t.Errorf("deploy was at work at revision %d, before the gate opened at %d", at.revision, opened.revision)
	}
	gone := s.jobs.firstEntry("validate gone", func(e entry[*batchv1.Job]) bool { return e.obj.Name == "validate" && e.deleted })
	if gone.revision >= opened.revision {
		t.Errorf("the gate opened at revision %d, so that the end of validate at %d was no trial", opened.revision, gone.revision)
	}
}

func TestGateFailsWithJob(t *testing.T) {
	s := newTestEnv(t, "gate-failed")
	gates := recordRevisions[*konductorv1.Gate](s)

	s.createExample("examples/gate/gate.yaml")
	s.createExample("examples/gate/deploy.yaml")
	s.waitContainersRunning(1, "deploy", "wait")
	s.createExample("examples/gate/failing-load.yaml")

	s.waitJobFailed("load")
	gates.waitForObject("dependencies-ready", "failed", hasPhase(konductorv1.GateFailed))
	pod, at := s.waitContainerExit("deploy", "wait", 6)
	s.waitJobFailed("deploy")
	failed := s.jobs.firstEntry("load failed", func(e entry[*batchv1.Job]) bool {
		_, ended := jobConditionTrue(e.obj, batchv1.JobFailed)
		return ended && e.obj.Name == "load"
	})
	late := at.Sub(jobFailureTime(failed.obj))
	t.Logf("the waiter ended %s after the job had failed", late.Round(time.Second))
	if late > promptLimit {
		t.Errorf("the waiter ended %s after the job had failed", late)
	}
	if hasContainerStarted(pod, "deploy") {
		t.Error("deploy went to work all the same")
	}
}

func hasPhase(phase konductorv1.GatePhase) func(*konductorv1.Gate) bool {
	return func(g *konductorv1.Gate) bool { return g.Status.Phase == phase }
}

// hasConditionsMet returns a condition: n of a gate's conditions are met.
func hasConditionsMet(n int32) func(*konductorv1.Gate) bool {
	return func(g *konductorv1.Gate) bool { return g.Status.ConditionsMet == n }
}

func jobFailureTime(job *batchv1.Job) time.Time {
	for _, c := range job.Status.Conditions {
		if c.Type == batchv1.JobFailed {
			return c.LastTransitionTime.Time
		}
	}
	return time.Time{}
}

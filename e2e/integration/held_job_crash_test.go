package integration

import (
	"fmt"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/operator"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// takeOverOnCrash returns a function that starts another operator once the first has crashed, and reports whether it has.
func (w *testEnv) takeOverOnCrash(first *runningOperator, dead <-chan struct{}) func() bool {
	crashed := false
	return func() bool {
		select {
		case <-dead:
			if !crashed {
				crashed = true
				first.cancel()
				w.startJobOperator()
			}
		default:
		}
		return crashed
	}
}

// TestHeldJobsSurviveOperatorCrashAtEachWrite has two Jobs that hold one lease and arrive at a barrier.
func TestHeldJobsSurviveOperatorCrashAtEachWrite(t *testing.T) {
	const writes = 18 // as many as it takes
	for n := 1; n <= writes; n++ {
		for _, before := range []bool{true, false} {
			t.Run(fmt.Sprintf("write %d, before it: %t", n, before), func(t *testing.T) {
				w := newTestEnv(t)
				w.createLease("report")
				createBarrier(w, "done", 2)
				w.checkPods(1)
				checker := w.checkRevisions(konductorv1.KindLease, "report")
				config, wire := w.hookTransport(w.operatorConfig)
				dead := w.crashAtWrite(wire, n, before)
				first := w.startOperatorWith(func(o *operator.Options) { o.Config, o.HeldWorkloads = config, true })
				annotations := holding("lease/report")
				annotations[konductorv1.ArriveAnnotation] = "barrier/done"
				jobs := []*batchv1.Job{heldJob("a", annotations), heldJob("b", annotations)}
				w.createObjects(jobs[0], jobs[1])
				takeOver := w.takeOverOnCrash(first, dead)
				w.waitUntil("the end of both jobs", func() bool {
					crashed := takeOver()
					done := true
					for _, job := range jobs {
						w.finishPods(job.UID, corev1.PodSucceeded)
						done = done && getObject[*batchv1.Job](w, job.Name).Status.Succeeded == 1
					}
					return done && (crashed || getObject[*konductorv1.Barrier](w, "done").Status.Phase == konductorv1.BarrierOpen)
				})
				waitFor(w, "done", "open", func(b *konductorv1.Barrier) bool { return b.Status.Phase == konductorv1.BarrierOpen })
				w.waitLeaseFree("report")
				w.waitNoClaims()
				if got := len(checker.waitForGrants(2)); got != 2 {
					t.Errorf("%d grants, want one for each job", got)
				}
			})
		}
	}
}

// TestBreakSurvivesOperatorCrashAtEachWrite has the hold of a running Job broken, for which another waits.
func TestBreakSurvivesOperatorCrashAtEachWrite(t *testing.T) {
	const writes = 8 // as many as it takes until the other Job has started
	for n := 1; n <= writes; n++ {
		for _, before := range []bool{true, false} {
			t.Run(fmt.Sprintf("write %d, before it: %t", n, before), func(t *testing.T) {
				w := newTestEnv(t)
				w.createLease("report")
				w.checkPods(1)
				w.checkRevisions(konductorv1.KindLease, "report")
				config, wire := w.hookTransport(w.operatorConfig)
				first := w.startOperatorWith(func(o *operator.Options) { o.Config, o.HeldWorkloads = config, true })
				w.createObjects(heldJob("first", holding("lease/report")))
				job := w.waitJobState("first", konductorv1.HeldStarted)
				w.waitForPodOf(job)
				w.createObjects(heldJob("next", holding("lease/report")))
				waitFor(w, "report", "waited for", func(l *konductorv1.Lease) bool { return l.Status.Waiting == 1 })

				dead := w.crashAtWrite(wire, n, before)
				_, err := w.newParticipant("admin").BreakLease(w.ctx, "report", konductor.WithHolder("job/first"))
				w.must(err)
				takeOver := w.takeOverOnCrash(first, dead)
				w.waitUntil("the start of the next job", func() bool {
					takeOver()
					if current := getObject[*batchv1.Job](w, "first"); current.Labels[konductorv1.HeldLabel] != konductorv1.HeldStarted {
						w.finishPods(job.UID, corev1.PodSucceeded)
					}
					return getObject[*batchv1.Job](w, "next").Labels[konductorv1.HeldLabel] == konductorv1.HeldStarted
				})
				w.waitForPodOf(getObject[*batchv1.Job](w, "next"))
			})
		}
	}
}

// TestTwoOperatorsHoldJobs has two operators act at the same time.
func TestTwoOperatorsHoldJobs(t *testing.T) {
	w := newTestEnv(t)
	w.createLease("report")
	w.checkPods(1)
	w.checkRevisions(konductorv1.KindLease, "report")
	w.startJobOperator()
	w.startJobOperator()
	var jobs []*batchv1.Job
	for i := range 6 {
		job := heldJob(fmt.Sprint("j", i), holding("lease/report"))
		w.createObjects(job)
		jobs = append(jobs, job)
	}
	broken := 0
	w.waitUntil("the end of all jobs", func() bool {
		done := true
		for i, job := range jobs {
			if i == 0 && broken == 0 && len(w.jobPods(job.UID)) > 0 {
				// One is stopped in between.
				broken++
				_, err := w.newParticipant("admin").BreakLease(w.ctx, "report", konductor.WithHolder("job/j0"))
				w.must(err)
			}
			w.finishPods(job.UID, corev1.PodSucceeded)
			done = done && getObject[*batchv1.Job](w, job.Name).Status.Succeeded == 1
		}
		return done
	})
	w.waitLeaseFree("report")
	w.waitNoClaims()
}

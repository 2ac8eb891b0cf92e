package measures

import (
	"context"
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/e2e/bench/benchenv"
	"github.com/LogicIQ/konductor/e2e/bench/report"
	"github.com/LogicIQ/konductor/e2e/bench/stats"
)

// MeasureGatesOnJobs measures from a Job's completion until its gate is observed open, with as many gates as Jobs: half of the
// Jobs complete one after the other, the rest all at the same time.
func (r *Runner) MeasureGatesOnJobs(ctx context.Context) (rows []report.Row, err error) {
	err = r.withOperatorInNamespace(ctx, func(namespace string, _ *benchenv.Operator) error {
		if err := r.createGatesAndJobs(ctx, namespace); err != nil {
			return err
		}
		opened, stop, err := r.watchGateOpenings(ctx, namespace)
		if err != nil {
			return err
		}
		defer stop()
		var one stats.Sample
		alone := min(r.GateCount/2, r.FastRepetitions)
		for i := range alone {
			begin := time.Now()
			if err := r.completeJob(ctx, namespace, jobName(i)); err != nil {
				return err
			}
			at, err := receive(ctx, opened, "a gate to open")
			if err != nil {
				return err
			}
			one.Add(at.Sub(begin))
		}
		together := r.GateCount - alone
		begin := time.Now()
		if err := benchenv.ForEachParallel(ctx, together, func(ctx context.Context, i int) error {
			return r.completeJob(ctx, namespace, jobName(alone+i))
		}); err != nil {
			return err
		}
		completed := time.Since(begin)
		var last time.Time
		for range together {
			if last, err = receive(ctx, opened, "all gates to open"); err != nil {
				return err
			}
		}
		what := fmt.Sprintf("%s gates over as many Jobs", formatCount(r.GateCount))
		rows = []report.Row{
			report.NewRow(what+": Job done until gate open, p50", one.P50(), "ms").WithNote(fmt.Sprintf("N=%d, one after the other", one.N())),
			report.NewRow(what+": Job done until gate open, p99", one.P99(), "ms").WithNote(fmt.Sprintf("N=%d, one after the other", one.N())),
			report.NewRow(fmt.Sprintf("%s Jobs done at once until the last gate is open", formatCount(together)), stats.Milliseconds(last.Sub(begin)), "ms").
				WithLowerBound(stats.Milliseconds(completed)).WithNote("N=1; the floor is the time that the writes to the Jobs take"),
		}
		return nil
	})
	return rows, err
}

func jobName(i int) string { return fmt.Sprintf("job-%d", i) }

func newJob(namespace, name string) *batchv1.Job {
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "main", Image: "none"}},
		}}},
	}
}

// createGatesAndJobs creates Jobs that no controller runs and a gate for each, and waits until the operator has reconciled all
// gates.
func (r *Runner) createGatesAndJobs(ctx context.Context, namespace string) error {
	nobody := "konductor.io/bench"
	err := r.CreateObjects(ctx, r.GateCount, func(i int) client.Object {
		job := newJob(namespace, jobName(i))
		job.Spec.ManagedBy = &nobody
		return job
	})
	if err != nil {
		return err
	}
	err = r.CreateObjects(ctx, r.GateCount, func(i int) client.Object {
		return &konductorv1.Gate{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("gate-%d", i)},
			Spec:       konductorv1.GateSpec{Conditions: []konductorv1.GateCondition{{Type: konductorv1.GateOnJob, Name: jobName(i)}}},
		}
	})
	if err != nil {
		return err
	}
	return benchenv.AwaitObjects(ctx, r.Env, &konductorv1.GateList{}, namespace, r.GateCount, func(g *konductorv1.Gate) bool {
		return g.Status.ObservedGeneration > 0
	})
}

// watchGateOpenings sends the time at which each gate was observed open.
func (r *Runner) watchGateOpenings(ctx context.Context, namespace string) (<-chan time.Time, func(), error) {
	w, err := r.Objects.Watch(ctx, &konductorv1.GateList{}, client.InNamespace(namespace))
	if err != nil {
		return nil, nil, err
	}
	opened := make(chan time.Time, r.GateCount)
	go func() {
		seen := map[types.UID]bool{}
		for e := range w.ResultChan() {
			if g, ok := e.Object.(*konductorv1.Gate); ok && g.Status.Phase == konductorv1.GateOpen && !seen[g.UID] {
				seen[g.UID] = true
				opened <- time.Now()
			}
		}
	}()
	return opened, w.Stop, nil
}

// completeJob completes a Job as the Job controller would.
func (r *Runner) completeJob(ctx context.Context, namespace, name string) error {
	job := &batchv1.Job{}
	if err := r.Objects.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, job); err != nil {
		return err
	}
	now := metav1.Now()
	job.Status.StartTime, job.Status.CompletionTime, job.Status.Succeeded = &now, &now, 1
	for _, c := range []batchv1.JobConditionType{batchv1.JobSuccessCriteriaMet, batchv1.JobComplete} {
		job.Status.Conditions = append(job.Status.Conditions, batchv1.JobCondition{
			Type: c, Status: corev1.ConditionTrue, Reason: "Bench", LastProbeTime: now, LastTransitionTime: now,
		})
	}
	return r.Objects.Status().Update(ctx, job)
}

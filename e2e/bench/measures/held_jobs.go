package measures

import (
	"context"
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/e2e/bench/benchenv"
	"github.com/LogicIQ/konductor/e2e/bench/lowerbound"
	"github.com/LogicIQ/konductor/e2e/bench/report"
	"github.com/LogicIQ/konductor/e2e/bench/stats"
)

// MeasureHeldJobStart measures from the write that completes a held Job until the next is observed started.
func (r *Runner) MeasureHeldJobStart(ctx context.Context) (rows []report.Row, err error) {
	err = r.withOperatorInNamespace(ctx, func(namespace string, _ *benchenv.Operator) error {
		q, err := r.newJobQueue(ctx, namespace, 1, 1)
		if err != nil {
			return err
		}
		defer q.stop()
		start, floor, err := q.measureStarts(ctx)
		n := fmt.Sprintf("N=%d", start.N())
		rows = []report.Row{
			report.NewRow("held Job completed until the next is started, p50", start.P50(), "ms").WithLowerBound(floor.P50()).AtMost(1.6).
				WithNote(n + "; the floor is the three writes, one after the other"),
			report.NewRow("held Job completed until the next is started, p99", start.P99(), "ms").WithLowerBound(floor.P99()).WithNote(n),
		}
		return err
	})
	return rows, err
}

// waitingJobPermits is how many Jobs run while others wait, and maxPlainJobs how many Jobs that don't wait their memory is
// compared with.
const waitingJobPermits, maxPlainJobs = 10, 1000

// MeasureWaitingJobs measures what growing numbers of waiting Jobs cost: the operator's memory for each, and the time and the
// CPU time of a start.
func (r *Runner) MeasureWaitingJobs(ctx context.Context) (rows []report.Row, err error) {
	var first, last jobStartCost
	for i, size := range r.ObjectCounts {
		namespace, err := r.CreateNamespace(ctx)
		if err != nil {
			return rows, err
		}
		var some []report.Row
		err = r.WithOperator(ctx, func(o *benchenv.Operator) error {
			some, last, err = r.measureWaitingJobs(ctx, o, namespace, size)
			return err
		})
		if err != nil {
			return rows, err
		}
		if rows = append(rows, some...); i == 0 {
			first = last
		}
		// Without an operator, which would wait for the Pods of each Job.
		if err := r.ClearNamespace(ctx, namespace); err != nil {
			return rows, err
		}
	}
	against := fmt.Sprintf(" with %s waiting against %s", formatCount(r.ObjectCounts[len(r.ObjectCounts)-1]), formatCount(r.ObjectCounts[0]))
	return append(rows,
		report.NewRow("held Job started"+against, last.time, "× floor").WithLowerBound(first.time).AtMost(1.3).WithNote("both p50, each over the floor of its time"),
		report.NewRow("operator CPU per held Job"+against, last.cpu, "ms").WithLowerBound(first.cpu).AtMost(1.3)), nil
}

// jobStartCost is what the start of a held Job costs: the median time over its floor, and the operator's CPU time in milliseconds.
type jobStartCost struct{ time, cpu float64 }

func (r *Runner) measureWaitingJobs(ctx context.Context, o *benchenv.Operator, namespace string, size int) (rows []report.Row, cost jobStartCost, err error) {
	empty, err := r.settledHeapSize(ctx, o)
	if err != nil {
		return nil, cost, err
	}
	plainJobs := min(size, maxPlainJobs)
	if err := r.CreateObjects(ctx, plainJobs, func(i int) client.Object {
		job := newSuspendedJob(namespace, fmt.Sprintf("plain-%d", i))
		job.Annotations = map[string]string{konductorv1.ArriveAnnotation: "barrier/none"}
		return job
	}); err != nil {
		return nil, cost, err
	}
	withPlainJobs, err := r.settledHeapSize(ctx, o)
	if err != nil {
		return nil, cost, err
	}
	q, err := r.newJobQueue(ctx, namespace, waitingJobPermits, size)
	if err != nil {
		return nil, cost, err
	}
	defer q.stop()
	withHeldJobs, err := r.settledHeapSize(ctx, o)
	if err != nil {
		return nil, cost, err
	}
	before, err := o.CPUTime()
	if err != nil {
		return nil, cost, err
	}
	start, floor, err := q.measureStarts(ctx)
	if err != nil {
		return nil, cost, err
	}
	after, err := o.CPUTime()
	if err != nil {
		return nil, cost, err
	}
	pods, err := q.countPodsOfWaitingJobs(ctx)
	plainJob := float64(withPlainJobs-empty) / float64(plainJobs)
	heldJob := float64(withHeldJobs-withPlainJobs) / float64(size+waitingJobPermits)
	// The kernel counts CPU time in hundredths of a second.
	cost = jobStartCost{start.P50() / floor.P50(), stats.Milliseconds(max(after-before, time.Second/100)) / float64(r.Warmup+start.N())}
	what := formatCount(size) + " held Jobs wait: "
	return []report.Row{
		report.NewRow(what+"one completed until the next is started, p50", start.P50(), "ms").WithLowerBound(floor.P50()).WithNote(fmt.Sprintf("N=%d", start.N())),
		report.NewRow(what+"operator CPU per held Job", cost.cpu, "ms").WithNote("from its creation until it has completed"),
		report.NewRow(what+"operator memory for each", (heldJob-plainJob)/1e3, "kB").AtMost(2).
			WithNote(fmt.Sprintf("live heap, beyond %.1f kB for a cached Job with an annotation that doesn't wait", plainJob/1e3)),
		report.NewRow(what+"their Pods", float64(pods), "Pods").AtMost(0),
	}, cost, err
}

// settledHeapSize returns the size of the operator's heap after it has nothing left to do.
func (r *Runner) settledHeapSize(ctx context.Context, o *benchenv.Operator) (int, error) {
	if err := r.awaitNoWrites(ctx); err != nil {
		return 0, err
	}
	return o.HeapSize(ctx)
}

func newSuspendedJob(namespace, name string) *batchv1.Job {
	suspend := true
	job := newJob(namespace, name)
	job.Spec.Suspend = &suspend
	return job
}

// jobQueue is a semaphore whose permits are held by Jobs, and for which others wait.
type jobQueue struct {
	runner    *Runner
	semaphore types.NamespacedName
	permits   int
	waiting   int
	created   int
	running   []string // the Jobs that were started and have not completed, in that order
	started   chan jobStart
	stop      func()
}

type jobStart struct {
	job string
	at  time.Time
}

// newJobQueue creates a semaphore and held Jobs, and waits until as many run and wait.
func (r *Runner) newJobQueue(ctx context.Context, namespace string, permits, waiting int) (*jobQueue, error) {
	semaphore, err := r.createSemaphore(ctx, namespace, "db", int32(permits))
	if err != nil {
		return nil, err
	}
	q := &jobQueue{runner: r, semaphore: semaphore, permits: permits, waiting: waiting, started: make(chan jobStart, permits+1)}
	if err := q.createJobs(ctx, permits+waiting); err != nil {
		return nil, err
	}
	if err := q.awaitSettled(ctx); err != nil {
		return nil, err
	}
	w, err := r.Objects.Watch(ctx, &batchv1.JobList{}, client.InNamespace(namespace), client.MatchingLabels{konductorv1.HeldLabel: konductorv1.HeldStarted})
	if err != nil {
		return nil, err
	}
	q.stop = w.Stop
	go func() {
		for e := range w.ResultChan() {
			if job, ok := e.Object.(*batchv1.Job); ok && e.Type == watch.Added && !*job.Spec.Suspend {
				q.started <- jobStart{job.Name, time.Now()}
			}
		}
	}()
	for range permits {
		if _, err := q.awaitStart(ctx); err != nil {
			return nil, err
		}
	}
	return q, nil
}

func (q *jobQueue) createJobs(ctx context.Context, n int) error {
	first := q.created
	q.created += n
	return q.runner.CreateObjects(ctx, n, func(i int) client.Object {
		job := newSuspendedJob(q.semaphore.Namespace, jobName(first+i))
		job.Annotations = map[string]string{konductorv1.HoldAnnotation: "semaphore/" + q.semaphore.Name}
		return job
	})
}

// awaitStart waits until another Job was started and the Job controller has created its Pod.
func (q *jobQueue) awaitStart(ctx context.Context) (jobStart, error) {
	s, err := receive(ctx, q.started, "a job to start")
	if err != nil {
		return s, err
	}
	q.running = append(q.running, s.job)
	return s, benchenv.AwaitObjects(ctx, q.runner.Env, &batchv1.JobList{}, q.semaphore.Namespace, 1,
		func(j *batchv1.Job) bool { return j.Status.Active == 1 }, client.MatchingFields{"metadata.name": s.job})
}

// awaitSettled waits until the operator has counted all Jobs that wait.
func (q *jobQueue) awaitSettled(ctx context.Context) error {
	return q.runner.AwaitSemaphore(ctx, q.semaphore, func(s *konductorv1.Semaphore) bool {
		return int(s.Status.Waiting) == q.waiting && int(s.Status.InUse) == q.permits
	})
}

// measureStarts measures starts, alternating with the lower bound.
func (q *jobQueue) measureStarts(ctx context.Context) (start, floor stats.Sample, err error) {
	err = q.runner.repeatFastHalf(func(counts bool) error {
		wrote, err := q.runner.LowerBounds.MeasureJobStart(ctx)
		if err != nil {
			return err
		}
		took, err := q.measureStart(ctx)
		if counts {
			floor.Add(wrote)
			start.Add(took)
		}
		return err
	})
	return start, floor, err
}

// measureStart completes a Job as the Job controller would, measures until the next is observed started, and lets another wait.
func (q *jobQueue) measureStart(ctx context.Context) (time.Duration, error) {
	completed := q.running[0]
	q.running = q.running[1:]
	begin := time.Now()
	_, err := q.runner.Kube.BatchV1().Jobs(q.semaphore.Namespace).Patch(ctx, completed, types.MergePatchType, lowerbound.CompletedJob(), metav1.PatchOptions{}, "status")
	if err != nil {
		return 0, err
	}
	next, err := q.awaitStart(ctx)
	if err != nil {
		return 0, err
	}
	if err := q.createJobs(ctx, 1); err != nil {
		return 0, err
	}
	return next.at.Sub(begin), q.awaitSettled(ctx)
}

// countPodsOfWaitingJobs counts the Pods of the Jobs that wait.
func (q *jobQueue) countPodsOfWaitingJobs(ctx context.Context) (n int, err error) {
	in := client.InNamespace(q.semaphore.Namespace)
	var jobs batchv1.JobList
	if err := q.runner.Objects.List(ctx, &jobs, in, client.MatchingLabels{konductorv1.HeldLabel: konductorv1.HeldWaiting}); err != nil {
		return 0, err
	}
	if len(jobs.Items) != q.waiting {
		return 0, fmt.Errorf("%d Jobs wait, want %d", len(jobs.Items), q.waiting)
	}
	var pods corev1.PodList
	if err := q.runner.Objects.List(ctx, &pods, in); err != nil {
		return 0, err
	}
	waiting := map[string]bool{}
	for i := range jobs.Items {
		waiting[string(jobs.Items[i].UID)] = true
	}
	for i := range pods.Items {
		if waiting[pods.Items[i].Labels[batchv1.ControllerUidLabel]] {
			n++
		}
	}
	return n, nil
}

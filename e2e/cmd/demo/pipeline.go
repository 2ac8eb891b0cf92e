package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	crcache "sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// pipelineResult is what the demo proves.
type pipelineResult struct {
	barrierOpenedAt     time.Time
	firstTransformStart time.Time
	startedTooEarly     bool
}

// pipelineState is the state of the pipeline. It is read from the cluster at each change, and shown when it differs.
type pipelineState struct {
	extractsDone, extractsRunning     int
	transformsDone, transformsRunning int
	transformsWaiting                 int
	barrierPhases                     [2]string
	barrierArrivals                   [2]int32
}

func newScheme() (*runtime.Scheme, error) {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{konductorv1.AddToScheme, corev1.AddToScheme, batchv1.AddToScheme} {
		if err := add(s); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// watchPipeline shows the pipeline until both stages are done.
func watchPipeline(ctx context.Context, config *rest.Config, out io.Writer) (pipelineResult, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := newScheme()
	if err != nil {
		return pipelineResult{}, err
	}
	watched, err := crcache.New(config, crcache.Options{Scheme: s, DefaultNamespaces: map[string]crcache.Config{namespace: {}}})
	if err != nil {
		return pipelineResult{}, err
	}
	changes := make(chan struct{}, 1)
	for _, obj := range []client.Object{&konductorv1.Barrier{}, &corev1.Pod{}, &batchv1.Job{}} {
		informer, err := watched.GetInformer(ctx, obj, crcache.BlockUntilSynced(false))
		if err != nil {
			return pipelineResult{}, err
		}
		if _, err := informer.AddEventHandler(newChangeNotifier(changes)); err != nil {
			return pipelineResult{}, err
		}
	}
	go func() { _ = watched.Start(ctx) }()
	if !watched.WaitForCacheSync(ctx) {
		return pipelineResult{}, context.Cause(ctx)
	}
	d := display{out: out, redrawInPlace: isTerminal(out), begin: time.Now()}
	for {
		v, done, result, err := readPipeline(ctx, watched)
		if err != nil {
			return pipelineResult{}, err
		}
		d.draw(v)
		if done {
			return result, nil
		}
		select {
		case <-changes:
		case <-ctx.Done():
			return pipelineResult{}, fmt.Errorf("the pipeline did not finish in time: %w", context.Cause(ctx))
		}
	}
}

// newChangeNotifier notifies changes of every event.
func newChangeNotifier(changes chan<- struct{}) cache.ResourceEventHandler {
	note := func() {
		select {
		case changes <- struct{}{}:
		default:
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { note() }, UpdateFunc: func(_, _ any) { note() }, DeleteFunc: func(any) { note() },
	}
}

// readPipeline reads the state, and the result once everything is done.
func readPipeline(ctx context.Context, c client.Reader) (v pipelineState, done bool, s pipelineResult, err error) {
	for i, name := range []string{"extracts-done", "transforms-done"} {
		b := &konductorv1.Barrier{}
		err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, b)
		if err != nil && !apierrors.IsNotFound(err) {
			return v, false, s, err
		}
		v.barrierPhases[i], v.barrierArrivals[i] = string(b.Status.Phase), b.Status.Arrived
		if i == 0 && b.Status.OpenedAt != nil {
			s.barrierOpenedAt = b.Status.OpenedAt.Time
		}
	}
	var jobs batchv1.JobList
	if err := c.List(ctx, &jobs, client.InNamespace(namespace)); err != nil {
		return v, false, s, err
	}
	complete := 0
	for i := range jobs.Items {
		for _, condition := range jobs.Items[i].Status.Conditions {
			if condition.Status != corev1.ConditionTrue {
				continue
			}
			switch condition.Type {
			case batchv1.JobComplete:
				complete++
			case batchv1.JobFailed:
				return v, false, s, fmt.Errorf("job %s failed: %s", jobs.Items[i].Name, condition.Message)
			default:
				// Other reasons announce an end that has not come yet.
			}
		}
	}
	var pods corev1.PodList
	if err := c.List(ctx, &pods, client.InNamespace(namespace)); err != nil {
		return v, false, s, err
	}
	for i := range pods.Items {
		countPod(&pods.Items[i], &v, &s)
	}
	s.startedTooEarly = s.barrierOpenedAt.IsZero() || s.firstTransformStart.Before(s.barrierOpenedAt)
	return v, complete == extractJobs+transformJobs && v.barrierPhases[1] == string(konductorv1.BarrierOpen), s, nil
}

func countPod(pod *corev1.Pod, v *pipelineState, s *pipelineResult) {
	stage := pod.Labels["stage"]
	started := containerStartTime(pod)
	switch {
	case pod.Status.Phase == corev1.PodSucceeded && stage == "extract":
		v.extractsDone++
	case pod.Status.Phase == corev1.PodSucceeded:
		v.transformsDone++
	case stage == "extract" && !started.IsZero():
		v.extractsRunning++
	case stage == "transform" && !started.IsZero():
		v.transformsRunning++
	case stage == "transform":
		v.transformsWaiting++
	}
	if stage == "transform" && !started.IsZero() && (s.firstTransformStart.IsZero() || started.Before(s.firstTransformStart)) {
		s.firstTransformStart = started
	}
}

// containerStartTime returns when the Pod's own container, after its initContainers, started.
func containerStartTime(pod *corev1.Pod) time.Time {
	for _, c := range pod.Status.ContainerStatuses {
		if c.State.Running != nil {
			return c.State.Running.StartedAt.Time
		}
		if c.State.Terminated != nil {
			return c.State.Terminated.StartedAt.Time
		}
	}
	return time.Time{}
}

// display shows states: in place on a terminal, else a line per change.
type display struct {
	out           io.Writer
	redrawInPlace bool
	begin         time.Time
	last          pipelineState
	drawn         bool
}

func (d *display) draw(v pipelineState) {
	if d.drawn && v == d.last {
		return
	}
	elapsed := fmt.Sprintf("%.1fs", time.Since(d.begin).Seconds())
	if !d.redrawInPlace {
		fmt.Fprintf(d.out, "    %6s  extracts: %2d at work, %2d done   barrier extracts-done %2d/%d %-7s   transforms: %d waiting, %d at work, %d done   barrier transforms-done %d/%d %s\n", elapsed,
			v.extractsRunning, v.extractsDone, v.barrierArrivals[0], extractJobs, v.barrierPhases[0],
			v.transformsWaiting, v.transformsRunning, v.transformsDone, v.barrierArrivals[1], transformJobs, v.barrierPhases[1])
		d.last, d.drawn = v, true
		return
	}
	const lines = 5
	if d.drawn {
		fmt.Fprintf(d.out, "\x1b[%dA", lines)
	}
	row := func(format string, args ...any) { fmt.Fprintf(d.out, "\x1b[2K"+format+"\n", args...) }
	row("    %s", elapsed)
	row("    extract   jobs     %s  %d at work", progressBar(v.extractsDone, extractJobs), v.extractsRunning)
	row("    barrier   extracts-done   %s  %s", progressBar(int(v.barrierArrivals[0]), extractJobs), v.barrierPhases[0])
	row("    transform jobs     %s  %d waiting, %d at work", progressBar(v.transformsDone, transformJobs), v.transformsWaiting, v.transformsRunning)
	row("    barrier   transforms-done %s  %s", progressBar(int(v.barrierArrivals[1]), transformJobs), v.barrierPhases[1])
	d.last, d.drawn = v, true
}

// progressBar draws done of total.
func progressBar(done, total int) string {
	done = min(done, total)
	return fmt.Sprintf("[%s%s] %2d/%d", strings.Repeat("#", done), strings.Repeat(".", total-done), done, total)
}

func isTerminal(out io.Writer) bool {
	f, ok := out.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb" && os.Getenv("CI") == ""
}

// deleteBarriers deletes all barriers of the demo and waits until they are gone.
func deleteBarriers(ctx context.Context, config *rest.Config) error {
	s, err := newScheme()
	if err != nil {
		return err
	}
	c, err := client.New(config, client.Options{Scheme: s})
	if err != nil {
		return err
	}
	return c.DeleteAllOf(ctx, &konductorv1.Barrier{}, client.InNamespace(namespace))
}

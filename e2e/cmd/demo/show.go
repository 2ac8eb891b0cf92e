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

// summary is what the demo proves.
type summary struct {
	opened         time.Time
	firstTransform time.Time
	early          bool
}

// view is how the pipeline stands. It is built anew from the cluster at each change, and shown when it differs.
type view struct {
	extracted, extracting     int
	transformed, transforming int
	waiting                   int
	barriers                  [2]string
	arrived                   [2]int32
}

func scheme() (*runtime.Scheme, error) {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{konductorv1.AddToScheme, corev1.AddToScheme, batchv1.AddToScheme} {
		if err := add(s); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// show follows the pipeline until both stages are done.
func show(ctx context.Context, config *rest.Config, out io.Writer) (summary, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := scheme()
	if err != nil {
		return summary{}, err
	}
	watched, err := crcache.New(config, crcache.Options{Scheme: s, DefaultNamespaces: map[string]crcache.Config{namespace: {}}})
	if err != nil {
		return summary{}, err
	}
	changes := make(chan struct{}, 1)
	for _, obj := range []client.Object{&konductorv1.Barrier{}, &corev1.Pod{}, &batchv1.Job{}} {
		informer, err := watched.GetInformer(ctx, obj, crcache.BlockUntilSynced(false))
		if err != nil {
			return summary{}, err
		}
		if _, err := informer.AddEventHandler(notify(changes)); err != nil {
			return summary{}, err
		}
	}
	go func() { _ = watched.Start(ctx) }()
	if !watched.WaitForCacheSync(ctx) {
		return summary{}, context.Cause(ctx)
	}
	d := display{out: out, live: isTerminal(out), begin: time.Now()}
	for {
		v, done, result, err := look(ctx, watched)
		if err != nil {
			return summary{}, err
		}
		d.draw(v)
		if done {
			return result, nil
		}
		select {
		case <-changes:
		case <-ctx.Done():
			return summary{}, fmt.Errorf("the pipeline did not finish in time: %w", context.Cause(ctx))
		}
	}
}

// notify makes a note in changes of anything that happens.
func notify(changes chan<- struct{}) cache.ResourceEventHandler {
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

// look builds the view, and the summary once everything is done.
func look(ctx context.Context, c client.Reader) (v view, done bool, s summary, err error) {
	for i, name := range []string{"extracts-done", "transforms-done"} {
		b := &konductorv1.Barrier{}
		err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, b)
		if err != nil && !apierrors.IsNotFound(err) {
			return v, false, s, err
		}
		v.barriers[i], v.arrived[i] = string(b.Status.Phase), b.Status.Arrived
		if i == 0 && b.Status.OpenedAt != nil {
			s.opened = b.Status.OpenedAt.Time
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
				// Others announce an end that has not come yet.
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
	s.early = s.opened.IsZero() || s.firstTransform.Before(s.opened)
	return v, complete == extracts+transforms && v.barriers[1] == string(konductorv1.BarrierOpen), s, nil
}

func countPod(pod *corev1.Pod, v *view, s *summary) {
	stage := pod.Labels["stage"]
	started := startedAt(pod)
	switch {
	case pod.Status.Phase == corev1.PodSucceeded && stage == "extract":
		v.extracted++
	case pod.Status.Phase == corev1.PodSucceeded:
		v.transformed++
	case stage == "extract" && !started.IsZero():
		v.extracting++
	case stage == "transform" && !started.IsZero():
		v.transforming++
	case stage == "transform":
		v.waiting++
	}
	if stage == "transform" && !started.IsZero() && (s.firstTransform.IsZero() || started.Before(s.firstTransform)) {
		s.firstTransform = started
	}
}

// startedAt returns when the Pod's own container, after its initContainers, started.
func startedAt(pod *corev1.Pod) time.Time {
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

// display shows views: in place on a terminal, else a line per change.
type display struct {
	out   io.Writer
	live  bool
	begin time.Time
	last  view
	drawn bool
}

func (d *display) draw(v view) {
	if d.drawn && v == d.last {
		return
	}
	elapsed := fmt.Sprintf("%.1fs", time.Since(d.begin).Seconds())
	if !d.live {
		fmt.Fprintf(d.out, "    %6s  extracts: %2d at work, %2d done   barrier extracts-done %2d/%d %-7s   transforms: %d waiting, %d at work, %d done   barrier transforms-done %d/%d %s\n", elapsed,
			v.extracting, v.extracted, v.arrived[0], extracts, v.barriers[0],
			v.waiting, v.transforming, v.transformed, v.arrived[1], transforms, v.barriers[1])
		d.last, d.drawn = v, true
		return
	}
	const lines = 5
	if d.drawn {
		fmt.Fprintf(d.out, "\x1b[%dA", lines)
	}
	row := func(format string, args ...any) { fmt.Fprintf(d.out, "\x1b[2K"+format+"\n", args...) }
	row("    %s", elapsed)
	row("    extract   jobs     %s  %d at work", bar(v.extracted, extracts), v.extracting)
	row("    barrier   extracts-done   %s  %s", bar(int(v.arrived[0]), extracts), v.barriers[0])
	row("    transform jobs     %s  %d waiting, %d at work", bar(v.transformed, transforms), v.waiting, v.transforming)
	row("    barrier   transforms-done %s  %s", bar(int(v.arrived[1]), transforms), v.barriers[1])
	d.last, d.drawn = v, true
}

// bar draws done of total.
func bar(done, total int) string {
	done = min(done, total)
	return fmt.Sprintf("[%s%s] %2d/%d", strings.Repeat("#", done), strings.Repeat(".", total-done), done, total)
}

func isTerminal(out io.Writer) bool {
	f, ok := out.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb" && os.Getenv("CI") == ""
}

// deleteBarriers deletes all barriers of the demo and waits until they are gone.
func deleteBarriers(ctx context.Context, config *rest.Config) error {
	s, err := scheme()
	if err != nil {
		return err
	}
	c, err := client.New(config, client.Options{Scheme: s})
	if err != nil {
		return err
	}
	return c.DeleteAllOf(ctx, &konductorv1.Barrier{}, client.InNamespace(namespace))
}

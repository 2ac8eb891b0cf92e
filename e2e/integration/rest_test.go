package integration

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/operator"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// quiet is how long nothing must be written. All pauses of the operator's are shorter, but for its deadlines.
const quiet = 5 * time.Second

func TestAtRestNothingIsWritten(t *testing.T) {
	w := newWorld(t)
	config, wire := w.wired(w.operators)
	w.operatorWith(func(o *operator.Options) { o.Config = config })
	w.withWorkers()
	givenEveryState(w)

	w.awaitQuiet(quiet)
	before := wire.writes()
	// Nobody renews here: the holds are a Pod's without a TTL, and detached ones.
	if changes := w.changesWithin(quiet); len(changes) > 0 {
		t.Errorf("written at rest: %v", changes)
	}
	if n := wire.writes() - before; n != 0 {
		t.Errorf("the operator made %d writing requests at rest", n)
	}
}

// givenEveryState creates objects of all kinds in all the states in which they can stay.
func givenEveryState(w *world) {
	w.Helper()
	barrierOf(w, "waiting", 3, konductor.TimeOutAfter(time.Hour), konductor.ExpireAfter(time.Hour))
	arrive(w, "waiting", "a")
	barrierOf(w, "open", 1, konductor.ExpireAfter(time.Hour))
	arrive(w, "open", "a")
	waitBarrier(w, "open").must()
	w.gate("closed", onJob("none"), condition{Type: konductorv1.GateOnLease, Name: "held"})
	w.gate("opened", condition{Type: konductorv1.GateOnBarrier, Name: "open"})
	waitGate(w, "opened").must()

	free, held := w.lease("free"), w.lease("held")
	full, paused, roomy := w.semaphore("full", 2), w.semaphore("paused", 0), w.semaphore("roomy", 5)
	w.release(w.someone("a").acquire(konductorv1.KindLease, free.Name))
	w.in(w.pod("holder")).acquire(konductorv1.KindLease, held.Name)
	w.someone("b").queue(konductorv1.KindLease, held)
	w.in(w.pod("half")).acquire(konductorv1.KindSemaphore, full.Name)
	w.someone("other-half").acquire(konductorv1.KindSemaphore, full.Name, konductor.Detached(), konductor.WithTTL(time.Hour))
	w.someone("large").queue(konductorv1.KindSemaphore, full, konductor.WithPermits(2))
	w.someone("small").queue(konductorv1.KindSemaphore, full)
	w.someone("patient").queue(konductorv1.KindSemaphore, paused)
	w.someone("one").acquire(konductorv1.KindSemaphore, roomy.Name, konductor.Detached(), konductor.WithTTL(time.Hour))
	// Two wait for each other, and the leases say so.
	left, right := w.lease("left"), w.lease("right")
	leftPod, rightPod := w.in(w.pod("left")), w.in(w.pod("right"))
	leftPod.acquire(konductorv1.KindLease, left.Name)
	rightPod.acquire(konductorv1.KindLease, right.Name)
	leftPod.queue(konductorv1.KindLease, right)
	rightPod.queue(konductorv1.KindLease, left)
	isDeadlocked(w, left.Name, "pod/right waits for lease/left")
	// A claim that was refused stays for a while.
	w.manual("metadata: {name: too-large}\nspec: {target: {kind: Semaphore, name: roomy}, holder: x, permits: 6}")
	isClaim(w, "too-large", konductorv1.ClaimRefused)
}

// watchAll watches everything that konductor could write in the test's namespace.
func (w *world) watchAll() (changes <-chan string, stop func()) {
	w.Helper()
	ctx, cancel := context.WithCancel(w.ctx)
	out := make(chan string)
	for _, list := range []client.ObjectList{
		&konductorv1.BarrierList{}, &konductorv1.ArrivalList{}, &konductorv1.GateList{}, &konductorv1.LeaseList{},
		&konductorv1.SemaphoreList{}, &konductorv1.ClaimList{}, &corev1.EventList{},
	} {
		w.ok(w.objects.List(ctx, list, client.InNamespace(w.namespace)))
		stream, err := w.objects.Watch(ctx, list, client.InNamespace(w.namespace), from(list))
		w.ok(err)
		go func() {
			defer stream.Stop()
			drain(ctx, stream, func(obj client.Object, _ bool) bool {
				select {
				case out <- kindAndName(obj):
				case <-ctx.Done():
				}
				return false
			})
		}()
	}
	return out, cancel
}

// awaitQuiet waits until nothing has been written for a while.
func (w *world) awaitQuiet(long time.Duration) {
	w.Helper()
	changes, stop := w.watchAll()
	defer stop()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for {
		calm := time.NewTimer(long)
		select {
		case <-changes:
			calm.Stop()
		case <-calm.C:
			return
		case <-limit.C:
			w.Fatal("it never becomes quiet")
		}
	}
}

// changesWithin returns what is written within that time.
func (w *world) changesWithin(long time.Duration) (all []string) {
	w.Helper()
	changes, stop := w.watchAll()
	defer stop()
	over := time.NewTimer(long)
	defer over.Stop()
	for {
		select {
		case c := <-changes:
			all = append(all, c)
		case <-over.C:
			return all
		}
	}
}

// from makes a watch begin where a list has ended.
func from(list client.ObjectList) client.ListOption {
	return &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: list.GetResourceVersion()}}
}

func kindAndName(obj client.Object) string {
	return fmt.Sprintf("%T %s at %s", obj, obj.GetName(), obj.GetResourceVersion())
}

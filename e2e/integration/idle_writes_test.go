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

// quietPeriod is how long nothing must be written. All intervals of the operator are shorter, except its deadlines.
const quietPeriod = 5 * time.Second

func TestNoWritesAtRest(t *testing.T) {
	w := newTestEnv(t)
	config, wire := w.hookTransport(w.operatorConfig)
	w.startOperatorWith(func(o *operator.Options) { o.Config = config })
	w.createWorkerAccount()
	createObjectsInEveryState(w)

	w.waitNoWrites(quietPeriod)
	before := wire.writeCount()
	// There are no renewals here: the holds are a Pod's without a TTL, and detached ones.
	if changes := w.writesWithin(quietPeriod); len(changes) > 0 {
		t.Errorf("written at rest: %v", changes)
	}
	if n := wire.writeCount() - before; n != 0 {
		t.Errorf("the operator made %d writing requests at rest", n)
	}
}

// createObjectsInEveryState creates objects of all kinds in all states that can last.
func createObjectsInEveryState(w *testEnv) {
	w.Helper()
	createBarrier(w, "waiting", 3, konductor.WithTimeoutAfterCreation(time.Hour), konductor.WithTTLAfterFinished(time.Hour))
	arriveInOrder(w, "waiting", "a")
	createBarrier(w, "open", 1, konductor.WithTTLAfterFinished(time.Hour))
	arriveInOrder(w, "open", "a")
	startWaitBarrier(w, "open").mustSucceed()
	w.createGate("closed", jobCondition("none"), condition{Type: konductorv1.GateOnLease, Name: "held"})
	w.createGate("opened", condition{Type: konductorv1.GateOnBarrier, Name: "open"})
	startWaitGate(w, "opened").mustSucceed()

	free, held := w.createLease("free"), w.createLease("held")
	full, paused, roomy := w.createSemaphore("full", 2), w.createSemaphore("paused", 0), w.createSemaphore("roomy", 5)
	w.mustRelease(w.newParticipant("a").mustAcquire(konductorv1.KindLease, free.Name))
	w.newPodParticipant(w.createPod("holder")).mustAcquire(konductorv1.KindLease, held.Name)
	w.newParticipant("b").enqueue(konductorv1.KindLease, held)
	w.newPodParticipant(w.createPod("half")).mustAcquire(konductorv1.KindSemaphore, full.Name)
	w.newParticipant("other-half").mustAcquire(konductorv1.KindSemaphore, full.Name, konductor.Detached(), konductor.WithTTL(time.Hour))
	w.newParticipant("large").enqueue(konductorv1.KindSemaphore, full, konductor.WithPermits(2))
	w.newParticipant("small").enqueue(konductorv1.KindSemaphore, full)
	w.newParticipant("patient").enqueue(konductorv1.KindSemaphore, paused)
	w.newParticipant("one").mustAcquire(konductorv1.KindSemaphore, roomy.Name, konductor.Detached(), konductor.WithTTL(time.Hour))
	// Two wait for each other, and the leases have the condition.
	left, right := w.createLease("left"), w.createLease("right")
	leftPod, rightPod := w.newPodParticipant(w.createPod("left")), w.newPodParticipant(w.createPod("right"))
	leftPod.mustAcquire(konductorv1.KindLease, left.Name)
	rightPod.mustAcquire(konductorv1.KindLease, right.Name)
	leftPod.enqueue(konductorv1.KindLease, right)
	rightPod.enqueue(konductorv1.KindLease, left)
	waitDeadlocked(w, left.Name, "pod/right waits for lease/left")
	// A refused claim is kept for a while.
	w.createClaimYAML("metadata: {name: too-large}\nspec: {target: {kind: Semaphore, name: roomy}, holder: x, permits: 6}")
	waitClaimPhase(w, "too-large", konductorv1.ClaimRefused)
}

// watchAllWrites watches everything that konductor could write in the test's namespace.
func (w *testEnv) watchAllWrites() (changes <-chan string, stop func()) {
	w.Helper()
	ctx, cancel := context.WithCancel(w.ctx)
	out := make(chan string)
	for _, list := range []client.ObjectList{
		&konductorv1.BarrierList{}, &konductorv1.ArrivalList{}, &konductorv1.GateList{}, &konductorv1.LeaseList{},
		&konductorv1.SemaphoreList{}, &konductorv1.ClaimList{}, &corev1.EventList{},
	} {
		w.must(w.client.List(ctx, list, client.InNamespace(w.namespace)))
		stream, err := w.client.Watch(ctx, list, client.InNamespace(w.namespace), fromResourceVersion(list))
		w.must(err)
		go func() {
			defer stream.Stop()
			consumeWatch(ctx, stream, func(obj client.Object, _ bool) bool {
				select {
				case out <- describeRevision(obj):
				case <-ctx.Done():
				}
				return false
			})
		}()
	}
	return out, cancel
}

// waitNoWrites waits until nothing has been written for period.
func (w *testEnv) waitNoWrites(period time.Duration) {
	w.Helper()
	changes, stop := w.watchAllWrites()
	defer stop()
	limit := time.NewTimer(waitTimeout)
	defer limit.Stop()
	for {
		calm := time.NewTimer(period)
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

// writesWithin returns what is written within period.
func (w *testEnv) writesWithin(period time.Duration) (all []string) {
	w.Helper()
	changes, stop := w.watchAllWrites()
	defer stop()
	over := time.NewTimer(period)
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

// fromResourceVersion starts a watch at the revision of a list.
func fromResourceVersion(list client.ObjectList) client.ListOption {
	return &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: list.GetResourceVersion()}}
}

func describeRevision(obj client.Object) string {
	return fmt.Sprintf("%T %s at %s", obj, obj.GetName(), obj.GetResourceVersion())
}

package integration

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/e2e/chaos/proxy"
	"github.com/LogicIQ/konductor/e2e/cluster"
	"github.com/LogicIQ/konductor/operator"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// TestLaggingSecondAPIServer spreads the requests of every participant over two API servers behind one address. A write through
// one of them is not visible yet through the other, and two operators see different states.
func TestLaggingSecondAPIServer(t *testing.T) {
	t.Parallel()
	plane, err := cluster.StartControlPlane(t.Context(), cluster.ControlPlaneOptions{ControllerManager: true, SecondAPIServer: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := plane.Close(); err != nil {
			t.Error(err)
		}
	})
	on, err := installKonductor(t.Context(), plane)
	if err != nil {
		t.Fatal(err)
	}
	w := newTestEnvOn(t, on)
	balancer, err := proxy.New(w.adminConfig, rand.New(rand.NewPCG(1, 2)), plane.SecondHost())
	w.must(err)
	t.Cleanup(func() { _ = balancer.Close() })
	w.adminConfig = balancer.Config(w.adminConfig)

	late := rest.CopyConfig(w.operatorConfig)
	late.Host = plane.SecondHost()
	w.startOperator()
	w.startOperatorWith(func(o *operator.Options) { o.Config = late })
	plane.SetLag(700 * time.Millisecond)

	w.createLease("db")
	w.createSemaphore("api", 2)
	createBarrier(w, "stage", 4)
	lease, semaphore := w.checkRevisions(konductorv1.KindLease, "db"), w.checkRevisions(konductorv1.KindSemaphore, "api")
	const people, turns = 4, 3
	var all errgroup.Group
	for i := range people {
		all.Go(func() error {
			p := w.newParticipant(fmt.Sprintf("w-%d", i))
			if err := p.ArriveBarrier(w.ctx, "stage", konductor.WithHolder(p.name)); err != nil {
				return err
			}
			return p.WaitBarrier(w.ctx, "stage")
		})
	}
	ps, qs := w.newParticipants(numberedNames("p", people)...), w.newParticipants(numberedNames("q", people)...)
	all.Go(func() error {
		return contend(w, &criticalSection{env: w, permits: 1}, ps, turns, konductorv1.KindLease, "db", onePermit)
	})
	all.Go(func() error {
		return contend(w, &criticalSection{env: w, permits: 2}, qs, turns, konductorv1.KindSemaphore, "api", onePermit)
	})
	w.must(all.Wait())
	for kind, grants := range map[string]int{
		konductorv1.KindLease: len(lease.waitForGrants(people * turns)), konductorv1.KindSemaphore: len(semaphore.waitForGrants(people * turns)),
	} {
		if grants != people*turns {
			t.Errorf("%s: %d grants were made for %d holds", kind, grants, people*turns)
		}
	}
	lease.waitIdle()
	semaphore.waitIdle()
}

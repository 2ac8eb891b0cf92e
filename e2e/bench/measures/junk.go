package measures

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/e2e/bench/report"
)

// Junk measures whether claims that somebody piles up in one namespace make grants in another dearer: handovers before and
// with the junk, each in turns with the floor, since time passes between them.
func (r *Run) Junk(ctx context.Context) (rows []report.Row, err error) {
	err = r.withFloor(ctx, func(namespace string) error {
		relay, err := r.newRelay(ctx, namespace, "db", 3, 0)
		if err != nil {
			return err
		}
		quiet, quietFloor, err := r.handovers(ctx, relay)
		if err != nil {
			return err
		}
		elsewhere, err := r.Namespace(ctx)
		if err != nil {
			return err
		}
		if err := r.pileUp(ctx, elsewhere); err != nil {
			return err
		}
		loud, loudFloor, err := r.handovers(ctx, relay)
		if err != nil {
			return err
		}
		what := count(r.Piled) + " junk claims in another namespace"
		before := quiet.P50() / quietFloor.P50()
		rows = []report.Row{
			report.Of("handover without junk, p50", quiet.P50(), "ms").Over(quietFloor.P50()).Note(fmt.Sprintf("N=%d", quiet.N())),
			report.Of("handover with "+what+", p50", loud.P50(), "ms").Over(loudFloor.P50()).Note(fmt.Sprintf("N=%d", loud.N())),
			report.Of("handover with "+what+" against none", loud.P50()/loudFloor.P50(), "× floor").Over(before).AtMost(1.3).
				Note("both p50, each over the floor of its time"),
		}
		if err := relay.end(ctx); err != nil {
			return err
		}
		return r.Clear(ctx, elsewhere)
	})
	return rows, err
}

// pileUp creates claims that nobody serves: one half waits for a semaphore without permits, the other for leases that
// don't exist, each for one of its own.
func (r *Run) pileUp(ctx context.Context, namespace string) error {
	paused, err := r.semaphore(ctx, namespace, "paused", 0)
	if err != nil {
		return err
	}
	if err := r.CreateAll(ctx, r.Piled, func(i int) client.Object {
		target := konductorv1.ClaimTarget{Kind: konductorv1.KindSemaphore, Name: paused.Name}
		if i%2 == 1 {
			target = konductorv1.ClaimTarget{Kind: konductorv1.KindLease, Name: fmt.Sprintf("none-%d", i)}
		}
		name := fmt.Sprintf("junk-%d", i)
		return &konductorv1.Claim{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
			Spec:       konductorv1.ClaimSpec{Target: target, Holder: name, TTL: konductorv1.NewDuration(time.Hour)},
		}
	}); err != nil {
		return err
	}
	return r.awaitCalm(ctx)
}

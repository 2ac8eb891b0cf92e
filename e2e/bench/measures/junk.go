package measures

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/e2e/bench/report"
	"github.com/LogicIQ/konductor/e2e/bench/scene"
)

// Junk measures whether claims that somebody piles up in one namespace make grants in another dearer: handovers before and
// with the junk, each in turns with the floor, since time passes between them.
func (r *Run) Junk(ctx context.Context) (rows []report.Row, err error) {
	err = r.inNamespace(ctx, func(namespace string, o *scene.Operator) error {
		stop, err := r.Floors.Answer(ctx)
		if err != nil {
			return err
		}
		defer stop()
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
		memory, err := o.Memory()
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
			report.Of("operator memory with "+what, megabytes(memory), "MB").Note("resident set, of one that saw them come"),
		}
		if err := relay.end(ctx); err != nil {
			return err
		}
		if err := r.ClearPile(ctx, elsewhere); err != nil {
			return err
		}
		return r.Clear(ctx, elsewhere)
	})
	return rows, err
}

// pileUp adds claims that nobody serves: one half waits for a semaphore without permits, the other for leases that don't
// exist, each for one of its own.
func (r *Run) pileUp(ctx context.Context, namespace string) error {
	paused, err := r.semaphore(ctx, namespace, "paused", 0)
	if err != nil {
		return err
	}
	first := &konductorv1.Claim{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "first"},
		Spec: konductorv1.ClaimSpec{
			Target: konductorv1.ClaimTarget{Kind: konductorv1.KindSemaphore, Name: paused.Name}, Holder: "first", TTL: konductorv1.NewDuration(time.Hour),
		},
	}
	if err := r.Objects.Create(ctx, first); err != nil {
		return err
	}
	if err := r.Pile(ctx, namespace, first.Name, r.Piled, func(i int, junk *konductorv1.Claim) {
		junk.Name = fmt.Sprintf("junk-%d", i)
		junk.Spec.Holder = junk.Name
		if i%2 == 1 {
			junk.Spec.Target = konductorv1.ClaimTarget{Kind: konductorv1.KindLease, Name: fmt.Sprintf("none-%d", i)}
		}
	}); err != nil {
		return err
	}
	return r.awaitCalm(ctx)
}

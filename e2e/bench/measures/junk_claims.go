package measures

import (
	"context"
	"fmt"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/e2e/bench/benchenv"
	"github.com/LogicIQ/konductor/e2e/bench/report"
)

// MeasureJunkClaims measures whether many claims in one namespace make grants in another more expensive: handovers before and
// with the junk claims, each alternating with the lower bound, since time passes between them.
func (r *Runner) MeasureJunkClaims(ctx context.Context) (rows []report.Row, err error) {
	err = r.withOperatorInNamespace(ctx, func(namespace string, o *benchenv.Operator) error {
		stop, err := r.LowerBounds.StartGranting(ctx)
		if err != nil {
			return err
		}
		defer stop()
		contended, err := r.newContendedLease(ctx, namespace, "db", 3, 0)
		if err != nil {
			return err
		}
		withoutJunk, withoutJunkFloor, err := r.measureHandovers(ctx, contended)
		if err != nil {
			return err
		}
		elsewhere, err := r.CreateNamespace(ctx)
		if err != nil {
			return err
		}
		if err := r.createJunkClaims(ctx, elsewhere); err != nil {
			return err
		}
		withJunk, withJunkFloor, err := r.measureHandovers(ctx, contended)
		if err != nil {
			return err
		}
		memory, err := o.ResidentMemory()
		if err != nil {
			return err
		}
		what := formatCount(r.JunkClaims) + " junk claims in another namespace"
		before := withoutJunk.P50() / withoutJunkFloor.P50()
		rows = []report.Row{
			report.NewRow("handover without junk, p50", withoutJunk.P50(), "ms").WithLowerBound(withoutJunkFloor.P50()).WithNote(fmt.Sprintf("N=%d", withoutJunk.N())),
			report.NewRow("handover with "+what+", p50", withJunk.P50(), "ms").WithLowerBound(withJunkFloor.P50()).WithNote(fmt.Sprintf("N=%d", withJunk.N())),
			report.NewRow("handover with "+what+" against none", withJunk.P50()/withJunkFloor.P50(), "× floor").WithLowerBound(before).AtMost(1.3).
				WithNote("both p50, each over the floor of its time"),
			report.NewRow("operator memory with "+what, toMegabytes(memory), "MB").WithNote("resident set, of one that saw them come"),
		}
		if err := contended.close(ctx); err != nil {
			return err
		}
		if err := r.DeleteInsertedClaims(ctx, elsewhere); err != nil {
			return err
		}
		return r.ClearNamespace(ctx, elsewhere)
	})
	return rows, err
}

// createJunkClaims adds claims that are never granted: one half waits for a semaphore without permits, the other for leases that
// don't exist, each for a different one.
func (r *Runner) createJunkClaims(ctx context.Context, namespace string) error {
	paused, err := r.createSemaphore(ctx, namespace, "paused", 0)
	if err != nil {
		return err
	}
	first := newIdleClaim(namespace, "first", konductorv1.ClaimTarget{Kind: konductorv1.KindSemaphore, Name: paused.Name})
	if err := r.Objects.Create(ctx, first); err != nil {
		return err
	}
	if err := r.InsertClaimCopies(ctx, namespace, first.Name, r.JunkClaims, func(i int, junk *konductorv1.Claim) {
		junk.Name = fmt.Sprintf("junk-%d", i)
		junk.Spec.Holder = junk.Name
		if i%2 == 1 {
			junk.Spec.Target = konductorv1.ClaimTarget{Kind: konductorv1.KindLease, Name: fmt.Sprintf("none-%d", i)}
		}
	}); err != nil {
		return err
	}
	return r.awaitNoWrites(ctx)
}

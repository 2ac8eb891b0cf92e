package integration

import (
	"fmt"
	"slices"
	"testing"
	"time"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// report adds the middle and the worst but for one in a hundred to a benchmark's result.
func report(b *testing.B, took []time.Duration) {
	b.Helper()
	slices.Sort(took)
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	b.ReportMetric(ms(took[len(took)/2]), "p50-ms")
	b.ReportMetric(ms(took[len(took)*99/100]), "p99-ms")
	b.ReportMetric(0, "ns/op") // would count the releases too
}

// BenchmarkUncontendedAcquire measures how long it takes to get a lease that is free.
func BenchmarkUncontendedAcquire(b *testing.B) {
	w := newWorldOn(b, shared)
	w.operator()
	w.withWorkers()
	w.lease("db", konductor.WithTTL(time.Hour))
	for name, a := range map[string]*actor{"in a pod": w.in(w.pod("pod")), "outside of one": w.someone("somebody")} {
		b.Run(name, func(b *testing.B) {
			w.release(a.acquire(konductorv1.KindLease, "db"))
			var took []time.Duration
			for b.Loop() {
				start := time.Now()
				hold, err := a.AcquireLease(w.ctx, "db", a.as(nil)...)
				took = append(took, time.Since(start))
				w.ok(err)
				w.ok(hold.Release(w.ctx))
			}
			report(b, took)
		})
	}
}

// BenchmarkHandover measures how long it takes from the call of Release until the next in the queue has the lease.
func BenchmarkHandover(b *testing.B) {
	for _, waiting := range []int{1, 100} {
		b.Run(fmt.Sprintf("%d waiting", waiting), func(b *testing.B) {
			w := newWorldOn(b, shared)
			w.operator()
			w.withWorkers()
			lease := w.lease("db", konductor.WithTTL(time.Hour))
			queue := make([]*actor, waiting+1)
			holds := make([]*future[*konductor.Hold], len(queue))
			for i := range queue {
				queue[i] = w.in(w.pod(fmt.Sprintf("pod-%d", i)))
				holds[i] = queue[i].queue(konductorv1.KindLease, lease)
			}
			var took []time.Duration
			at := 0
			for b.Loop() {
				hold, next := holds[at].must(), holds[(at+1)%len(queue)]
				start := time.Now()
				if err := hold.Release(w.ctx); err != nil {
					b.Fatal(err)
				}
				next.must()
				took = append(took, time.Since(start))
				holds[at] = queue[at].queue(konductorv1.KindLease, lease)
				at = (at + 1) % len(queue)
			}
			report(b, took)
			w.cancel()
		})
	}
}

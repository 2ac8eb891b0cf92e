package integration

import (
	"fmt"
	"slices"
	"testing"
	"time"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// reportPercentiles adds the median and the 99th percentile to a benchmark's result.
func reportPercentiles(b *testing.B, took []time.Duration) {
	b.Helper()
	slices.Sort(took)
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	b.ReportMetric(ms(took[len(took)/2]), "p50-ms")
	b.ReportMetric(ms(took[len(took)*99/100]), "p99-ms")
	b.ReportMetric(0, "ns/op") // would count the releases too
}

// BenchmarkUncontendedAcquire measures how long it takes to acquire a free lease.
func BenchmarkUncontendedAcquire(b *testing.B) {
	w := newTestEnvOn(b, sharedCluster)
	w.startOperator()
	w.createWorkerAccount()
	w.createLease("db", konductor.WithTTL(time.Hour))
	for name, a := range map[string]*testParticipant{"in a pod": w.newPodParticipant(w.createPod("pod")), "outside of one": w.newParticipant("somebody")} {
		b.Run(name, func(b *testing.B) {
			w.mustRelease(a.mustAcquire(konductorv1.KindLease, "db"))
			var took []time.Duration
			for b.Loop() {
				start := time.Now()
				hold, err := a.AcquireLease(w.ctx, "db", a.asHolder())
				took = append(took, time.Since(start))
				w.must(err)
				w.must(hold.Release(w.ctx))
			}
			reportPercentiles(b, took)
		})
	}
}

// BenchmarkHandover measures from the call of Release until the next in the queue has the lease.
func BenchmarkHandover(b *testing.B) {
	for _, waiting := range []int{1, 100} {
		b.Run(fmt.Sprintf("%d waiting", waiting), func(b *testing.B) {
			w := newTestEnvOn(b, sharedCluster)
			w.startOperator()
			w.createWorkerAccount()
			lease := w.createLease("db", konductor.WithTTL(time.Hour))
			queue := make([]*testParticipant, waiting+1)
			holds := make([]*future[*konductor.Hold], len(queue))
			for i := range queue {
				queue[i] = w.newPodParticipant(w.createPod(fmt.Sprintf("pod-%d", i)))
				holds[i] = queue[i].enqueue(konductorv1.KindLease, lease)
			}
			var took []time.Duration
			at := 0
			for b.Loop() {
				hold, next := holds[at].mustSucceed(), holds[(at+1)%len(queue)]
				start := time.Now()
				if err := hold.Release(w.ctx); err != nil {
					b.Fatal(err)
				}
				next.mustSucceed()
				took = append(took, time.Since(start))
				holds[at] = queue[at].enqueue(konductorv1.KindLease, lease)
				at = (at + 1) % len(queue)
			}
			reportPercentiles(b, took)
			w.cancel()
		})
	}
}

package waitgraph_test

import (
	"fmt"
	"testing"

	"github.com/LogicIQ/konductor/internal/waitgraph"
)

// BenchmarkAnalyze analyzes a namespace in which many claims wait for one lease, as many Pods hold a permit each, and two are
// deadlocked.
func BenchmarkAnalyze(b *testing.B) {
	for _, n := range []int{100, 1000, 10000} {
		b.Run(fmt.Sprintf("%d claims", n), func(b *testing.B) {
			s := newSnapshotBuilder()
			s.addSemaphore("permits", int32(n))
			addCrosswiseDeadlock(s)
			for i := range n / 2 {
				name := fmt.Sprintf("w%d", i)
				s.addWaiter(name, "lease/a")
				s.addHolder("h"+name, "semaphore/permits")
			}
			b.ReportAllocs()
			for b.Loop() {
				if found := waitgraph.Analyze(&s.Snapshot).Deadlocks(); len(found) != 1 {
					b.Fatalf("%d deadlocks", len(found))
				}
			}
		})
	}
}

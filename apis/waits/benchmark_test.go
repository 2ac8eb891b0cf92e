package waits_test

import (
	"fmt"
	"testing"

	"github.com/LogicIQ/konductor/apis/waits"
)

// A look at a namespace in which many wait for one lease, as many Pods hold a permit each, and two are deadlocked.
func BenchmarkALookAtANamespace(b *testing.B) {
	for _, n := range []int{100, 1000, 10000} {
		b.Run(fmt.Sprintf("%d claims", n), func(b *testing.B) {
			s := newScene()
			s.semaphore("permits", int32(n))
			crosswise(s)
			for i := range n / 2 {
				name := fmt.Sprintf("w%d", i)
				s.waits(name, "lease/a")
				s.holds("h"+name, "semaphore/permits")
			}
			b.ReportAllocs()
			for b.Loop() {
				if found := waits.Analyze(&s.Snapshot).Deadlocks(); len(found) != 1 {
					b.Fatalf("%d deadlocks", len(found))
				}
			}
		})
	}
}

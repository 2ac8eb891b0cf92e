// Package costtest limits, in tests, the memory and time of functions that process input written by others.
package costtest

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

// Limits of a call besides memory in proportion to its input. They are far above what any call takes, but quadratic cost,
// or worse, exceeds them.
const (
	maxStackBytes = 64 << 20
	maxDuration   = time.Minute
)

// CheckLinear fails the test when f allocates more than maxPerByte bytes for each byte of its input (size) plus a
// megabyte. When f needs more than 64 MB of stack or a minute the test ends at once, so that a fuzzer knows the input
// that caused it.
func CheckLinear(t testing.TB, size, maxPerByte int, f func()) {
	t.Helper()
	const base = 1 << 20
	defer debug.SetMaxStack(debug.SetMaxStack(maxStackBytes))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	watchdog := time.AfterFunc(maxDuration, func() {
		panic(fmt.Sprintf("%d bytes take more than %s", size, maxDuration)) //nolint:forbidigo // nothing else ends a call that goes on
	})
	f()
	watchdog.Stop()
	runtime.ReadMemStats(&after)
	if allocated, limit := after.TotalAlloc-before.TotalAlloc, uint64(base+size*maxPerByte*inflation); allocated > limit {
		t.Errorf("%d bytes cost %d bytes, %d for each; at most %d are fine", size, allocated, allocated/uint64(max(size, 1)), limit)
	}
}

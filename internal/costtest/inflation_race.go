//go:build race

package costtest

// inflation is how many times as much memory may be used as in a normal build: the race detector drops the contents of
// pools, among them buffers and the machines of regular expressions, and moves values to the heap.
const inflation = 16

package waitgraph

import (
	"cmp"
	"slices"
	"sort"
)

// fenwickTree sums permits by how many are asked for at once, at O(log n) for each operation.
type fenwickTree struct {
	sizes []int32
	tree  []int64
}

func newFenwickTree(of []*wait) *fenwickTree {
	s := &fenwickTree{}
	for _, w := range of {
		s.sizes = append(s.sizes, w.permits)
	}
	slices.Sort(s.sizes)
	s.sizes = slices.Compact(s.sizes)
	s.tree = make([]int64, len(s.sizes)+1)
	return s
}

// add adds n to the sum of the waits that ask for exactly that many permits.
func (s *fenwickTree) add(permits int32, n int64) {
	at, _ := slices.BinarySearch(s.sizes, permits)
	for i := at + 1; i < len(s.tree); i += i & -i {
		s.tree[i] += n
	}
}

// sumUpTo returns the sum of the waits that ask for at most that many permits.
func (s *fenwickTree) sumUpTo(permits int32) (sum int64) {
	at := sort.Search(len(s.sizes), func(i int) bool { return cmp.Less(permits, s.sizes[i]) })
	for i := at; i > 0; i -= i & -i {
		sum += s.tree[i]
	}
	return sum
}

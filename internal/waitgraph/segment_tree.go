package waitgraph

import "math"

// minSegmentTree has a number per position, from 1, and finds the next one that is less than a given number at O(log n). (A segment
// tree.)
type minSegmentTree struct {
	leaves int
	tree   []int64
}

func newMinSegmentTree(n int) minSegmentTree {
	m := minSegmentTree{leaves: 1}
	for m.leaves < n {
		m.leaves *= 2
	}
	m.tree = make([]int64, 2*m.leaves)
	for i := range m.tree {
		m.tree[i] = math.MaxInt64
	}
	return m
}

func (m *minSegmentTree) remove(place int) { m.set(place, math.MaxInt64) }

func (m *minSegmentTree) set(place int, to int64) {
	at := m.leaves + place - 1
	m.tree[at] = to
	for at /= 2; at > 0; at /= 2 {
		m.tree[at] = min(m.tree[2*at], m.tree[2*at+1])
	}
}

// nextBelow returns the first position, at or after from, whose number is less than the given one; 0: none.
func (m *minSegmentTree) nextBelow(from int, than int64) int {
	if from > m.leaves {
		return 0
	}
	at := m.leaves + from - 1
	// Go up until there is a lesser number in this subtree or in one to the right.
	for m.tree[at] >= than {
		for at%2 == 1 {
			if at /= 2; at == 0 {
				return 0
			}
		}
		at++
	}
	for at < m.leaves {
		if at *= 2; m.tree[at] >= than {
			at++
		}
	}
	return at - m.leaves + 1
}

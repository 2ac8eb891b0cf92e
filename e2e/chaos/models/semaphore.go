package models

import (
	"fmt"
	"slices"

	"github.com/anishathalye/porcupine"
)

// semaphoreState is the state of a semaphore. It is immutable.
type semaphoreState struct {
	limit               int32
	holds               []hold // by token
	lastToken           int64
	deletedThroughToken int64
}

type hold struct {
	token   int64
	permits int32
}

// SemaphoreModel counts permits: a grant fits into what is free of the limit at that time, and has a larger token than all
// before; a client that releases has held until then; only an acquire of more than the limit is refused. Busy is always allowed:
// it depends on the queue, which the model doesn't have.
func SemaphoreModel() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return semaphoreState{} },
		Step: func(state, input, _ any) (bool, any) { return state.(semaphoreState).step(input.(Input)) },
		Equal: func(a, b any) bool {
			x, y := a.(semaphoreState), b.(semaphoreState)
			return x.limit == y.limit && x.lastToken == y.lastToken && x.deletedThroughToken == y.deletedThroughToken && slices.Equal(x.holds, y.holds)
		},
		DescribeOperation: func(input, _ any) string { return fmt.Sprint(input) },
		DescribeState: func(state any) string {
			s := state.(semaphoreState)
			return fmt.Sprintf("%d of %d held: %v", s.inUse(), s.limit, s.holds)
		},
	}
}

func (s semaphoreState) inUse() (n int32) {
	for _, h := range s.holds {
		n += h.permits
	}
	return n
}

func (s semaphoreState) step(in Input) (bool, any) {
	switch in.Kind {
	case Acquire:
		if s.inUse()+in.Permits > s.limit || s.lastToken != in.PreviousToken || in.Token <= s.lastToken {
			return false, s
		}
		s.holds = append(slices.Clone(s.holds), hold{in.Token, in.Permits})
		s.lastToken = in.Token
		return true, s
	case Release:
		if in.Token <= s.deletedThroughToken {
			return true, s
		}
		holds := slices.ContainsFunc(s.holds, func(h hold) bool { return h.token == in.Token })
		return holds, s.withoutToken(in.Token)
	case EndHold:
		return s.lastToken >= in.Token, s.withoutToken(in.Token)
	case Refused:
		return in.Permits > s.limit, s
	case DeleteObject:
		s.holds, s.deletedThroughToken = nil, s.lastToken
		return true, s
	case SetLimit:
		s.limit = in.Permits
		return true, s
	default:
		return true, s
	}
}

func (s semaphoreState) withoutToken(token int64) semaphoreState {
	s.holds = slices.DeleteFunc(slices.Clone(s.holds), func(h hold) bool { return h.token == token })
	return s
}

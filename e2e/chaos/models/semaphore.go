package models

import (
	"fmt"
	"slices"

	"github.com/anishathalye/porcupine"
)

// counting is the state of a semaphore. It is never changed, only replaced.
type counting struct {
	limit int32
	held  []held // by token
	last  int64
	wiped int64
}

type held struct {
	token   int64
	permits int32
}

// Semaphore counts permits: a grant fits into what is free of the limit as it is then, and has a larger token than all
// before; who releases has held until then; only who asks for more than the limit is refused. Busy is always allowed: it
// depends on the queue, which the model doesn't have.
func Semaphore() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return counting{} },
		Step: func(state, input, _ any) (bool, any) { return state.(counting).step(input.(Input)) },
		Equal: func(a, b any) bool {
			x, y := a.(counting), b.(counting)
			return x.limit == y.limit && x.last == y.last && x.wiped == y.wiped && slices.Equal(x.held, y.held)
		},
		DescribeOperation: func(input, _ any) string { return fmt.Sprint(input) },
		DescribeState: func(state any) string {
			s := state.(counting)
			return fmt.Sprintf("%d of %d held: %v", s.inUse(), s.limit, s.held)
		},
	}
}

func (s counting) inUse() (n int32) {
	for _, h := range s.held {
		n += h.permits
	}
	return n
}

func (s counting) step(in Input) (bool, any) {
	switch in.Verb {
	case Acquire:
		if s.inUse()+in.Permits > s.limit || s.last != in.Previous || in.Token <= s.last {
			return false, s
		}
		s.held = append(slices.Clone(s.held), held{in.Token, in.Permits})
		s.last = in.Token
		return true, s
	case Release:
		if in.Token <= s.wiped {
			return true, s
		}
		holds := slices.ContainsFunc(s.held, func(h held) bool { return h.token == in.Token })
		return holds, s.without(in.Token)
	case End:
		return s.last >= in.Token, s.without(in.Token)
	case Refused:
		return in.Permits > s.limit, s
	case Wipe:
		s.held, s.wiped = nil, s.last
		return true, s
	case Limit:
		s.limit = in.Permits
		return true, s
	default:
		return true, s
	}
}

func (s counting) without(token int64) counting {
	s.held = slices.DeleteFunc(slices.Clone(s.held), func(h held) bool { return h.token == token })
	return s
}

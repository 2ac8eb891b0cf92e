package models

import (
	"fmt"

	"github.com/anishathalye/porcupine"
)

// mutex is the state of a lease.
type mutex struct {
	holder int64 // the holder's token; 0: nobody holds
	last   int64 // the token of the latest grant
	wiped  int64 // grants up to this token ended when the object was deleted
}

// Lease is a mutex with fencing: one holds at a time, each with a larger token than all before; who releases has held
// until then; and "busy" is said only while somebody holds. Holds end by their release, by an End, or with the object.
func Lease() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return mutex{} },
		Step: func(state, input, _ any) (bool, any) {
			s, in := state.(mutex), input.(Input)
			return s.step(in)
		},
		DescribeOperation: func(input, _ any) string { return fmt.Sprint(input) },
		DescribeState: func(state any) string {
			if s := state.(mutex); s.holder != 0 {
				return fmt.Sprintf("held with token %d", s.holder)
			}
			return "free"
		},
	}
}

func (s mutex) step(in Input) (bool, any) {
	switch in.Verb {
	case Acquire:
		legal := s.holder == 0 && s.last == in.Previous && in.Token > s.last
		return legal, mutex{holder: in.Token, last: in.Token, wiped: s.wiped}
	case Release:
		if in.Token <= s.wiped {
			return true, s
		}
		return s.holder == in.Token, mutex{last: s.last, wiped: s.wiped}
	case End:
		if s.holder == in.Token {
			s.holder = 0
		}
		return s.last >= in.Token, s
	case Busy:
		return s.holder != 0, s
	case Wipe:
		return true, mutex{last: s.last, wiped: s.last}
	default:
		return true, s
	}
}

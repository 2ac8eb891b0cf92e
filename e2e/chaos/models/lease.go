package models

import (
	"fmt"

	"github.com/anishathalye/porcupine"
)

// leaseState is the state of a lease.
type leaseState struct {
	holderToken         int64 // the holder's token; 0: there is no holder
	lastToken           int64 // the token of the latest grant
	deletedThroughToken int64 // grants up to this token ended when the object was deleted
}

// LeaseModel is a mutex with fencing: there is one holder at a time, each with a larger token than all before; a client that
// releases has held until then; and "busy" occurs only while there is a holder. Holds end by their Release, by an EndHold, or
// with the object.
func LeaseModel() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return leaseState{} },
		Step: func(state, input, _ any) (bool, any) {
			s, in := state.(leaseState), input.(Input)
			return s.step(in)
		},
		DescribeOperation: func(input, _ any) string { return fmt.Sprint(input) },
		DescribeState: func(state any) string {
			if s := state.(leaseState); s.holderToken != 0 {
				return fmt.Sprintf("held with token %d", s.holderToken)
			}
			return "free"
		},
	}
}

func (s leaseState) step(in Input) (bool, any) {
	switch in.Kind {
	case Acquire:
		legal := s.holderToken == 0 && s.lastToken == in.PreviousToken && in.Token > s.lastToken
		return legal, leaseState{holderToken: in.Token, lastToken: in.Token, deletedThroughToken: s.deletedThroughToken}
	case Release:
		if in.Token <= s.deletedThroughToken {
			return true, s
		}
		return s.holderToken == in.Token, leaseState{lastToken: s.lastToken, deletedThroughToken: s.deletedThroughToken}
	case EndHold:
		if s.holderToken == in.Token {
			s.holderToken = 0
		}
		return s.lastToken >= in.Token, s
	case Busy:
		return s.holderToken != 0, s
	case DeleteObject:
		return true, leaseState{lastToken: s.lastToken, deletedThroughToken: s.lastToken}
	default:
		return true, s
	}
}

// Package models describes a lease and a semaphore as sequential models, and translates a history into one that porcupine can
// compare with them.
package models

import "fmt"

// OpKind is the kind of an operation on the model.
type OpKind string

const (
	// Acquire is a grant.
	Acquire OpKind = "acquire"
	// Busy is an acquire that got the response that it can't be served at once.
	Busy OpKind = "busy"
	// Refused is an acquire that got the response that it can never be served.
	Refused OpKind = "refused"
	// Release is a release whose response was success.
	Release OpKind = "release"
	// EndHold is the end of a hold by anything else: it expired, its claim was deleted, its client gave up.
	EndHold OpKind = "end"
	// DeleteObject is the deletion of the object, which ends all holds.
	DeleteObject OpKind = "wipe"
	// SetLimit sets the number of permits.
	SetLimit OpKind = "limit"
)

// Input is one operation on the model.
type Input struct {
	Kind    OpKind
	Holder  string
	Token   int64
	Permits int32
	// PreviousToken is the token of the grant before this one. Tokens grow, so a history whose grants are in another order than
	// their tokens is wrong, and other orders need not be tried.
	PreviousToken int64
}

func (i Input) String() string {
	switch i.Kind {
	case Acquire:
		return fmt.Sprintf("%s acquires %d: token %d", i.Holder, i.Permits, i.Token)
	case Busy:
		return i.Holder + " is told: busy"
	case Refused:
		return fmt.Sprintf("%s asks for %d and is refused", i.Holder, i.Permits)
	case Release:
		return fmt.Sprintf("%s releases token %d", i.Holder, i.Token)
	case EndHold:
		return fmt.Sprintf("%s loses token %d", i.Holder, i.Token)
	case SetLimit:
		return fmt.Sprintf("permits are set to %d", i.Permits)
	default:
		return "the object is deleted"
	}
}

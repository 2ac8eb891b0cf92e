// Package models says what a lease and a semaphore are, as sequential machines,
// and turns a history into one that porcupine can compare with them.
package models

import "fmt"

// Verb is what an operation does to the model.
type Verb string

const (
	// Acquire takes hold.
	Acquire Verb = "acquire"
	// Busy is an acquire that was told that it can't be served at once.
	Busy Verb = "busy"
	// Refused is an acquire that was told that it never can.
	Refused Verb = "refused"
	// Release is a release that was told that it has ended the hold.
	Release Verb = "release"
	// End is the end of a hold by anything else: its time ran out, its claim was deleted, its client gave up.
	End Verb = "end"
	// Wipe is the deletion of the object, which ends all holds.
	Wipe Verb = "wipe"
	// Limit sets how many permits there are.
	Limit Verb = "limit"
)

// Input is one operation on the model.
type Input struct {
	Verb    Verb
	Holder  string
	Token   int64
	Permits int32
	// Previous is the token of the grant before this one. Tokens grow, so a history in which grants come in another order
	// than that of their tokens is wrong, and there is no need to try others.
	Previous int64
}

func (i Input) String() string {
	switch i.Verb {
	case Acquire:
		return fmt.Sprintf("%s acquires %d: token %d", i.Holder, i.Permits, i.Token)
	case Busy:
		return i.Holder + " is told: busy"
	case Refused:
		return fmt.Sprintf("%s asks for %d and is refused", i.Holder, i.Permits)
	case Release:
		return fmt.Sprintf("%s releases token %d", i.Holder, i.Token)
	case End:
		return fmt.Sprintf("%s loses token %d", i.Holder, i.Token)
	case Limit:
		return fmt.Sprintf("permits are set to %d", i.Permits)
	default:
		return "the object is deleted"
	}
}

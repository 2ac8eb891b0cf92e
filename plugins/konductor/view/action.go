package view

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// Action is something that can be done to an object. What it does is one command line of this program, so that what
// people confirm, could type themselves, and what is run are the same.
type Action struct {
	Verb string
	Ref  Ref
	// Asks names what must be given in addition, such as the number of permits; empty: nothing.
	Asks string
	// Given is what is given unless people say otherwise.
	Given string
	// Warning says what people should know before they confirm; may be empty.
	Warning string
	// Right is what it takes.
	Right Right
	// Impossible says why it makes no sense as things stand; empty: it does.
	Impossible string
	// holder and claimUID are of the hold that is to be broken, and no other.
	holder, claimUID string
}

// Right is the right to do something with the objects of a resource in a namespace.
type Right struct{ Verb, Resource, Namespace string }

// Verbs of actions.
const (
	Arrive  = "arrive"
	Release = "release"
	Break   = "break"
	Resize  = "resize"
	Delete  = "delete"
)

// Verbs returns what can be done to objects of a kind.
func Verbs(kind string) []string {
	return map[string][]string{
		konductorv1.KindBarrier:   {Arrive, Delete},
		konductorv1.KindGate:      {Delete},
		konductorv1.KindLease:     {Release, Break, Delete},
		konductorv1.KindSemaphore: {Release, Resize, Delete},
	}[kind]
}

// Action returns what verb does to the object of a row; false when its kind has no such verb. self is the name under
// which this machine takes part.
func (r *Row) Action(verb, self string) (Action, bool) {
	if !slices.Contains(Verbs(r.Kind), verb) {
		return Action{}, false
	}
	a := Action{Verb: verb, Ref: r.Ref}
	switch verb {
	case Arrive:
		a.Asks, a.Given = "arrive as", self
		a.Right = Right{"create", Resource(konductorv1.KindArrival), r.Namespace}
	case Release:
		a.Asks, a.Given = "holder", self
		a.Right = Right{"delete", Resource(konductorv1.KindClaim), r.Namespace}
		a.Warning = "it gives back a hold that is bound to no pod, or leaves the queue"
	case Break:
		a.Right = Right{"delete", Resource(konductorv1.KindClaim), r.Namespace}
		if len(r.Holds) == 0 {
			a.Impossible = "nobody holds " + r.String()
			break
		}
		a.holder, a.claimUID = r.Holds[0].Holder, r.Holds[0].ClaimUID
		a.Warning = r.Holds[0].Holder + " may go on working until it learns of it"
	case Resize:
		a.Asks, a.Given = "permits", strconv.Itoa(int(r.Total))
		a.Right = Right{"patch", Resource(konductorv1.KindSemaphore), r.Namespace}
		a.Warning = "nobody loses a permit by it; 0 pauses the semaphore"
	case Delete:
		a.Right = Right{"delete", Resource(r.Kind), r.Namespace}
		a.Warning = "those who wait for it end with exit code 2"
		if n := len(r.Holds); n > 0 {
			a.Warning = fmt.Sprintf("it is held by %s: the hold is lost, and %s", r.holders(), a.Warning)
		}
	}
	return a, true
}

// Args returns the command line that does it, without the name of the program and the flags that name the cluster.
// given is what was asked for.
func (a Action) Args(given string) []string {
	args := []string{strings.ToLower(a.Ref.Kind), a.Verb, a.Ref.Name, "--namespace=" + a.Ref.Namespace}
	switch a.Verb {
	case Arrive:
		// A barrier that was deleted in the meantime is not waited for.
		args = append(args, "--holder="+given, "--fail-if-missing")
	case Release:
		args = append(args, "--holder="+given)
	case Resize:
		args = append(args, "--permits="+given)
	case Break:
		// The lease may change hands between the last look and the command.
		args = append(args, "--holder="+a.holder, "--yes")
	case Delete:
		args = append(args, "--yes")
	}
	return args
}

// Check says what is wrong with what was given; empty: nothing.
func (a Action) Check(given string) string {
	const longest = 320
	switch a.Verb {
	case Arrive, Release:
		if given == "" {
			return "give a name"
		}
		if len(given) > longest {
			return fmt.Sprintf("a name has at most %d characters", longest)
		}
	case Resize:
		if n, err := strconv.ParseInt(given, 10, 32); err != nil || n < 0 {
			return "give a number, 0 or more"
		}
	}
	return ""
}

// Overtaken says how the object has changed since, so that the action would not do what was confirmed; empty: it would.
func (a Action) Overtaken(now *Row) string {
	switch {
	case now == nil:
		return a.Ref.String() + " was deleted in the meantime"
	case a.Verb == Break && len(now.Holds) == 0:
		return a.Ref.String() + " has been released in the meantime"
	case a.Verb == Break && now.Holds[0].ClaimUID != a.claimUID:
		return fmt.Sprintf("%s has been handed over to %s in the meantime", a.Ref, now.Holds[0].Holder)
	default:
		return ""
	}
}

// CommandLine returns a command line as it would be typed into a shell.
func CommandLine(program string, args []string) string {
	words := []string{program}
	for _, arg := range args {
		if flag, value, ok := strings.Cut(arg, "="); ok && strings.HasPrefix(flag, "--") {
			words = append(words, flag+"="+quote(value))
			continue
		}
		words = append(words, quote(arg))
	}
	return strings.Join(words, " ")
}

// quote quotes a word for a shell where it needs it.
func quote(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:=@%+,", r)
	}
	if word != "" && strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

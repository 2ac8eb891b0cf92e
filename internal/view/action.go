package view

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// Action is an operation on an object. It is performed by one command line of this program, so that what people confirm,
// what they could type themselves, and what is run are the same.
type Action struct {
	Verb string
	Ref  Ref
	// Prompt names the input that the action needs, such as the number of permits; empty: none.
	Prompt string
	// DefaultInput is the suggested input.
	DefaultInput string
	// Warning is what people should know before they confirm; may be empty.
	Warning string
	// Permission is the right that the action needs.
	Permission Permission
	// UnavailableReason says why the action makes no sense at present; empty: it is available.
	UnavailableReason string
	// uid is the UID of the object shown. The action applies to no other object of its name.
	uid string
	// hold is the hold to break, and no other.
	hold Hold
	// wasFree says that the object to delete had no holders.
	wasFree bool
}

// Permission is the right to use a verb on a resource in a namespace.
type Permission struct{ Verb, Resource, Namespace string }

// Verbs of actions.
const (
	VerbArrive  = "arrive"
	VerbRelease = "release"
	VerbBreak   = "break"
	VerbResize  = "resize"
	VerbDelete  = "delete"
)

// ActionVerbs returns the verbs for objects of a kind.
func ActionVerbs(kind string) []string {
	return map[string][]string{
		konductorv1.KindBarrier:   {VerbArrive, VerbDelete},
		konductorv1.KindGate:      {VerbDelete},
		konductorv1.KindLease:     {VerbRelease, VerbBreak, VerbDelete},
		konductorv1.KindSemaphore: {VerbRelease, VerbResize, VerbDelete},
	}[kind]
}

// NewAction returns the action of a verb on the row's object; false if its kind has no such verb. ownHolder is the holder
// name of this machine.
func (r *Row) NewAction(verb, ownHolder string) (Action, bool) {
	if !slices.Contains(ActionVerbs(r.Kind), verb) {
		return Action{}, false
	}
	a := Action{Verb: verb, Ref: r.Ref, uid: r.UID}
	if r.State == StateDeleting && verb != VerbRelease {
		a.UnavailableReason = r.String() + " is being deleted"
		return a, true
	}
	switch verb {
	case VerbArrive:
		a.Prompt, a.DefaultInput = "arrive as", ownHolder
		a.Permission = Permission{"create", GroupResourceName(konductorv1.KindArrival), r.Namespace}
	case VerbRelease:
		a.Prompt, a.DefaultInput = "holder", ownHolder
		a.Permission = Permission{"delete", GroupResourceName(konductorv1.KindClaim), r.Namespace}
		a.Warning = "releases a hold that is not bound to a Pod, or leaves the queue"
	case VerbBreak:
		a.Permission = Permission{"delete", GroupResourceName(konductorv1.KindClaim), r.Namespace}
		if len(r.Holds) == 0 {
			a.UnavailableReason = "nobody holds " + r.String()
			break
		}
		a.hold = r.Holds[0]
		a.Warning = r.Holds[0].Holder + " may keep working until it notices"
	case VerbResize:
		a.Prompt, a.DefaultInput = "permits", strconv.Itoa(int(r.Total))
		a.Permission = Permission{"patch", GroupResourceName(konductorv1.KindSemaphore), r.Namespace}
		a.Warning = "no holder loses a permit; 0 pauses the semaphore"
	case VerbDelete:
		a.Permission = Permission{"delete", GroupResourceName(r.Kind), r.Namespace}
		a.Warning = "commands that wait for it exit with code 2"
		a.wasFree = len(r.Holds) == 0 && slices.Contains(ActionVerbs(r.Kind), VerbRelease)
		if n := len(r.Holds); n > 0 {
			a.Warning = fmt.Sprintf("it is held by %s: the hold is lost, and %s", r.holdersText(), a.Warning)
		}
	}
	return a, true
}

// CommandArgs returns the arguments of the action's command line, without the program's name and the flags that select the
// cluster. input is the answer to Prompt.
func (a Action) CommandArgs(input string) []string {
	args := []string{strings.ToLower(a.Ref.Kind), a.Verb, a.Ref.Name, "--namespace=" + a.Ref.Namespace}
	switch a.Verb {
	case VerbArrive:
		// The command must not wait for a barrier that was deleted in the meantime.
		args = append(args, "--holder="+input, "--fail-if-missing")
	case VerbRelease:
		args = append(args, "--holder="+input)
	case VerbResize:
		args = append(args, "--permits="+input, "--current-permits="+a.DefaultInput)
	case VerbBreak:
		// The lease may be handed over before the command runs. The fencing token identifies one hold, whatever happens to the
		// lease.
		return append(args, "--holder="+a.hold.Holder, fmt.Sprintf("--fencing-token=%d", a.hold.FencingToken), "--yes")
	case VerbDelete:
		if a.wasFree {
			args = append(args, "--unless-held")
		}
		args = append(args, "--yes")
	}
	return append(args, "--uid="+a.uid)
}

// ValidateInput returns what is wrong with the input; empty: nothing.
func (a Action) ValidateInput(input string) string {
	const maxNameLength = 320
	switch a.Verb {
	case VerbArrive, VerbRelease:
		if input == "" {
			return "enter a name"
		}
		if len(input) > maxNameLength {
			return fmt.Sprintf("a name has at most %d characters", maxNameLength)
		}
	case VerbResize:
		if n, err := strconv.ParseInt(input, 10, 32); err != nil || n < 0 {
			return "enter a number, 0 or more"
		}
	}
	return ""
}

// StaleReason returns how the object has changed since, so that the action would not do what was confirmed; empty: it still
// would.
func (a Action) StaleReason(current *Row) string {
	switch {
	case current == nil:
		return a.Ref.String() + " was deleted in the meantime"
	case current.UID != a.uid:
		return a.Ref.String() + " was deleted and recreated in the meantime"
	case current.State == StateDeleting && a.Verb != VerbRelease:
		return a.Ref.String() + " is being deleted now"
	case a.wasFree && len(current.Holds) > 0:
		return fmt.Sprintf("%s has been acquired by %s in the meantime", a.Ref, current.Holds[0].Holder)
	case a.Verb == VerbResize && strconv.Itoa(int(current.Total)) != a.DefaultInput:
		return fmt.Sprintf("%s now has %d permits, not %s", a.Ref, current.Total, a.DefaultInput)
	case a.Verb == VerbBreak && len(current.Holds) == 0:
		return a.Ref.String() + " has been released in the meantime"
	case a.Verb == VerbBreak && current.Holds[0].ClaimUID != a.hold.ClaimUID:
		return fmt.Sprintf("%s has been granted to %s in the meantime", a.Ref, current.Holds[0].Holder)
	default:
		return ""
	}
}

// CommandLine returns a command line as it would be typed into a shell.
func CommandLine(program string, args []string) string {
	words := []string{program}
	for _, arg := range args {
		if flag, value, ok := strings.Cut(arg, "="); ok && strings.HasPrefix(flag, "--") {
			words = append(words, flag+"="+ShellQuote(value))
			continue
		}
		words = append(words, ShellQuote(arg))
	}
	return strings.Join(words, " ")
}

// ShellQuote quotes a word for a shell if necessary.
func ShellQuote(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:=@%+,", r)
	}
	if word != "" && strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

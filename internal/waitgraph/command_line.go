package waitgraph

import (
	"path"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// Verb is the operation of a koncli call.
type Verb string

// Verbs that matter for the wait graph.
const (
	VerbWait    Verb = "wait"
	VerbArrive  Verb = "arrive"
	VerbAcquire Verb = "acquire"
	VerbRelease Verb = "release"
)

// Call is one koncli call of a container, parsed from its command.
type Call struct {
	// Kind is Barrier, Gate, Lease or Semaphore.
	Kind string
	// Verb is the operation on it.
	Verb Verb
	// Name of the object, in the Pod's namespace.
	Name string
	// Permits is how many permits an acquire asks for; 1 for all other verbs.
	Permits int32
	// WaitAfterArrive says that an arrive then waits for the barrier to open.
	WaitAfterArrive bool
	// NoWait says that the call doesn't wait at all (--timeout 0).
	NoWait bool
	// OnlyCommand says that the container does nothing but this call, so that the call runs as long as the container does.
	OnlyCommand bool
	// CustomHolder says that it arrives under a name given by --holder, which may be unknown here.
	CustomHolder bool
	// FromAnnotation says that the call is declared by an annotation, not found in a command.
	FromAnnotation bool
}

// mayBlock reports whether the call may have to wait for its object.
func (c *Call) mayBlock() bool {
	return !c.NoWait && (c.Verb == VerbWait || c.Verb == VerbAcquire || (c.Verb == VerbArrive && c.WaitAfterArrive))
}

// mentionsKoncli reports whether a word or script could contain a call, and so is worth parsing.
func mentionsKoncli(s string) bool {
	return strings.Contains(s, "koncli") || strings.Contains(s, "konductor")
}

// imageRepository returns an image's repository, without tag and digest.
func imageRepository(image string) string {
	image, _, _ = strings.Cut(image, "@")
	if colon := strings.LastIndex(image, ":"); colon > strings.LastIndex(image, "/") {
		image = image[:colon]
	}
	return image
}

// koncliArgs returns the arguments of koncli if argv calls it, else nil.
func koncliArgs(argv []string) []string {
	if len(argv) == 0 {
		return nil
	}
	switch path.Base(argv[0]) {
	case "koncli", "kubectl-konductor":
		return argv[1:]
	case "kubectl":
		if len(argv) > 1 && argv[1] == "konductor" {
			return argv[2:]
		}
	}
	return nil
}

// isRunOrHold reports whether argv is koncli run or hold, which go on after they have acquired.
func isRunOrHold(argv []string) bool {
	args := koncliArgs(argv)
	return len(args) > 0 && (args[0] == "run" || args[0] == "hold")
}

// parseCalls parses argv as a koncli call, or as the several that run and hold make.
func parseCalls(argv []string) []Call {
	args := koncliArgs(argv)
	if isRunOrHold(argv) {
		return callsOfHoldFlags(args[0], args[1:])
	}
	positional, flags := parseFlags(args)
	if len(positional) < 3 || hasNoLocalEffect(flags) {
		return nil
	}
	call := Call{Kind: parseKind(positional[0]), Verb: Verb(positional[1]), Name: positional[2], Permits: 1}
	switch call.Verb {
	case VerbWait, VerbArrive, VerbAcquire, VerbRelease:
	default:
		return nil
	}
	if n, err := strconv.ParseInt(firstOrEmpty(flags["--permits"]), 10, 32); err == nil {
		call.Permits = int32(n)
	}
	call.WaitAfterArrive = call.Verb == VerbArrive && firstOrEmpty(flags["--wait"]) == "true"
	call.NoWait = isNoWait(flags)
	call.CustomHolder = call.Verb == VerbArrive && hasCustomHolder(flags)
	if call.Kind == "" || !isObjectName(call.Name) {
		return nil
	}
	return []Call{call}
}

// callsOfHoldFlags returns the calls of run and hold: they acquire, leases before semaphores and by name. At its end run may
// arrive, and releases what it holds.
func callsOfHoldFlags(command string, args []string) (calls []Call) {
	end := 0
	for end < len(args) && args[end] != "--" && strings.HasPrefix(args[end], "-") {
		if !strings.Contains(args[end], "=") && !isBoolFlag(args[end]) {
			end++
		}
		end++
	}
	_, flags := parseFlags(args[:min(end, len(args))])
	if hasNoLocalEffect(flags) {
		return nil
	}
	for _, name := range slices.Sorted(slices.Values(flags["--lease"])) {
		calls = append(calls, Call{Kind: konductorv1.KindLease, Verb: VerbAcquire, Name: name, Permits: 1})
	}
	for _, s := range slices.Sorted(slices.Values(flags["--semaphore"])) {
		name, count, _ := strings.Cut(s, ":")
		call := Call{Kind: konductorv1.KindSemaphore, Verb: VerbAcquire, Name: name, Permits: 1}
		if n, err := strconv.ParseInt(count, 10, 32); err == nil {
			call.Permits = int32(n)
		}
		calls = append(calls, call)
	}
	for i := range calls {
		calls[i].NoWait = isNoWait(flags)
	}
	if command == "run" {
		acquires := slices.Clone(calls)
		if barrier := firstOrEmpty(flags["--arrive"]); barrier != "" {
			calls = append(calls, Call{Kind: konductorv1.KindBarrier, Verb: VerbArrive, Name: barrier, Permits: 1, CustomHolder: hasCustomHolder(flags)})
		}
		for _, c := range acquires {
			calls = append(calls, Call{Kind: c.Kind, Verb: VerbRelease, Name: c.Name, Permits: 1})
		}
	}
	return slices.DeleteFunc(calls, func(c Call) bool { return !isObjectName(c.Name) })
}

// isObjectName reports whether an object can have that name. Not so a name that only the running script knows.
func isObjectName(name string) bool { return len(validation.IsDNS1123Subdomain(name)) == 0 }

// hasNoLocalEffect reports whether a call does nothing in the Pod's namespace.
func hasNoLocalEffect(flags map[string][]string) bool {
	return len(flags["-n"])+len(flags["--namespace"])+len(flags["--dry-run"]) > 0
}

func isNoWait(flags map[string][]string) bool {
	timeout := firstOrEmpty(flags["--timeout"])
	return timeout == "0" || timeout == "0s"
}

func hasCustomHolder(flags map[string][]string) bool { return len(flags["--holder"]) > 0 }

func firstOrEmpty(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// parseFlags separates the positional arguments from the flags. A flag without a value is "true".
func parseFlags(args []string) (positional []string, flags map[string][]string) {
	flags = map[string][]string{}
	for i := 0; i < len(args); i++ {
		word := args[i]
		switch {
		case word == "--":
			return append(positional, args[i+1:]...), flags
		case !strings.HasPrefix(word, "-") || word == "-":
			positional = append(positional, word)
		case strings.Contains(word, "="):
			name, value, _ := strings.Cut(word, "=")
			flags[name] = append(flags[name], value)
		case isBoolFlag(word) || i+1 == len(args):
			flags[word] = append(flags[word], "true")
		default:
			flags[word] = append(flags[word], args[i+1])
			i++
		}
	}
	return positional, flags
}

// isBoolFlag reports whether a flag takes no value.
func isBoolFlag(flag string) bool {
	switch flag {
	case "--wait", "--failed", "--fail-if-missing", "--yes", "-y", "--ignore-not-found", "--help", "-h",
		"--insecure-skip-tls-verify", "--disable-compression", "--match-server-version":
		return true
	}
	return false
}

// parseKind returns the kind that a word names, or "".
func parseKind(word string) string {
	word, group, qualified := strings.Cut(strings.ToLower(word), ".")
	if qualified && group != konductorv1.GroupName && group != "v1."+konductorv1.GroupName {
		return parseBuiltinKind(word, group)
	}
	switch word {
	case "barrier", "barriers", "kbar":
		return konductorv1.KindBarrier
	case "gate", "gates", "kgate":
		return konductorv1.KindGate
	case "lease", "leases", "klease":
		return konductorv1.KindLease
	case "semaphore", "semaphores", "sem", "ksem":
		return konductorv1.KindSemaphore
	}
	if qualified {
		return ""
	}
	return parseBuiltinKind(word, "")
}

// parseBuiltinKind returns the Kubernetes kind, Job or Pod, that a word names, or "".
func parseBuiltinKind(word, group string) string {
	switch {
	case (word == "job" || word == "jobs") && (group == "" || group == "batch" || group == "v1.batch"):
		return KindJob
	case (word == "pod" || word == "pods" || word == "po") && (group == "" || group == "v1."):
		return KindPod
	}
	return ""
}

package waits

import (
	"path"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/syntax"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// Verb is what a container asks koncli to do.
type Verb string

// Verbs that matter to those who wait.
const (
	VerbWait    Verb = "wait"
	VerbArrive  Verb = "arrive"
	VerbAcquire Verb = "acquire"
	VerbRelease Verb = "release"
)

// Call is one call of koncli that a container makes, as its command shows it.
type Call struct {
	// Kind is Barrier, Gate, Lease or Semaphore.
	Kind string
	// Verb is what is done to it.
	Verb Verb
	// Name of the object, in the Pod's namespace.
	Name string
	// Permits is how many permits an acquire asks for; 1 for all else.
	Permits int32
	// AndWait says that an arrive waits for the barrier to open afterwards.
	AndWait bool
	// Impatient says that the call doesn't wait at all (--timeout 0).
	Impatient bool
	// Alone says that the container does nothing but this call, so that while it runs, the call does.
	Alone bool
	// Renamed says that it arrives under a name that it is given (--holder), which need not be known here.
	Renamed bool
	// Declared says that an annotation tells of the call, and no command.
	Declared bool
}

// blocks reports whether the call may have to wait for its object.
func (c *Call) blocks() bool {
	return !c.Impatient && (c.Verb == VerbWait || c.Verb == VerbAcquire || (c.Verb == VerbArrive && c.AndWait))
}

// callsOf returns the calls of koncli that a container makes, in the order of its command.
func callsOf(c *corev1.Container) []Call {
	argv := slices.Concat(c.Command, c.Args)
	if len(c.Command) == 0 && path.Base(imageName(c.Image)) == "koncli" {
		// The image's entrypoint is koncli itself.
		argv = append([]string{"koncli"}, c.Args...)
	}
	if !slices.ContainsFunc(argv, mentionsUs) {
		return nil
	}
	env := literalEnv(c)
	for i := range argv {
		argv[i] = expandReferences(argv[i], env)
	}
	if script, ok := shellScript(argv); ok {
		return scriptCalls(script, env)
	}
	calls := parseCalls(argv)
	if len(calls) == 1 && !runsAnother(argv) {
		calls[0].Alone = true
	}
	return calls
}

// mentionsUs reports whether a word or script could contain a call, before it is worth parsing.
func mentionsUs(s string) bool {
	return strings.Contains(s, "koncli") || strings.Contains(s, "konductor")
}

// imageName returns an image's repository, without tag and digest.
func imageName(image string) string {
	image, _, _ = strings.Cut(image, "@")
	if colon := strings.LastIndex(image, ":"); colon > strings.LastIndex(image, "/") {
		image = image[:colon]
	}
	return image
}

// literalEnv returns the environment variables whose value stands in the manifest.
func literalEnv(c *corev1.Container) map[string]string {
	env := map[string]string{}
	for i := range c.Env {
		if c.Env[i].ValueFrom == nil {
			env[c.Env[i].Name] = c.Env[i].Value
		}
	}
	return env
}

// expandReferences replaces $(NAME) as the kubelet does: unknown names stay.
func expandReferences(s string, env map[string]string) string {
	for name, value := range env {
		s = strings.ReplaceAll(s, "$("+name+")", value)
	}
	return s
}

// shellScript returns the script of a command like sh -c SCRIPT.
func shellScript(argv []string) (string, bool) {
	switch path.Base(argv[0]) {
	case "sh", "bash", "ash", "dash", "busybox":
	default:
		return "", false
	}
	for i := 1; i < len(argv)-1; i++ {
		if flag := argv[i]; strings.HasPrefix(flag, "-") && !strings.HasPrefix(flag, "--") && strings.HasSuffix(flag, "c") {
			return argv[i+1], true
		}
	}
	return "", false
}

// scriptCalls returns the calls in a shell script. In one that can't be parsed there are none to be seen.
func scriptCalls(script string, env map[string]string) (calls []Call) {
	file, err := syntax.NewParser().Parse(strings.NewReader(script), "")
	if err != nil {
		return nil
	}
	vars := &expand.Config{Env: expand.FuncEnviron(func(name string) string { return env[name] })}
	commands, another := 0, false
	syntax.Walk(file, func(node syntax.Node) bool {
		command, ok := node.(*syntax.CallExpr)
		if !ok || len(command.Args) == 0 {
			return true
		}
		commands++
		argv := make([]string, len(command.Args))
		for i, word := range command.Args {
			// A word that depends on what the script does is left empty.
			argv[i], _ = expand.Literal(vars, word)
		}
		if argv[0] == "exec" {
			argv = argv[1:]
		}
		another = another || runsAnother(argv)
		calls = append(calls, parseCalls(argv)...)
		return true
	})
	if commands == 1 && len(calls) == 1 && !another {
		calls[0].Alone = true
	}
	return calls
}

// ourWords returns the arguments of koncli, if an argument vector calls it.
func ourWords(argv []string) []string {
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

// runsAnother reports whether an argument vector is of koncli run or hold, which go on when they hold.
func runsAnother(argv []string) bool {
	words := ourWords(argv)
	return len(words) > 0 && (words[0] == "run" || words[0] == "hold")
}

// parseCalls reads an argument vector as a call of koncli, or as the several that run and hold make.
func parseCalls(argv []string) []Call {
	words := ourWords(argv)
	if runsAnother(argv) {
		return heldCalls(words[0], words[1:])
	}
	positional, flags := splitFlags(words)
	if len(positional) < 3 || elsewhere(flags) {
		return nil
	}
	call := Call{Kind: kindNamed(positional[0]), Verb: Verb(positional[1]), Name: positional[2], Permits: 1}
	switch call.Verb {
	case VerbWait, VerbArrive, VerbAcquire, VerbRelease:
	default:
		return nil
	}
	if n, err := strconv.ParseInt(first(flags["--permits"]), 10, 32); err == nil {
		call.Permits = int32(n)
	}
	call.AndWait = call.Verb == VerbArrive && first(flags["--wait"]) == "true"
	call.Impatient = impatient(flags)
	call.Renamed = call.Verb == VerbArrive && renamed(flags)
	if call.Kind == "" || !named(call.Name) {
		return nil
	}
	return []Call{call}
}

// heldCalls reads the flags of run and hold: they acquire, leases before semaphores and by name. In the end run may arrive,
// and gives back what it holds.
func heldCalls(command string, words []string) (calls []Call) {
	end := 0
	for end < len(words) && words[end] != "--" && strings.HasPrefix(words[end], "-") {
		if !strings.Contains(words[end], "=") && !isSwitch(words[end]) {
			end++
		}
		end++
	}
	_, flags := splitFlags(words[:min(end, len(words))])
	if elsewhere(flags) {
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
		calls[i].Impatient = impatient(flags)
	}
	if command == "run" {
		held := slices.Clone(calls)
		if barrier := first(flags["--arrive"]); barrier != "" {
			calls = append(calls, Call{Kind: konductorv1.KindBarrier, Verb: VerbArrive, Name: barrier, Permits: 1, Renamed: renamed(flags)})
		}
		for _, c := range held {
			calls = append(calls, Call{Kind: c.Kind, Verb: VerbRelease, Name: c.Name, Permits: 1})
		}
	}
	return slices.DeleteFunc(calls, func(c Call) bool { return !named(c.Name) })
}

// named reports whether a name is one that an object can have: not one that only the running script knows.
func named(name string) bool { return len(validation.IsDNS1123Subdomain(name)) == 0 }

// elsewhere reports whether a call does nothing in the Pod's namespace.
func elsewhere(flags map[string][]string) bool {
	return len(flags["-n"])+len(flags["--namespace"])+len(flags["--dry-run"]) > 0
}

func impatient(flags map[string][]string) bool {
	timeout := first(flags["--timeout"])
	return timeout == "0" || timeout == "0s"
}

func renamed(flags map[string][]string) bool { return len(flags["--holder"]) > 0 }

func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// splitFlags takes an argument vector apart. A flag without a value is "true".
func splitFlags(words []string) (positional []string, flags map[string][]string) {
	flags = map[string][]string{}
	for i := 0; i < len(words); i++ {
		word := words[i]
		switch {
		case word == "--":
			return append(positional, words[i+1:]...), flags
		case !strings.HasPrefix(word, "-") || word == "-":
			positional = append(positional, word)
		case strings.Contains(word, "="):
			name, value, _ := strings.Cut(word, "=")
			flags[name] = append(flags[name], value)
		case isSwitch(word) || i+1 == len(words):
			flags[word] = append(flags[word], "true")
		default:
			flags[word] = append(flags[word], words[i+1])
			i++
		}
	}
	return positional, flags
}

// isSwitch reports whether a flag takes no value.
func isSwitch(flag string) bool {
	switch flag {
	case "--wait", "--failed", "--fail-if-missing", "--yes", "-y", "--ignore-not-found", "--help", "-h",
		"--insecure-skip-tls-verify", "--disable-compression", "--match-server-version":
		return true
	}
	return false
}

// kindNamed returns the kind that people mean by a word, or "".
func kindNamed(word string) string {
	word, group, qualified := strings.Cut(strings.ToLower(word), ".")
	if qualified && group != konductorv1.GroupName && group != "v1."+konductorv1.GroupName {
		return kindOfOthers(word, group)
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
	return kindOfOthers(word, "")
}

// kindOfOthers returns the kind that people mean by a word, of the kinds that aren't konductor's.
func kindOfOthers(word, group string) string {
	switch {
	case (word == "job" || word == "jobs") && (group == "" || group == "batch" || group == "v1.batch"):
		return KindJob
	case (word == "pod" || word == "pods" || word == "po") && (group == "" || group == "v1."):
		return KindPod
	}
	return ""
}

// podCalls returns the calls of all containers of a Pod, or of a Job's template, in the order in which they run: init
// containers first.
func podCalls(spec *corev1.PodSpec) []containerCalls {
	var all []containerCalls
	add := func(containers []corev1.Container, init bool) {
		for i := range containers {
			c := &containers[i]
			sidecar := init && c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
			if calls := callsOf(c); len(calls) > 0 {
				all = append(all, containerCalls{name: c.Name, init: init && !sidecar, calls: calls})
			}
		}
	}
	add(spec.InitContainers, true)
	add(spec.Containers, false)
	return all
}

// containerCalls are the calls of one container.
type containerCalls struct {
	name  string
	init  bool // it ends before the next one starts
	calls []Call
}

// declaredCalls returns what the annotations of a Pod tell.
func declaredCalls(annotations map[string]string) (calls []Call) {
	for annotation, verb := range map[string]Verb{konductorv1.WaitsForAnnotation: VerbWait, konductorv1.ArrivesAtAnnotation: VerbArrive} {
		for _, item := range strings.Split(annotations[annotation], ",") {
			kind, name, found := strings.Cut(strings.TrimSpace(item), "/")
			if kind = kindNamed(kind); found && name != "" && kind != "" && (verb == VerbWait || kind == konductorv1.KindBarrier) {
				calls = append(calls, Call{Kind: kind, Verb: verb, Name: name, Permits: 1, Declared: true})
			}
		}
	}
	slices.SortFunc(calls, func(a, b Call) int {
		return strings.Compare(string(a.Verb)+a.Kind+a.Name, string(b.Verb)+b.Kind+b.Name)
	})
	return calls
}

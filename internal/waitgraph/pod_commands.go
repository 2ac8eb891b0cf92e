package waitgraph

import (
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/rules"
)

// These limits exist because anybody who may create a Pod writes what is read here, and the operator reads it from every Pod and
// Job. What exceeds them is not read, and counts as unparsable: it may do anything.
const (
	// maxScriptBytes is how many bytes of scripts are read of one Pod.
	maxScriptBytes = 64 << 10
	// maxExpandedBytes is how many bytes $(NAME) references may expand to in one Pod: a few bytes can stand for very many.
	maxExpandedBytes = 64 << 10
	// maxCallsPerPod is how many calls are read of one Pod. In the form that StripPod writes they are less than maxScriptBytes.
	maxCallsPerPod = 64
)

// containerCalls are the calls of one container, or of the Pod's annotations.
type containerCalls struct {
	name          string
	initContainer bool // it ends before the next one starts
	calls         []Call
	// unparsable says that it mentions koncli, but what it does can't be determined.
	unparsable bool
}

// callReader reads the calls of one Pod, or of a Job's template.
type callReader struct {
	scriptBytesLeft, expandedBytesLeft, callsLeft int // what is left of the limits
}

func newCallReader() *callReader {
	return &callReader{scriptBytesLeft: maxScriptBytes, expandedBytesLeft: maxExpandedBytes, callsLeft: maxCallsPerPod}
}

// podCalls returns the calls of all containers of a Pod, or of a Job's template, in the order in which they run (init containers
// first), and then those from its annotations.
func podCalls(spec *corev1.PodSpec, annotations map[string]string) []containerCalls {
	r := newCallReader()
	all := slices.Concat(r.readContainers(spec.InitContainers, true), r.readContainers(spec.Containers, false))
	if declared, unparsable := r.readAnnotations(annotations); len(declared) > 0 || unparsable {
		all = append(all, containerCalls{calls: declared, unparsable: unparsable})
	}
	return all
}

func (r *callReader) readContainers(containers []corev1.Container, init bool) (all []containerCalls) {
	for i := range containers {
		c := &containers[i]
		sidecar := init && c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
		if calls, unparsable := r.readContainer(c); len(calls) > 0 || unparsable {
			all = append(all, containerCalls{name: c.Name, initContainer: init && !sidecar, calls: calls, unparsable: unparsable})
		}
	}
	return all
}

// readContainer returns the koncli calls that a container makes, in the order of its command.
func (r *callReader) readContainer(c *corev1.Container) (calls []Call, unparsable bool) {
	argv := slices.Concat(c.Command, c.Args)
	if len(c.Command) == 0 && path.Base(imageRepository(c.Image)) == "koncli" {
		// The image's entrypoint is koncli itself.
		argv = append([]string{"koncli"}, c.Args...)
	}
	if !slices.ContainsFunc(argv, mentionsKoncli) {
		return nil, false
	}
	env, ok := r.readLiteralEnv(c)
	for i := range argv {
		if argv[i], ok = r.expandVariables(argv[i], env, ok); !ok {
			return nil, true
		}
	}
	if script, isScript := shellScript(argv); isScript {
		calls, ok = r.readScript(script, env)
	} else if calls = parseCalls(argv); len(calls) == 1 && !isRunOrHold(argv) {
		calls[0].OnlyCommand = true
	}
	if !ok || len(calls) > r.callsLeft {
		return nil, true
	}
	r.callsLeft -= len(calls)
	return calls, false
}

// readLiteralEnv returns the environment variables whose value is in the manifest. A later one may refer to those before it, and
// replaces one of the same name. It returns false when their expansion exceeds maxExpandedBytes.
func (r *callReader) readLiteralEnv(c *corev1.Container) (env map[string]string, ok bool) {
	env, ok = make(map[string]string, len(c.Env)), true
	for i := range c.Env {
		if c.Env[i].ValueFrom != nil {
			delete(env, c.Env[i].Name)
			continue
		}
		if env[c.Env[i].Name], ok = r.expandVariables(c.Env[i].Value, env, ok); !ok {
			return nil, false
		}
	}
	return env, true
}

// expandVariables expands $(NAME) as the kubelet does: once, without expanding the inserted value; $$ is a $ that begins no
// reference; unknown names stay. It returns false when maxExpandedBytes is exceeded, or when ok was false before.
func (r *callReader) expandVariables(s string, env map[string]string, ok bool) (string, bool) {
	if !ok || !strings.Contains(s, "$") {
		return s, ok
	}
	var b strings.Builder
	write := func(part string) {
		if r.expandedBytesLeft -= len(part); r.expandedBytesLeft >= 0 {
			b.WriteString(part)
		}
	}
	for r.expandedBytesLeft >= 0 {
		before, after, found := strings.Cut(s, "$")
		write(before)
		if !found {
			break
		}
		name, rest, closed := "", "", false
		if strings.HasPrefix(after, "(") {
			name, rest, closed = strings.Cut(after[1:], ")")
		}
		value, known := env[name]
		switch {
		case strings.HasPrefix(after, "$"):
			write("$")
			s = after[1:]
		case closed && known:
			write(value)
			s = rest
		case closed:
			write("$(" + name + ")")
			s = rest
		case strings.HasPrefix(after, "("):
			// No parenthesis closes from here on: searching for one again at each opening would cost the square of the text.
			write(strings.ReplaceAll("$"+after, "$$", "$"))
			return b.String(), r.expandedBytesLeft >= 0
		default:
			write("$")
			s = after
		}
	}
	return b.String(), r.expandedBytesLeft >= 0
}

// readAnnotations returns the arrivals that the annotations of a Pod ask for.
func (r *callReader) readAnnotations(annotations map[string]string) (calls []Call, unparsable bool) {
	text := annotations[konductorv1.ArriveAnnotation]
	if text == "" {
		return nil, false
	}
	w, err := rules.ParseWorkload(map[string]string{konductorv1.ArriveAnnotation: text})
	if err != nil || len(w.Arrive) > r.callsLeft {
		return nil, err == nil // What doesn't parse has no effect.
	}
	r.callsLeft -= len(w.Arrive)
	return arriveCalls(w.Arrive), false
}

// arriveCalls returns the arrivals at those barriers that the operator makes.
func arriveCalls(barriers []string) (calls []Call) {
	for _, barrier := range barriers {
		calls = append(calls, Call{Kind: konductorv1.KindBarrier, Verb: VerbArrive, Name: barrier, Permits: 1, FromAnnotation: true})
	}
	return calls
}

// MayWait reports whether a running container of the Pod calls koncli to wait: such a wait, without a claim, can be part of a
// wait cycle.
func MayWait(pod *corev1.Pod) bool {
	if isPodEnded(pod) {
		return false
	}
	p := &process{pod: pod}
	for _, c := range podCalls(&pod.Spec, nil) {
		for i := range c.calls {
			if call := &c.calls[i]; call.OnlyCommand && call.mayBlock() && p.isContainerRunning(c.name) {
				return true
			}
		}
	}
	return false
}

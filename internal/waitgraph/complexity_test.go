package waitgraph_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/costtest"
	"github.com/LogicIQ/konductor/internal/waitgraph"
)

// maxBytesPerPodByte and maxBytesPerNamespaceByte are how many bytes it may cost to read and strip a byte of a Pod (parsing costs
// most), and to analyze a byte of a large namespace, whose objects count as assumedObjectSize bytes each.
const maxBytesPerPodByte, maxBytesPerNamespaceByte, assumedObjectSize = 1 << 10, 200, 200

// podFromText returns a Pod built from text: a container per paragraph, with a word of its command, or a variable, per line.
func podFromText(spec, annotation, index string) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: testNamespace, Name: "p", UID: "u", OwnerReferences: []metav1.OwnerReference{{APIVersion: "batch/v1", Kind: "Job", Name: "j", Controller: ptr.To(true)}},
		Annotations: map[string]string{konductorv1.AfterAnnotation: annotation, konductorv1.ArriveAnnotation: annotation, batchv1.JobCompletionIndexAnnotation: index},
	}, Status: corev1.PodStatus{Phase: corev1.PodRunning}}
	for i, paragraph := range strings.Split(spec, "\n\n") {
		c := corev1.Container{Name: fmt.Sprint(i)}
		for line := range strings.SplitSeq(paragraph, "\n") {
			if name, value, ok := strings.Cut(line, ":="); ok {
				c.Env = append(c.Env, corev1.EnvVar{Name: name, Value: value})
			} else {
				c.Command = append(c.Command, line)
			}
		}
		pod.Spec.Containers = append(pod.Spec.Containers, c)
		pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, corev1.ContainerStatus{
			Name: c.Name, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
		})
	}
	return pod
}

// doublingVariables are variables each of which refers twice to the one before.
func doublingVariables(n int) string {
	var b strings.Builder
	b.WriteString("A0:=koncli\n")
	for i := range n {
		fmt.Fprintf(&b, "A%d:=$(A%d)$(A%d)\n", i+1, i, i)
	}
	return b.String() + fmt.Sprintf("koncli\nlease\nacquire\n$(A%d)", n)
}

// expensivePodSpecs are Pods that once cost too much, or could.
func expensivePodSpecs() map[string]string {
	script := func(s string) string { return "sh\n-c\nkoncli barrier wait x;" + s }
	long := strings.Repeat
	return map[string]string{
		"variables that name each other":     strings.ReplaceAll(doublingVariables(2), "A0:=koncli", "A0:=$(A1)$(A2)"),
		"variables that double":              doublingVariables(40),
		"a long variable named often":        "A:=" + long("a", 100_000) + "\nkoncli\n" + long("$(A)", 25_000),
		"references without an end":          "koncli\n" + long("$(", 200_000),
		"dollars":                            "koncli\n" + long("$", 200_000),
		"parentheses":                        script(long("(", 30_000)),
		"very many parentheses":              script(long("(", 200_000)),
		"parentheses that close":             script(long("(", 20_000) + ":" + long(")", 20_000)),
		"substitutions":                      script(long("$(", 20_000)),
		"quoted substitutions":               script(long(`"$(`, 15_000)),
		"backquotes":                         script(long("`\\", 20_000)),
		"braces":                             script(long("{ ", 20_000)),
		"expansions":                         script(long("${a:-", 10_000)),
		"arithmetic":                         script("$((" + long("(", 30_000)),
		"minus after minus":                  script("$((" + long("-", 30_000)),
		"not after not":                      script("[[" + long(" !", 30_000)),
		"conditions in conditions":           script(long("if ", 20_000)),
		"loops in loops":                     script(long("while ", 10_000)),
		"cases in cases":                     script(long("case a in a) ", 4_000)),
		"functions in functions":             script(long("f() ", 10_000)),
		"pipes":                              script(":" + long("|:", 20_000)),
		"and after and":                      script(":" + long("&&:", 20_000)),
		"here documents":                     script(long("<<a ", 15_000)),
		"a glob in a glob":                   script(long("@(", 30_000)),
		"arrays":                             script(long("a=(", 20_000)),
		"statements":                         script(long("a;", 30_000)),
		"calls":                              script(long("koncli gate wait a;", 3_000)),
		"a variable of a script named often": "A:=" + long("a", 1000) + "\n" + script("koncli gate wait "+long("$A", 30_000)),
		"a replacement in a script":          "A:=" + long("a", 1000) + "\n" + script("koncli gate wait ${A//a/${A//a/${A//a/$A}}}"),
		"a power in a script":                script("koncli gate wait $((2**2**2**2**99999999))"),
		"a range in a script":                script("koncli gate wait {1..1000000000}"),
		"a format in a script":               script("koncli gate wait $'%1000000000d'"),
		"containers":                         long("koncli\ngate\nwait\na\n\n", 10_000),
		"scripts":                            long("sh\n-c\nkoncli gate wait a; (\n\n", 10_000),
		"variables":                          long("A:=$(A)$(A)\n", 10_000) + "koncli\n$(A)",
	}
}

func TestPodCostIsLinear(t *testing.T) {
	for name, spec := range expensivePodSpecs() {
		t.Run(name, func(t *testing.T) { checkPodCost(t, spec, "", "") })
	}
	t.Run("annotations", func(t *testing.T) { checkPodCost(t, "", strings.Repeat("gate/a,", 30_000), "0") })
	t.Run("an index", func(t *testing.T) { checkPodCost(t, "", "", strings.Repeat("9", 200_000)) })
}

func FuzzPod(f *testing.F) {
	for _, spec := range expensivePodSpecs() {
		f.Add(spec[:min(len(spec), 2000)], "gate/a, barrier/b", "7")
	}
	f.Fuzz(checkPodCost)
}

// checkPodCost strips a Pod and a Job, and analyzes them, within the limits of their cost.
func checkPodCost(t *testing.T, spec, annotation, index string) {
	size := len(spec) + len(annotation) + len(index)
	pod := podFromText(spec, annotation, index)
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: testNamespace, Name: "j"}}
	job.Spec.Template.Spec, job.Spec.Template.Annotations = pod.Spec, pod.Annotations
	var cutPod *corev1.Pod
	costtest.CheckLinear(t, size, maxBytesPerPodByte, func() { cutPod = waitgraph.StripPod(pod) })
	costtest.CheckLinear(t, size, maxBytesPerPodByte, func() { waitgraph.StripJob(job) })
	costtest.CheckLinear(t, size, maxBytesPerPodByte, func() {
		s := newSnapshotBuilder()
		s.Pods, s.Jobs = []*corev1.Pod{pod}, []*batchv1.Job{job}
		s.addBarrier("x", 3)
		analyzeAll(t, s)
	})
	if diff := cmp.Diff(cutPod, waitgraph.StripPod(cutPod)); diff != "" {
		t.Errorf("cut again (-once +twice):\n%s", diff)
	}
	if diff := cmp.Diff(cutPod, waitgraph.StripPod(pod)); diff != "" {
		t.Errorf("cut another time (-first +second):\n%s", diff)
	}
}

// analyzeAll analyzes a namespace and asks for messages, graph and diagnoses.
func analyzeAll(t testing.TB, s *snapshotBuilder) {
	a := waitgraph.Analyze(&s.Snapshot)
	for _, d := range a.Deadlocks() {
		for _, m := range d.Members {
			if d.Message(m) == "" {
				t.Errorf("no word about %s", m)
			}
		}
	}
	g := a.Graph()
	for i := range g.Nodes {
		if i%(1+len(g.Nodes)/5) == 0 {
			if _, err := a.Why(g.Nodes[i].Ref); err != nil && !strings.Contains(err.Error(), "not found") {
				t.Error(err)
			}
		}
	}
}

// largeNamespaces are namespaces with n objects, or a few times as many, of kinds that can block each other.
func largeNamespaces(n int) map[string]func(*snapshotBuilder) {
	name := func(prefix string, i int) string { return fmt.Sprintf("%s%05d", prefix, i) }
	// Each Pod holds a lease and waits for a semaphore, and for the lease of the one before it.
	inTurn := func(s *snapshotBuilder) {
		for i := range n {
			s.addLease(name("l", i))
			s.addHolder(name("h", i), "lease/"+name("l", i))
			s.addWaiter(name("h", i), "semaphore/s")
			if i > 0 {
				s.addWaiter(name("h", i), "lease/"+name("l", i-1))
			}
		}
	}
	return map[string]func(*snapshotBuilder){
		"a chain of gates": func(s *snapshotBuilder) {
			for i := range n {
				s.addGate(name("g", i), conditionOn(konductorv1.GateOnGate, name("g", i+1)))
			}
		},
		"a chain of gates, the other way": func(s *snapshotBuilder) {
			for i := range n {
				s.addGate(name("g", i+1), conditionOn(konductorv1.GateOnGate, name("g", i)))
			}
		},
		"a cycle of gates": func(s *snapshotBuilder) {
			for i := range n {
				s.addGate(name("g", i), conditionOn(konductorv1.GateOnGate, name("g", (i+1)%n)))
			}
		},
		"gates in layers, each on all of the next": func(s *snapshotBuilder) {
			for i := range n / 10 {
				var next []konductorv1.GateCondition
				for j := range 10 {
					next = append(next, conditionOn(konductorv1.GateOnGate, name("g", (i+1)*10+j)))
				}
				for j := range 10 {
					s.addGate(name("g", i*10+j), next...)
				}
			}
		},
		"gates on one Job with many Pods": func(s *snapshotBuilder) {
			s.addJob("j")
			for i := range n / 2 {
				s.addPod(name("p", i), ownedByJob("j"))
				s.addGate(name("g", i), conditionOn(konductorv1.GateOnJob, "j"))
			}
		},
		"a chain of leases": func(s *snapshotBuilder) {
			for i := range n / 3 {
				s.addLease(name("l", i))
				s.addHolder(name("h", i), "lease/"+name("l", i))
				if i > 0 {
					s.addWaiter(name("h", i), "lease/"+name("l", i-1))
				}
			}
		},
		"a cycle of leases": func(s *snapshotBuilder) {
			for i := range n / 3 {
				s.addLease(name("l", i))
				s.addHolder(name("h", i), "lease/"+name("l", i))
				s.addWaiter(name("h", (i+1)%(n/3)), "lease/"+name("l", i))
			}
		},
		"a thousand stuck holders before a queue": func(s *snapshotBuilder) {
			holders := min(n/4, 1000)
			s.addSemaphore("s", int32(holders))
			s.addLease("l")
			s.addHolder("first", "lease/l")
			s.addWaiter("first", "semaphore/s")
			for i := range holders {
				s.addHolder(name("h", i), "semaphore/s")
				s.addWaiter(name("h", i), "lease/l")
			}
			for i := range n - 2*holders {
				s.addWaiter(name("w", i), "semaphore/s")
			}
		},
		"one of a queue after the other goes on": func(s *snapshotBuilder) {
			s.addSemaphore("s", 1)
			s.addPod("p", runningContainer("main", "work"))
			s.addHolder("p", "semaphore/s")
			inTurn(s)
		},
		"half a queue may go on, one after the other": func(s *snapshotBuilder) {
			s.addSemaphore("s", int32(n/2))
			inTurn(s)
		},
		"all wait for two semaphores": func(s *snapshotBuilder) {
			s.addSemaphore("a", 10)
			s.addSemaphore("b", 10)
			for i := range n / 2 {
				s.addWaiter(name("w", i), "semaphore/a", int32(1+i%10))
				s.addWaiter(name("w", i), "semaphore/b", int32(10-i%10))
			}
		},
		"one waits for all": func(s *snapshotBuilder) {
			for i := range n / 2 {
				s.addLease(name("l", i))
				s.addWaiter("w", "lease/"+name("l", i))
			}
		},
		"a barrier, and many Jobs of very many": func(s *snapshotBuilder) {
			s.addBarrier("b", 1_000_000)
			for i := range n {
				s.addJob(name("j", i), withCommand("koncli barrier arrive b"), func(j *batchv1.Job) {
					j.Spec.CompletionMode = ptr.To(batchv1.IndexedCompletion)
					j.Spec.Completions, j.Spec.Parallelism = ptr.To[int32](2147483647), ptr.To[int32](2147483647)
				})
			}
		},
		"a Job with many Pods that arrive at many barriers": func(s *snapshotBuilder) {
			var script strings.Builder
			for i := range 50 {
				s.addBarrier(name("b", i), 1000)
				script.WriteString("koncli barrier arrive " + name("b", i) + ";")
			}
			s.addJob("j", withCommand("sh: "+script.String()))
			for i := range n / 50 {
				s.addPod(name("p", i), ownedByJob("j"), withCompletionIndex(i), runningContainer("main", "sh: "+script.String()))
			}
		},
	}
}

// chainLength returns how many objects are on the longest path down a chain, as it is written.
func chainLength(c *waitgraph.Cause) int {
	most := 0
	for _, b := range c.Because {
		most = max(most, chainLength(b))
	}
	return most + 1
}

func TestWhyCostIsLinear(t *testing.T) {
	name := func(prefix string, i int) string { return fmt.Sprintf("%s%05d", prefix, i) }
	for what, test := range map[string]struct {
		set func(*snapshotBuilder)
		ask waitgraph.Ref
	}{
		"a process with very many claims on one semaphore": {func(s *snapshotBuilder) {
			s.addSemaphore("s", 6000)
			for i := range 1000 {
				s.addHolder(name("h", i), "semaphore/s", 6)
			}
			for range 5000 {
				s.addWaiter("w", "semaphore/s")
			}
		}, waitgraph.Ref{Kind: waitgraph.KindHolder, Namespace: testNamespace, Name: "w"}},
		"very many who hold a semaphore and wait for it": {func(s *snapshotBuilder) {
			s.addSemaphore("s", 1000)
			for i := range 1000 {
				s.addHolder(name("h", i), "semaphore/s")
				s.addLease(name("l", i))
				s.addWaiter(name("h", i), "semaphore/s")
				s.addWaiter(name("h", i), "lease/"+name("l", i))
			}
		}, waitgraph.Ref{Kind: konductorv1.KindSemaphore, Namespace: testNamespace, Name: "s"}},
		"chains of chains of gates": {func(s *snapshotBuilder) {
			const chain, chains = 90, 40
			var all []konductorv1.GateCondition
			for i := range chain * chains {
				s.addGate(name("g", i), conditionOn(konductorv1.GateOnGate, name("g", i+1)))
				if i%chain == 0 {
					all = append(all, conditionOn(konductorv1.GateOnGate, name("g", i)))
				}
			}
			// The shortest chain is explained first. The longest, which contains all others, explains most.
			slices.Reverse(all)
			s.addGate("urgent", conditionOn(konductorv1.GateOnGate, name("g", 0)), conditionOn(konductorv1.GateOnJob, "j"))
			s.addJob("j", withJobCondition(batchv1.JobFailed, ""))
			s.addGate("root", append(all, conditionOn(konductorv1.GateOnGate, "urgent"))...)
		}, waitgraph.Ref{Kind: konductorv1.KindGate, Namespace: testNamespace, Name: "root"}},
	} {
		t.Run(what, func(t *testing.T) {
			s := newSnapshotBuilder()
			test.set(s)
			costtest.CheckLinear(t, s.revision*assumedObjectSize, maxBytesPerNamespaceByte, func() {
				d, err := waitgraph.Analyze(&s.Snapshot).Why(test.ask)
				if err != nil {
					t.Fatal(err)
				}
				if n := chainLength(d.Chain); n > 110 {
					t.Errorf("a chain has %d steps", n)
				}
				d.Queue, d.Holders = nil, nil
				told, err := json.Marshal(d)
				if err != nil {
					t.Fatal(err)
				}
				if len(told) > s.revision*assumedObjectSize {
					t.Errorf("%d objects fill %d bytes", s.revision, len(told))
				}
			})
		})
	}
}

func TestNamespaceCostIsLinear(t *testing.T) {
	for name, set := range largeNamespaces(4_000) {
		t.Run(name, func(t *testing.T) {
			s := newSnapshotBuilder()
			set(s)
			commands, err := json.Marshal([]any{s.Pods, s.Jobs})
			if err != nil {
				t.Fatal(err)
			}
			costtest.CheckLinear(t, s.revision*assumedObjectSize+len(commands), maxBytesPerNamespaceByte, func() { analyzeAll(t, s) })
		})
	}
}

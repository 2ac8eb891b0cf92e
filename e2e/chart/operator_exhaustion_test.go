package chart

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// operatorProcess is the operator as a process of its own, as in its container.
type operatorProcess struct {
	cmd         *exec.Cmd
	memoryLimit int64 // of its container, in bytes
	done        chan struct{}

	mu     sync.Mutex
	output bytes.Buffer
}

// Write appends to the process's log.
func (p *operatorProcess) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.Write(b)
}

func (p *operatorProcess) logText() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.String()
}

// startMemoryLimitedOperator starts the operator as a process with the memory limit that the chart gives its container.
func (w *testEnv) startMemoryLimitedOperator() *operatorProcess {
	w.Helper()
	var values struct {
		Resources corev1.ResourceRequirements `json:"resources"`
	}
	file, err := os.ReadFile(chartDir(w.T) + "/values.yaml")
	w.must(err)
	w.must(yaml.Unmarshal(file, &values))
	memory := values.Resources.Limits[corev1.ResourceMemory]
	p := &operatorProcess{memoryLimit: memory.Value(), done: make(chan struct{})}
	p.cmd = exec.Command(buildPlugin(w.T, "v1.2.0"), "operator", "--kubeconfig="+w.newPluginCaller(w.tokenConfig(systemNamespace, "konductor-operator")).kubeconfig, //nolint:gosec // our own
		"--leader-election-namespace="+systemNamespace, "--metrics-bind-address=0", "--health-probe-bind-address=0")
	p.cmd.Env = append(os.Environ(), fmt.Sprintf("GOMEMLIMIT=%d", p.memoryLimit*9/10))
	p.cmd.Stderr = p
	w.must(p.cmd.Start())
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait() // its ProcessState has the result
	}()
	w.Cleanup(func() {
		_ = p.cmd.Process.Kill() // it may have ended already
		<-p.done
	})
	return p
}

// stopOperator stops the operator as Kubernetes would.
func (w *testEnv) stopOperator(p *operatorProcess) {
	w.Helper()
	w.checkAliveWithinMemory(p)
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
	<-p.done
}

// checkAliveWithinMemory checks that the operator runs, and has not exceeded its memory limit so far.
func (w *testEnv) checkAliveWithinMemory(p *operatorProcess) {
	w.Helper()
	select {
	case <-p.done:
		log := p.logText()
		w.Fatalf("the operator has ended: %s\n%s", p.cmd.ProcessState, log[max(0, len(log)-4000):])
	default:
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if os.IsNotExist(err) {
		w.Log("no /proc: the operator's memory isn't looked at")
		return
	}
	w.must(err)
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	kilobytes, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	w.must(err)
	w.Logf("at most %d MB of memory so far", kilobytes>>10)
	if kilobytes<<10 > p.memoryLimit {
		w.Fatalf("the operator has taken %d MB, more than its container gets", kilobytes>>10)
	}
}

// checkHandover hands over a lease between clients of another namespace.
func (w *testEnv) checkHandover() {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), 2*time.Minute)
	defer cancel()
	people := w.sdkClient(w.controlPlane.Config())
	first, err := people.AcquireLease(ctx, "handed-over", konductor.WithHolder("first"))
	w.must(err)
	second := make(chan error, 1)
	go func() {
		hold, err := people.AcquireLease(ctx, "handed-over", konductor.WithHolder("second"))
		if err == nil {
			err = hold.Release(ctx)
		}
		second <- err
	}()
	w.must(first.Release(ctx))
	w.must(<-second)
}

// runParallel calls do for 0 to n-1, some at the same time.
func (w *testEnv) runParallel(n int, do func(i int) error) {
	w.Helper()
	group, ctx := errgroup.WithContext(w.Context())
	group.SetLimit(16)
	for i := range n {
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			return do(i)
		})
	}
	w.must(group.Wait())
}

// unrelatedPodCount is the number of Pods without any relation to konductor, each of 10 kB. FOREIGN_PODS overrides it.
func unrelatedPodCount(t *testing.T) int {
	t.Helper()
	text := os.Getenv("FOREIGN_PODS")
	if text == "" {
		return 4000
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

const attackedNamespace = "target" // the namespace in which the attacker has the role edit

func podSpec(argv ...string) corev1.PodSpec {
	return corev1.PodSpec{
		RestartPolicy: corev1.RestartPolicyNever, AutomountServiceAccountToken: new(bool),
		Containers: []corev1.Container{{Name: "main", Image: "koncli", Command: argv}},
	}
}

// exhaustionAttacks returns the writes with which a user with the role edit in one namespace may try to exhaust the operator.
func (w *testEnv) exhaustionAttacks(kube kubernetes.Interface, mine *konductor.Client, r rawClient) map[string]func() {
	ctx := w.Context()
	long := strings.Repeat
	pod := func(name string, spec corev1.PodSpec, annotations map[string]string) error {
		_, err := kube.CoreV1().Pods(attackedNamespace).Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: annotations}, Spec: spec}, metav1.CreateOptions{})
		return err
	}
	script := func(s string) corev1.PodSpec { return podSpec("sh", "-c", "koncli barrier wait x; "+s) }
	gate := func(name, on string) error {
		_, err := mine.CreateGate(ctx, name, []konductorv1.GateCondition{{Type: konductorv1.GateOnGate, Name: on}})
		return err
	}
	claim := func(name, on string, annotations map[string]string) string {
		return craftedClaimJSON(name, &corev1.Pod{}, func(c *konductorv1.Claim) {
			c.Spec.Target.Name, c.Spec.BoundTo, c.Annotations = on, nil, annotations
		})
	}
	return map[string]func(){
		"variables that name each other": func() {
			spec := podSpec("koncli", "barrier", "wait", "$(A0)")
			var all string
			for i := range 30 {
				all += fmt.Sprintf("$(A%d)", i)
			}
			for i := range 30 {
				spec.Containers[0].Env = append(spec.Containers[0].Env, corev1.EnvVar{Name: fmt.Sprintf("A%d", i), Value: all})
			}
			w.must(pod("variables", spec, nil))
		},
		"a large variable named often": func() {
			spec := podSpec("koncli", "barrier", "wait", long("$(A)", 50_000))
			spec.Containers[0].Env = []corev1.EnvVar{{Name: "A", Value: long("a", 500_000)}}
			w.must(pod("large-variable", spec, nil))
		},
		"parentheses in parentheses": func() {
			for i, opening := range []string{"(", "$(", "`", "{ ", "if ", "$((", "[[ ! ", "<<a "} {
				w.must(pod(fmt.Sprintf("nested-%d", i), script(long(opening, 1_000_000/len(opening))), nil))
			}
		},
		"Jobs of more than two thousand million": func() {
			_, err := mine.CreateBarrier(ctx, "x", 1_000_000)
			w.must(err)
			indexed, most, suspended := batchv1.IndexedCompletion, int32(2147483647), true
			for i := range 20 {
				spec := podSpec("koncli", "barrier", "arrive", "x")
				_, err := kube.BatchV1().Jobs(attackedNamespace).Create(ctx, &batchv1.Job{
					ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("many-%d", i)},
					Spec: batchv1.JobSpec{
						Completions: &most, Parallelism: new(int32(100_000)), CompletionMode: &indexed, Suspend: &suspended, Template: corev1.PodTemplateSpec{Spec: spec},
					},
				}, metav1.CreateOptions{})
				w.must(err)
			}
			// A Pod waits for it by its command, so that the operator looks for Pods that could arrive.
			w.must(pod("waits", podSpec("koncli", "barrier", "wait", "x"), nil))
		},
		"claims on what doesn't exist, made and deleted": func() {
			w.runParallel(3000, func(i int) error {
				name := fmt.Sprintf("junk-%d", i)
				if err := r.createIn(attackedNamespace, "claims", claim(name, "nothing", nil)); err != nil {
					return err
				}
				return r.Delete().Namespace(attackedNamespace).Resource("claims").Name(name).Do(ctx).Error()
			})
		},
		"annotations as long as may be": func() {
			// As much as the API server's policies let through, and as much as may be of what isn't konductor's.
			var after, arrive []string
			for i := range 32 {
				after, arrive = append(after, fmt.Sprintf("gate/%s%d", long("a", 200), i)), append(arrive, fmt.Sprintf("barrier/%s%d", long("a", 200), i))
			}
			huge := map[string]string{"a": long("a", 200_000), konductorv1.AfterAnnotation: strings.Join(after, ","), konductorv1.ArriveAnnotation: strings.Join(arrive, ",")}
			spec := podSpec("work")
			spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: konductorv1.HoldSchedulingGate}} // before 1.36 the API server demands it
			w.runParallel(100, func(i int) error { return pod(fmt.Sprintf("annotated-%d", i), spec, huge) })
			w.runParallel(200, func(i int) error {
				return r.createIn(attackedNamespace, "claims", claim(fmt.Sprintf("annotated-%d", i), "nothing", huge))
			})
			w.runParallel(200, func(i int) error {
				return r.createIn(attackedNamespace, "gates", fmt.Sprintf(`{"apiVersion":"konductor.io/v1","kind":"Gate","metadata":{"name":"annotated-%d","annotations":{"a":%q}},`+
					`"spec":{"conditions":[{"type":"Job","name":"none"}]}}`, i, long("a", 250_000)))
			})
		},
		"a long chain of gates": func() {
			w.runParallel(3000, func(i int) error { return gate(fmt.Sprintf("chain-%d", i), fmt.Sprintf("chain-%d", i+1)) })
		},
		"a cycle of gates": func() {
			w.runParallel(1000, func(i int) error { return gate(fmt.Sprintf("cycle-%d", i), fmt.Sprintf("cycle-%d", (i+1)%1000)) })
		},
		"odd names": func() {
			for _, name := range []string{"0", "null", "true", "1e9", "0." + long("a", 240), long("a.", 100) + "a", "x--y"} {
				w.must(pod(name, script("koncli gate wait "+name+"; koncli barrier arrive "+name), nil))
				_, err := mine.CreateBarrier(ctx, name, 2)
				w.must(err)
				_, err = mine.CreateLease(ctx, name)
				w.must(err)
				w.must(gate(name, "none"))
				w.must(r.createIn(attackedNamespace, "claims", claim(name, name, nil)))
			}
		},
	}
}

func TestOperatorSurvivesExhaustionAttacks(t *testing.T) {
	w := &testEnv{T: t, controlPlane: startWithChart(t)}
	config := rest.CopyConfig(w.controlPlane.Config())
	config.QPS = -1
	w.kube = kubernetes.NewForConfigOrDie(config)
	ctx := t.Context()
	for _, name := range []string{attackedNamespace, "foreign"} {
		_, err := w.kube.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		w.must(err)
		eventually(t, "the account of Pods in "+name, func() bool {
			_, err := w.kube.CoreV1().ServiceAccounts(name).Get(ctx, "default", metav1.GetOptions{})
			return err == nil
		})
	}
	foreign := podSpec("work")
	for i := range 100 {
		foreign.Containers[0].Env = append(foreign.Containers[0].Env, corev1.EnvVar{Name: fmt.Sprintf("VARIABLE_%d", i), Value: strings.Repeat("v", 70)})
	}
	w.runParallel(unrelatedPodCount(t), func(i int) error {
		_, err := w.kube.CoreV1().Pods("foreign").Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("p%d", i)}, Spec: foreign}, metav1.CreateOptions{})
		return err
	})
	_, err := w.sdkClient(w.controlPlane.Config()).CreateLease(ctx, "handed-over")
	w.must(err)

	operator := w.startMemoryLimitedOperator()
	w.checkHandover()
	w.checkAliveWithinMemory(operator)

	attacker := w.createServiceAccount("attacker", "edit", attackedNamespace)
	attacker.QPS = -1
	eventually(t, "the attacker may edit its namespace", func() bool {
		_, err := kubernetes.NewForConfigOrDie(attacker).CoreV1().Pods(attackedNamespace).List(ctx, metav1.ListOptions{Limit: 1})
		return err == nil
	})
	awaitAggregatedRoles(w)
	mine, err := konductor.New(attacker, konductor.InNamespace(attackedNamespace), konductor.NotifyFunc(func(s string) { t.Log(s) }))
	w.must(err)
	for name, attack := range w.exhaustionAttacks(kubernetes.NewForConfigOrDie(attacker), mine, w.newRawClient(attacker)) {
		t.Logf("attack: %s", name)
		attack()
		w.checkHandover()
		w.checkAliveWithinMemory(operator)
	}
	eventually(t, "the cycle of gates is reported", func() bool {
		gate, err := mine.GetGate(ctx, "cycle-0")
		w.must(err)
		w.checkAliveWithinMemory(operator)
		for _, c := range gate.Status.Conditions {
			if c.Type == konductorv1.ConditionDeadlocked {
				return len(c.Message) < 10_000
			}
		}
		return false
	})
	// A restarted operator has to process all of it again.
	w.stopOperator(operator)
	operator = w.startMemoryLimitedOperator()
	w.checkHandover()
	w.checkAliveWithinMemory(operator)
}

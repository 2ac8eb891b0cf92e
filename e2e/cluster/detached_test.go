package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"

	"github.com/LogicIQ/konductor/e2e/cluster/image"
	"github.com/LogicIQ/konductor/e2e/cluster/internal/state"
)

func TestDetachedControlPlaneEndsWithItsSupervisor(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cluster")
	before := findTraces(t, dir)
	c := up(t, Options{Dir: dir, ControlPlaneOnly: true})
	if c.HasNode() {
		t.Error("there is a node although none was asked for")
	}
	getNamespaces(t, c)

	killSupervisor(t, c)
	waitUnmarked(t, dir)
	if _, err := Open(dir); !errors.Is(err, ErrNone) {
		t.Errorf("Open after the supervisor was killed: %v, want ErrNone", err)
	}
	down(t, dir)
	if diff := cmp.Diff(before, findTraces(t, dir)); diff != "" {
		t.Errorf("left behind (-before +after):\n%s", diff)
	}
}

func TestNodeRunsJobsAndLeavesNothing(t *testing.T) {
	if obstacle := nodeObstacle(); obstacle != "" {
		t.Skipf("no cluster with a node on this machine: %s", obstacle)
	}
	if testing.Short() {
		t.Skip("starts two clusters")
	}
	first := filepath.Join(t.TempDir(), "first")
	// Too long a name for a unix socket in it.
	second := filepath.Join(t.TempDir(), strings.Repeat("long/", 20)+"second")
	before := findTraces(t, first, second)

	a := up(t, Options{Dir: first})
	if !a.HasNode() {
		t.Skipf("no cluster with a node on this machine: %s", a.NoNode())
	}
	start := time.Now()
	again := up(t, Options{Dir: first})
	if took := time.Since(start); again.record.Supervisor != a.record.Supervisor || took > 10*time.Second {
		t.Errorf("the running cluster was not taken as it was (%s)", took)
	}
	b := up(t, Options{Dir: second})

	loadInpod(t, a)
	for _, c := range []*Cluster{a, b} {
		getNamespaces(t, c)
	}
	if got, want := runJob(t, a), "system:serviceaccount:default:default [job-"; !strings.HasPrefix(got, want) {
		t.Errorf("the API server took the Pod for %q, want %q…", got, want)
	}
	for _, component := range []string{"kube-apiserver", "kubelet", "containerd"} {
		start := time.Now()
		if err := a.StopComponent(component, syscall.SIGKILL); err != nil {
			t.Errorf("stop: %v", err)
		}
		if err := a.StartComponent(t.Context(), component); err != nil {
			t.Errorf("start: %v", err)
		}
		t.Logf("%s killed and started in %s", component, time.Since(start).Round(10*time.Millisecond))
	}
	getNamespaces(t, a)

	killSupervisor(t, a)
	a = up(t, Options{Dir: first}) // over what is left
	getNamespaces(t, a)

	// As if "up" had been killed between the start of the supervisor and the note of it.
	b.record.Supervisor = state.ProcessID{}
	if err := b.record.Save(); err != nil {
		t.Fatal(err)
	}
	down(t, first)
	down(t, second)
	down(t, second) // nothing to do
	if diff := cmp.Diff(before, findTraces(t, first, second)); diff != "" {
		t.Errorf("left behind (-before +after):\n%s", diff)
	}
}

// up starts a cluster that ends with the test, whatever happens in it.
func up(t *testing.T, o Options) *Cluster {
	t.Helper()
	o.Log = t.Logf
	t.Cleanup(func() {
		if err := Down(context.Background(), o.Dir); err != nil {
			t.Error(err)
		}
	})
	c, err := Up(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func down(t *testing.T, dir string) {
	t.Helper()
	start := time.Now()
	if err := Down(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	t.Logf("down in %s", time.Since(start).Round(time.Millisecond))
}

func killSupervisor(t *testing.T, c *Cluster) {
	t.Helper()
	if err := c.record.Supervisor.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// waitUnmarked waits until the components have ended by themselves.
func waitUnmarked(t *testing.T, dir string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		marked, err := state.Marked(dir)
		if err != nil {
			t.Fatal(err)
		}
		if len(marked) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("these outlive their supervisor: %v", marked)
		}
	}
}

func client(t *testing.T, c *Cluster) *kubernetes.Clientset {
	t.Helper()
	client, err := kubernetes.NewForConfig(c.Config())
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func getNamespaces(t *testing.T, c *Cluster) {
	t.Helper()
	if _, err := client(t, c).CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Errorf("list namespaces: %v", err)
	}
}

const inpodImage = "konductor/inpod:test"

func loadInpod(t *testing.T, c *Cluster) {
	t.Helper()
	dir := t.TempDir()
	binary, archive := filepath.Join(dir, "inpod"), filepath.Join(dir, "inpod.tar")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "./testdata/inpod")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	i, err := image.Program(inpodImage, "inpod", binary)
	if err != nil {
		t.Fatal(err)
	}
	if err := image.Write(archive, i); err != nil {
		t.Fatal(err)
	}
	if err := c.LoadImage(t.Context(), archive); err != nil {
		t.Fatal(err)
	}
}

// runJob runs a Job that asks the API server from an initContainer, waits until it
// is complete, and gives what that container printed.
func runJob(t *testing.T, c *Cluster) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	client := client(t, c)
	restricted := &corev1.SecurityContext{
		RunAsNonRoot:             new(true),
		AllowPrivilegeEscalation: new(false),
		ReadOnlyRootFilesystem:   new(true),
		Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		SeccompProfile:           &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
	job := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: "job"},
		Spec: batchv1.JobSpec{BackoffLimit: new(int32(0)), Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
			RestartPolicy:  corev1.RestartPolicyNever,
			InitContainers: []corev1.Container{{Name: "ask", Image: inpodImage, SecurityContext: restricted}},
			Containers:     []corev1.Container{{Name: "main", Image: "busybox:1.37", Command: []string{"sh", "-c", "test -n \"$HOSTNAME\" && seq 3 | grep -q 2"}}},
		}}},
	}
	start := time.Now()
	if _, err := client.BatchV1().Jobs("default").Create(ctx, job, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	lw := cache.NewListWatchFromClient(client.BatchV1().RESTClient(), "jobs", "default", fields.OneTermEqualSelector("metadata.name", "job"))
	_, err := watchtools.UntilWithSync(ctx, lw, &batchv1.Job{}, nil, func(e watch.Event) (bool, error) {
		for _, condition := range e.Object.(*batchv1.Job).Status.Conditions {
			if condition.Type == batchv1.JobComplete {
				return true, nil
			}
			if condition.Type == batchv1.JobFailed {
				return false, fmt.Errorf("the Job failed: %s", condition.Message)
			}
		}
		return false, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("Job complete in %s", time.Since(start).Round(10*time.Millisecond))

	pods, err := client.CoreV1().Pods("default").List(ctx, metav1.ListOptions{LabelSelector: "job-name=job"})
	if err != nil || len(pods.Items) != 1 {
		t.Fatalf("%d Pods of the Job, want 1 (%v)", len(pods.Items), err)
	}
	logs, err := client.CoreV1().Pods("default").GetLogs(pods.Items[0].Name, &corev1.PodLogOptions{Container: "ask"}).DoRaw(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return string(bytes.TrimSpace(logs))
}

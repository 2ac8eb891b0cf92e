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

func TestDetachedControlPlaneSupervisorKilled(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cluster")
	before := findLeftovers(t, dir)
	c := startCluster(t, Options{Dir: dir, ControlPlaneOnly: true})
	if c.HasNode() {
		t.Error("there is a node although none was asked for")
	}
	checkAPIServerAnswers(t, c)

	killSupervisor(t, c)
	waitForProcessesGone(t, dir)
	if _, err := Open(dir); !errors.Is(err, ErrNoCluster) {
		t.Errorf("Open after the supervisor was killed: %v, want ErrNone", err)
	}
	stopCluster(t, dir)
	if diff := cmp.Diff(before, findLeftovers(t, dir)); diff != "" {
		t.Errorf("left behind (-before +after):\n%s", diff)
	}
}

func TestClusterWithNode(t *testing.T) {
	if obstacle := noNodeReason(); obstacle != "" {
		t.Skipf("no cluster with a node on this machine: %s", obstacle)
	}
	if testing.Short() {
		t.Skip("starts two clusters")
	}
	first := filepath.Join(t.TempDir(), "first")
	// The path is too long for a unix socket in it.
	second := filepath.Join(t.TempDir(), strings.Repeat("long/", 20)+"second")
	before := findLeftovers(t, first, second)

	a := startCluster(t, Options{Dir: first})
	if !a.HasNode() {
		t.Skipf("no cluster with a node on this machine: %s", a.NoNodeReason())
	}
	start := time.Now()
	again := startCluster(t, Options{Dir: first})
	if took := time.Since(start); again.record.Supervisor != a.record.Supervisor || took > 10*time.Second {
		t.Errorf("the running cluster was not taken as it was (%s)", took)
	}
	b := startCluster(t, Options{Dir: second})

	loadInPodImage(t, a)
	for _, c := range []*Cluster{a, b} {
		checkAPIServerAnswers(t, c)
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
	checkAPIServerAnswers(t, a)

	killSupervisor(t, a)
	a = startCluster(t, Options{Dir: first}) // despite the remains
	checkAPIServerAnswers(t, a)

	// As if "up" had been killed between the start of the supervisor and its record.
	b.record.Supervisor = state.ProcessID{}
	if err := b.record.Save(); err != nil {
		t.Fatal(err)
	}
	stopCluster(t, first)
	stopCluster(t, second)
	stopCluster(t, second) // nothing to do
	if diff := cmp.Diff(before, findLeftovers(t, first, second)); diff != "" {
		t.Errorf("left behind (-before +after):\n%s", diff)
	}
}

// startCluster starts a cluster that is removed when the test ends.
func startCluster(t *testing.T, o Options) *Cluster {
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

func stopCluster(t *testing.T, dir string) {
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

// waitForProcessesGone waits until the components have ended by themselves.
func waitForProcessesGone(t *testing.T, dir string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		marked, err := state.FindMarkedProcesses(dir)
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

func newClientset(t *testing.T, c *Cluster) *kubernetes.Clientset {
	t.Helper()
	client, err := kubernetes.NewForConfig(c.Config())
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func checkAPIServerAnswers(t *testing.T, c *Cluster) {
	t.Helper()
	if _, err := newClientset(t, c).CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Errorf("list namespaces: %v", err)
	}
}

const inPodImage = "konductor/inpod:test"

func loadInPodImage(t *testing.T, c *Cluster) {
	t.Helper()
	dir := t.TempDir()
	binary, archive := filepath.Join(dir, "inpod"), filepath.Join(dir, "inpod.tar")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "./testdata/inpod")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	i, err := image.ProgramImage(inPodImage, "inpod", binary)
	if err != nil {
		t.Fatal(err)
	}
	if err := image.WriteArchive(archive, i); err != nil {
		t.Fatal(err)
	}
	if err := c.LoadImage(t.Context(), archive); err != nil {
		t.Fatal(err)
	}
}

// runJob runs a Job whose initContainer calls the API server, waits until it is complete, and returns what that container
// printed.
func runJob(t *testing.T, c *Cluster) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	client := newClientset(t, c)
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
			InitContainers: []corev1.Container{{Name: "ask", Image: inPodImage, SecurityContext: restricted}},
			Containers:     []corev1.Container{{Name: "main", Image: "busybox:1.37", Command: []string{"sh", "-c", `test -n "$HOSTNAME" && test "$(echo 2 | cat)" = 2`}}},
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

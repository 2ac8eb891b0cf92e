package cluster

import (
	"os"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

func TestControlPlaneRestartAndCleanup(t *testing.T) {
	ctx := t.Context()
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	start := time.Now()
	c, err := StartControlPlane(ctx, ControlPlaneOptions{ControllerManager: true, Log: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	closed := false
	defer func() {
		if !closed {
			_ = c.Close()
		}
	}()
	t.Logf("started in %s", time.Since(start))
	client, err := kubernetes.NewForConfig(c.Config())
	if err != nil {
		t.Fatal(err)
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "kept"}}
	if _, err := client.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}

	if err := c.StopComponent("kube-apiserver", syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().Namespaces().Get(ctx, "kept", metav1.GetOptions{}); err == nil {
		t.Fatal("kube-apiserver answers although it was stopped")
	}
	if err := c.StartComponent(ctx, "kube-apiserver"); err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().Namespaces().Get(ctx, "kept", metav1.GetOptions{}); err != nil {
		t.Fatalf("after the restart: %v", err)
	}

	var pids []int
	for _, s := range c.components.States(ctx) {
		if s.Problem != "" {
			t.Errorf("%s: %s", s.Name, s.Problem)
		}
		pids = append(pids, s.PID)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	closed = true
	for _, pid := range pids {
		if err := syscall.Kill(pid, 0); err == nil {
			t.Errorf("process %d is left", pid)
		}
	}
	if left, _ := os.ReadDir(temp); len(left) > 0 {
		t.Errorf("left in the temporary folder: %v", left)
	}
}

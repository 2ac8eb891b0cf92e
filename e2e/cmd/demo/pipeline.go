package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/e2e/manifest"
)

// koncli calls the product's command line in the demo's namespace.
type koncli struct {
	program, kubeconfig string
	out                 io.Writer
}

func newKoncli(kubeconfig string, out io.Writer) (koncli, error) {
	root, err := manifest.RepoRoot()
	return koncli{filepath.Join(root, "bin/koncli"), kubeconfig, out}, err
}

func (k koncli) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, k.program, append(args, "--kubeconfig", k.kubeconfig, "--namespace", namespace)...)
	// It must be able to restore the terminal.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// run runs a command at the terminal.
func (k koncli) run(ctx context.Context, args ...string) error {
	cmd := k.command(ctx, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, k.out, os.Stderr
	return cmd.Run()
}

// showPipeline shows the pipeline live until both stages are done, and then how it ended.
func (k koncli) showPipeline(ctx context.Context) error {
	watched, stop := context.WithCancel(ctx)
	defer stop()
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		_ = k.run(watched, "watch") // interrupted below, or by the user
	}()
	said, err := k.command(ctx, "barrier", "wait", "transforms-done", "--timeout", pipelineTimeout.String()).CombinedOutput()
	stop()
	<-closed
	if err != nil {
		return fmt.Errorf("the pipeline did not finish: %w: %s", err, said)
	}
	return k.run(ctx, "status", "all")
}

// readResult returns when the last extract arrived and when the first transform's container started.
// A container's end may be reported a little after its arrival.
func readResult(ctx context.Context, c client.Reader) (lastArrival, firstStart time.Time, err error) {
	extracts := &konductorv1.Barrier{}
	if err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "extracts-done"}, extracts); err != nil {
		return lastArrival, firstStart, err
	}
	if extracts.Status.OpenedAt == nil {
		return lastArrival, firstStart, fmt.Errorf("the transforms are done, but the extracts' barrier is %s", extracts.Status.Phase)
	}
	err = wait.PollUntilContextTimeout(ctx, 200*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		var pods corev1.PodList
		if err := c.List(ctx, &pods, client.InNamespace(namespace), client.MatchingLabels{"stage": "transform"}); err != nil {
			return false, err
		}
		ended := 0
		for _, pod := range pods.Items {
			for _, container := range pod.Status.ContainerStatuses {
				if end := container.State.Terminated; end != nil {
					ended++
					if firstStart.IsZero() || end.StartedAt.Time.Before(firstStart) {
						firstStart = end.StartedAt.Time
					}
				}
			}
		}
		return ended >= transformJobs, nil
	})
	return extracts.Status.OpenedAt.Time, firstStart, err
}

package measures

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/e2e/bench/report"
	"github.com/LogicIQ/konductor/e2e/bench/scene"
	"github.com/LogicIQ/konductor/e2e/bench/stats"
	"github.com/LogicIQ/konductor/e2e/cluster/image"
	"github.com/LogicIQ/konductor/e2e/install"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// Programs measures whole processes, from their start until they have ended: koncli that waits for a barrier which is
// open, and kubectl that gets the same object. kubectl's cache of what the server offers is filled.
func (r *Run) Programs(ctx context.Context) (rows []report.Row, err error) {
	err = r.inNamespace(ctx, func(namespace string, _ *scene.Operator) error {
		key, err := r.barrier(ctx, namespace, "open", 1)
		if err != nil {
			return err
		}
		somebody, err := r.Outsider(namespace, "somebody")
		if err != nil {
			return err
		}
		if err := somebody.ArriveBarrier(ctx, key.Name, konductor.WithHolder("somebody")); err != nil {
			return err
		}
		if err := r.AwaitBarrier(ctx, key, func(b *konductorv1.Barrier) bool { return b.Status.Phase == konductorv1.BarrierOpen }); err != nil {
			return err
		}
		var wait, get, help stats.Sample
		const warmup = 3
		err = times(warmup, r.Processes, func(counts bool) error {
			got, err := r.process(ctx, r.Kubectl, "get", "barriers.konductor.io", key.Name, "--namespace", namespace)
			if err != nil {
				return err
			}
			waited, err := r.process(ctx, r.Koncli, "barrier", "wait", key.Name, "--namespace", namespace)
			if err != nil {
				return err
			}
			helped, err := r.process(ctx, r.Koncli, "version", "--client")
			if counts {
				get.Add(got)
				wait.Add(waited)
				help.Add(helped)
			}
			return err
		})
		n := fmt.Sprintf("N=%d", wait.N())
		rows = []report.Row{
			report.Of("koncli barrier wait on an open barrier, p50", wait.P50(), "ms").Over(get.P50()).AtMost(1).Note(n + "; the floor is kubectl get of the same object"),
			report.Of("koncli barrier wait on an open barrier, p99", wait.P99(), "ms").Over(get.P99()).Note(n),
			report.Of("koncli version --client, p50", help.P50(), "ms").Note(n + "; what starting alone takes"),
		}
		return err
	})
	return rows, err
}

// process runs a program to its end.
func (r *Run) process(ctx context.Context, path string, args ...string) (time.Duration, error) {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = []string{"HOME=" + r.Dir, "TMPDIR=" + r.Dir, "KUBECONFIG=" + r.Kubeconfig(), "PATH=" + os.Getenv("PATH")}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	begin := time.Now()
	err := cmd.Run()
	took := time.Since(begin)
	if err != nil {
		return took, fmt.Errorf("%s %v: %w\n%s", filepath.Base(path), args, err, out.String())
	}
	return took, nil
}

// Size measures the binary, and the image as a registry sends it.
func (r *Run) Size(context.Context) ([]report.Row, error) {
	binary, err := os.Stat(r.Koncli)
	if err != nil {
		return nil, err
	}
	content, err := image.Program(install.Image, "koncli", r.Koncli)
	if err != nil {
		return nil, err
	}
	layout := filepath.Join(r.Dir, "image")
	if _, err := image.WriteLayout(layout, nil, content); err != nil {
		return nil, err
	}
	blobs, err := os.ReadDir(filepath.Join(layout, "blobs", "sha256"))
	if err != nil {
		return nil, err
	}
	var packed int64
	for _, blob := range blobs {
		info, err := blob.Info()
		if err != nil {
			return nil, err
		}
		packed += info.Size()
	}
	return []report.Row{
		report.Of("container image, compressed", megabytes(int(packed)), "MB").AtMost(25),
		report.Of("binary", megabytes(int(binary.Size())), "MB"),
	}, nil
}

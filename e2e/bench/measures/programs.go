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
	"github.com/LogicIQ/konductor/e2e/bench/benchenv"
	"github.com/LogicIQ/konductor/e2e/bench/report"
	"github.com/LogicIQ/konductor/e2e/bench/stats"
	"github.com/LogicIQ/konductor/e2e/cluster/image"
	"github.com/LogicIQ/konductor/e2e/install"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// MeasurePrograms measures whole processes, from start to end: koncli that waits for an open barrier, and kubectl that gets the
// same object. kubectl's discovery cache is filled.
func (r *Runner) MeasurePrograms(ctx context.Context) (rows []report.Row, err error) {
	err = r.withOperatorInNamespace(ctx, func(namespace string, _ *benchenv.Operator) error {
		key, err := r.createBarrier(ctx, namespace, "open", 1)
		if err != nil {
			return err
		}
		somebody, err := r.NewOutsideParticipant(namespace, "somebody")
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
		err = repeatN(warmup, r.ProcessRuns, func(counts bool) error {
			got, err := r.timeCommand(ctx, r.Kubectl, "get", "barriers.konductor.io", key.Name, "--namespace", namespace)
			if err != nil {
				return err
			}
			waited, err := r.timeCommand(ctx, r.Koncli, "barrier", "wait", key.Name, "--namespace", namespace)
			if err != nil {
				return err
			}
			helped, err := r.timeCommand(ctx, r.Koncli, "version", "--client")
			if counts {
				get.Add(got)
				wait.Add(waited)
				help.Add(helped)
			}
			return err
		})
		n := fmt.Sprintf("N=%d", wait.N())
		rows = []report.Row{
			report.NewRow("koncli barrier wait on an open barrier, p50", wait.P50(), "ms").WithLowerBound(get.P50()).AtMost(1).WithNote(n + "; the floor is kubectl get of the same object"),
			report.NewRow("koncli barrier wait on an open barrier, p99", wait.P99(), "ms").WithLowerBound(get.P99()).WithNote(n),
			report.NewRow("koncli version --client, p50", help.P50(), "ms").WithNote(n + "; what starting alone takes"),
		}
		return err
	})
	return rows, err
}

// timeCommand runs a program to its end.
func (r *Runner) timeCommand(ctx context.Context, path string, args ...string) (time.Duration, error) {
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

// MeasureSize measures the size of the binary, and of the image as a registry transfers it.
func (r *Runner) MeasureSize(context.Context) ([]report.Row, error) {
	binary, err := os.Stat(r.Koncli)
	if err != nil {
		return nil, err
	}
	content, err := image.ProgramImage(install.Image, "koncli", r.Koncli)
	if err != nil {
		return nil, err
	}
	layout := filepath.Join(r.Dir, "image")
	if _, err := image.WriteOCILayout(layout, nil, content); err != nil {
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
		report.NewRow("container image, compressed", toMegabytes(int(packed)), "MB").AtMost(25),
		report.NewRow("binary", toMegabytes(int(binary.Size())), "MB"),
	}, nil
}

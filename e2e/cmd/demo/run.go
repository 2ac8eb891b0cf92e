package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/e2e/cluster"
	"github.com/LogicIQ/konductor/e2e/cluster/toolchain"
	"github.com/LogicIQ/konductor/e2e/install"
	"github.com/LogicIQ/konductor/e2e/manifest"
	"github.com/LogicIQ/konductor/operator"
)

const (
	namespace       = "demo"
	extractJobs     = 10
	transformJobs   = 5
	pipelineTimeout = 5 * time.Minute
)

// run runs the whole demo.
func run(ctx context.Context, out io.Writer, keep bool) (err error) {
	printf := func(format string, args ...any) { fmt.Fprintf(out, format+"\n", args...) }
	dir, err := cluster.DefaultDir()
	if err != nil {
		return err
	}
	printf("==> Starting a real Kubernetes (the first time its parts are built from source, which takes about ten minutes)")
	c, err := cluster.Up(ctx, cluster.Options{Dir: dir, Log: func(format string, args ...any) { printf("    "+format, args...) }})
	if err != nil {
		return err
	}
	if !keep {
		defer func() {
			printf("==> Removing the cluster (KEEP=1 would have kept it)")
			err = errors.Join(err, c.Down())
		}()
	}
	if !c.HasNode() {
		return fmt.Errorf("the demo needs a node to run Pods on, and there is none: %s", c.NoNodeReason())
	}
	printf("==> Installing konductor with its Helm chart")
	if err := installKonductor(ctx, c); err != nil {
		return err
	}
	printf("==> Running the ETL example: %d extract Jobs, and %d transform Jobs that wait for all of them, without a Pod", extractJobs, transformJobs)
	begin := time.Now()
	objects, err := createPipeline(ctx, c)
	if err != nil {
		return err
	}
	k, err := newKoncli(c.Kubeconfig(), out)
	if err != nil {
		return err
	}
	if err := k.showPipeline(ctx); err != nil {
		return err
	}
	lastArrival, firstStart, err := readResult(ctx, objects)
	if err != nil {
		return err
	}
	printf("==> Done in %s", time.Since(begin).Round(100*time.Millisecond))
	printf("    last extract arrived    %s", lastArrival.Format("15:04:05"))
	printf("    first transform started %s", firstStart.Format("15:04:05"))
	if firstStart.Before(lastArrival) {
		return errors.New("a transform container started before the last extract had arrived")
	}
	if keep {
		printf("    The cluster goes on running. Look around with:")
		printf("      export KUBECONFIG=%s", c.Kubeconfig())
		printf("      bin/koncli -n %s status all", namespace)
		printf("      make cluster-down   # when you are done")
	}
	return nil
}

// installKonductor loads the image into the node and installs the chart.
func installKonductor(ctx context.Context, c *cluster.Cluster) error {
	root, err := manifest.RepoRoot()
	if err != nil {
		return err
	}
	if err := c.LoadImage(ctx, filepath.Join(root, "bin/image.tar")); err != nil {
		return fmt.Errorf("loading the image (make image builds it): %w", err)
	}
	tools, err := toolchain.Open(func(string, ...any) {})
	if err != nil {
		return err
	}
	if err := install.Chart(ctx, tools, c.Kubeconfig()); err != nil {
		return err
	}
	return install.CreateParticipantNamespace(ctx, c.Config(), namespace)
}

// createPipeline creates the example's objects, and replaces those of an earlier demo in a cluster that was kept.
func createPipeline(ctx context.Context, c *cluster.Cluster) (client.Client, error) {
	scheme, err := operator.NewScheme()
	if err != nil {
		return nil, err
	}
	objects, err := client.New(c.Config(), client.Options{Scheme: scheme})
	if err != nil {
		return nil, err
	}
	for _, kind := range []client.Object{&batchv1.Job{}, &konductorv1.Barrier{}} {
		err := objects.DeleteAllOf(ctx, kind, client.InNamespace(namespace), client.PropagationPolicy(metav1.DeletePropagationBackground))
		if err != nil {
			return nil, err
		}
	}
	files := slices.Concat([]string{"examples/etl/barriers.yaml"},
		slices.Repeat([]string{"examples/jobs/transform.yaml"}, transformJobs), slices.Repeat([]string{"examples/jobs/extract.yaml"}, extractJobs))
	for _, file := range files {
		if _, err := manifest.Create(ctx, c.Config(), namespace, file, nil); err != nil {
			return nil, err
		}
	}
	return objects, nil
}

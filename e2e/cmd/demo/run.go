package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/LogicIQ/konductor/e2e/cluster"
	"github.com/LogicIQ/konductor/e2e/cluster/toolchain"
	"github.com/LogicIQ/konductor/e2e/install"
	"github.com/LogicIQ/konductor/e2e/manifest"
)

const (
	namespace  = "demo"
	extracts   = 10
	transforms = 5
	patience   = 5 * time.Minute
)

// run plays the whole demo.
func run(ctx context.Context, out io.Writer, keep bool) (err error) {
	say := func(format string, args ...any) { fmt.Fprintf(out, format+"\n", args...) }
	dir, err := cluster.DefaultDir()
	if err != nil {
		return err
	}
	say("==> Starting a real Kubernetes (the first time its parts are built from source, which takes about ten minutes)")
	c, err := cluster.Up(ctx, cluster.Options{Dir: dir, Log: func(format string, args ...any) { say("    "+format, args...) }})
	if err != nil {
		return err
	}
	if !keep {
		defer func() {
			say("==> Removing the cluster (KEEP=1 would have kept it)")
			err = errors.Join(err, c.Down())
		}()
	}
	if !c.HasNode() {
		return fmt.Errorf("the demo needs a node to run Pods on, and there is none: %s", c.NoNode())
	}
	say("==> Installing konductor with its Helm chart")
	if err := deploy(ctx, c); err != nil {
		return err
	}
	say("==> Running the ETL example: %d extract Jobs, then %d transform Jobs that wait for all of them", extracts, transforms)
	begin := time.Now()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := launch(ctx, c); err != nil {
		return err
	}
	summary, err := show(ctx, c.Config(), out)
	if err != nil {
		return err
	}
	say("==> Done in %s", time.Since(begin).Round(100*time.Millisecond))
	say("    last extract arrived    %s", summary.opened.Format("15:04:05"))
	say("    first transform started %s", summary.firstTransform.Format("15:04:05"))
	if summary.early {
		return errors.New("a transform container started before the last extract had arrived")
	}
	if keep {
		say("    The cluster goes on running. Look around with:")
		say("      export KUBECONFIG=%s", c.Kubeconfig())
		say("      bin/koncli -n %s status all", namespace)
		say("      make cluster-down   # when you are done")
	}
	return nil
}

// deploy loads the image into the node and installs the chart.
func deploy(ctx context.Context, c *cluster.Cluster) error {
	root, err := manifest.Root()
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
	return install.Participants(ctx, c.Config(), namespace)
}

// launch creates the example's objects, anew if an earlier demo left some.
func launch(ctx context.Context, c *cluster.Cluster) error {
	if err := tidy(ctx, c); err != nil {
		return err
	}
	files := []string{"examples/etl/barriers.yaml"}
	for range transforms {
		files = append(files, "examples/etl/transform.yaml")
	}
	for range extracts {
		files = append(files, "examples/etl/extract.yaml")
	}
	for _, file := range files {
		if _, err := manifest.Create(ctx, c.Config(), namespace, file, nil); err != nil {
			return err
		}
	}
	return nil
}

// tidy removes what an earlier demo left in a cluster that was kept.
func tidy(ctx context.Context, c *cluster.Cluster) error {
	client, err := kubernetes.NewForConfig(c.Config())
	if err != nil {
		return err
	}
	background := metav1.DeletePropagationBackground
	err = client.BatchV1().Jobs(namespace).DeleteCollection(ctx, metav1.DeleteOptions{PropagationPolicy: &background}, metav1.ListOptions{})
	if err != nil {
		return err
	}
	return deleteBarriers(ctx, c.Config())
}

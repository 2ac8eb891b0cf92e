// Command konductor is the whole of Konductor in one binary: the kubectl plugin
// (kubectl konductor), the tool inside containers (koncli), and the operator.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/go-logr/logr"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/klog/v2"

	"github.com/LogicIQ/konductor/plugins/konductor/cli"
)

func main() {
	// What libraries log of what goes wrong comes before our one sentence and says less.
	klog.SetLogger(logr.Discard())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	streams := genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}
	code := cli.Run(ctx, os.Args, streams)
	stop()
	os.Exit(code)
}

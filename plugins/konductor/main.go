// Command konductor is the whole of Konductor in one binary: the kubectl plugin
// (kubectl konductor), the tool inside containers (koncli), and the operator.
package main

import (
	"context"
	"os"

	"github.com/go-logr/logr"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/klog/v2"

	"github.com/LogicIQ/konductor/internal/cli"
)

func main() {
	// Libraries log errors before our own one-sentence message, and say less.
	klog.SetLogger(logr.Discard())
	ctx, stop := cli.SignalContext(context.Background())
	streams := genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}
	code := cli.Run(ctx, os.Args, streams)
	stop()
	os.Exit(code)
}

// Command konductor is the whole of Konductor in one binary: the kubectl plugin
// (kubectl konductor), the tool inside containers (koncli), and the operator.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/LogicIQ/konductor/plugins/konductor/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	streams := genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}
	code := cli.Run(ctx, os.Args, streams)
	stop()
	os.Exit(code)
}

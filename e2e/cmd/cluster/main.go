// Command cluster provides a real Kubernetes cluster without a container engine, and the tools with which this repository is
// built and tested. Run it in e2e/:
//
//	go run ./cmd/cluster up
//	export KUBECONFIG=../.cluster/kubeconfig
//	$(go run ./cmd/cluster tool kubectl) get nodes
//	go run ./cmd/cluster down
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run() error {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	return newCommand(os.Stdout, os.Stderr).ExecuteContext(ctx)
}

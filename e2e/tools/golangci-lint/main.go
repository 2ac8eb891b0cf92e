// Command golangci-lint is golangci-lint with the linter for Kubernetes API types, which is a plugin that has to be compiled in.
package main

import (
	"fmt"
	"os"

	"github.com/golangci/golangci-lint/v2/pkg/commands"
	"github.com/golangci/golangci-lint/v2/pkg/exitcodes"
	_ "sigs.k8s.io/kube-api-linter"
)

func main() {
	if err := commands.Execute(commands.BuildInfo{Version: "with kube-api-linter"}); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(exitcodes.Failure)
	}
}

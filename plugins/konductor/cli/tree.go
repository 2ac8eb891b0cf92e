package cli

import (
	"io"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// Tree returns the tree of commands as it is when the program was called by that name ("koncli" or "kubectl konductor"),
// for what describes or checks command lines. Its commands are not meant to be run: they read nothing and say nothing.
func Tree(name string) *cobra.Command {
	streams := genericiooptions.IOStreams{In: strings.NewReader(""), Out: io.Discard, ErrOut: io.Discard}
	a := &app{streams: streams, config: newConfigFlags(streams.ErrOut), name: name}
	root := a.root()
	root.SetIn(streams.In)
	root.SetOut(streams.Out)
	root.SetErr(streams.ErrOut)
	return root
}

// Examples returns the command lines among the examples of a command's help.
func Examples(cmd *cobra.Command) []string {
	var lines []string
	for line := range strings.Lines(cmd.Example) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	return lines
}

package cli

import (
	"io"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/LogicIQ/konductor/internal/cli/printer"
)

// CommandTree returns the command tree of the program called by that name ("koncli" or "kubectl konductor"), for code that
// documents or checks command lines. Its commands are not meant to be run: they read nothing and print nothing.
func CommandTree(name string) *cobra.Command {
	streams := genericiooptions.IOStreams{In: strings.NewReader(""), Out: io.Discard, ErrOut: io.Discard}
	a := &app{streams: streams, messages: printer.NewMessages(streams.ErrOut), connection: newConnection(streams.ErrOut), displayName: name}
	root := a.rootCommand()
	root.SetIn(streams.In)
	root.SetOut(streams.Out)
	root.SetErr(streams.ErrOut)
	return root
}

// Examples returns the command lines in a command's examples.
func Examples(cmd *cobra.Command) []string {
	var lines []string
	for line := range strings.Lines(cmd.Example) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	return lines
}

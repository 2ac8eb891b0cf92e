package cli

import (
	"io"

	"github.com/spf13/cobra"

	"github.com/LogicIQ/konductor/internal/cli/flags"
	"github.com/LogicIQ/konductor/internal/cli/printer"
	"github.com/LogicIQ/konductor/internal/waitgraph"
)

func (a *app) graphCommand() *cobra.Command {
	var format string
	var allNamespaces bool
	d := &displayFlags{}
	cmd := &cobra.Command{
		Use: "graph", Short: "Show who waits for whom", Args: cobra.NoArgs,
		Long: `Show who waits for whom: gates, barriers, leases and semaphores, and the Jobs and
Pods that wait for them, hold them or have yet to arrive. What an object waits for is
indented below it; wait cycles are marked.

Use -o dot for Graphviz, -o mermaid for Markdown, and -o json or yaml for programs.`,
		Example: a.formatExamples(`  # the namespace as a tree
  koncli graph

  # all namespaces, as an image
  koncli graph -A -o dot | dot -Tsvg > waits.svg
`),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := flags.ValidateOutputFormat(format, "", "dot", "mermaid", "json", "yaml"); err != nil {
				return err
			}
			namespace := ""
			if !allNamespaces {
				var err error
				if namespace, err = a.connection.Namespace(); err != nil {
					return err
				}
			}
			s, err := a.loadSnapshot(cmd.Context(), namespace, "")
			if err != nil {
				return err
			}
			var only []string
			if namespace != "" {
				only = []string{namespace}
			}
			g := waitgraph.Analyze(s).Graph(only...)
			for _, note := range printer.GapNotes(g.Gaps) {
				a.notify("note: " + note + "; output may be incomplete")
			}
			switch format {
			case "json", "yaml":
				return printer.WriteJSONOrYAML(a.streams.Out, format, g)
			case "dot":
				_, err = io.WriteString(a.streams.Out, printer.GraphDOTText(&g))
			case "mermaid":
				_, err = io.WriteString(a.streams.Out, printer.GraphMermaidText(&g))
			default:
				if len(g.Nodes) == 0 {
					a.notify(printer.NoneFoundText("barriers, gates, leases or semaphores", namespace))
					return nil
				}
				signs, themeErr := a.newSymbols(d)
				if themeErr != nil {
					return themeErr
				}
				_, err = io.WriteString(a.streams.Out, printer.GraphTreeText(&g, signs))
			}
			return err
		},
	}
	cmd.Flags().StringVarP(&format, "output", "o", "", "output format: dot, mermaid, json or yaml (default a tree)")
	d.addASCIIFlag(cmd)
	cmd.Flags().BoolVarP(&allNamespaces, "all-namespaces", "A", false, "show objects in all namespaces")
	return cmd
}

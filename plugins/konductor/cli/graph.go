package cli

import (
	"io"

	"github.com/spf13/cobra"

	"github.com/LogicIQ/konductor/apis/waits"
)

func (a *app) graph() *cobra.Command {
	var format string
	var allNamespaces bool
	d := &drawing{}
	cmd := &cobra.Command{
		Use: "graph", Short: "Show who waits for whom", Args: cobra.NoArgs,
		Long: `Show who waits for whom: gates, barriers, leases and semaphores, and the Jobs and
Pods that wait for them, hold them or have yet to arrive. What waits is above what
it waits for; circles of waits are marked.

-o dot is for Graphviz, -o mermaid for Markdown, -o json and yaml for programs.`,
		Example: a.examples(`  # the namespace as a tree
  koncli graph

  # all namespaces, as a picture
  koncli graph -A -o dot | dot -Tsvg > waits.svg
`),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := oneOf(format, "", "dot", "mermaid", "json", "yaml"); err != nil {
				return err
			}
			namespace := ""
			if !allNamespaces {
				var err error
				if namespace, err = a.namespace(); err != nil {
					return err
				}
			}
			s, err := a.snapshot(cmd.Context(), namespace, "")
			if err != nil {
				return err
			}
			var only []string
			if namespace != "" {
				only = []string{namespace}
			}
			g := waits.Analyze(s).Graph(only...)
			for _, gap := range g.Gaps {
				a.say("note: " + gap.Message + ", so that something may be missing")
			}
			switch format {
			case "json", "yaml":
				return encode(a.streams.Out, format, g)
			case "dot":
				_, err = io.WriteString(a.streams.Out, graphDot(&g))
			case "mermaid":
				_, err = io.WriteString(a.streams.Out, graphMermaid(&g))
			default:
				if len(g.Nodes) == 0 {
					a.say(noneFound("barriers, gates, leases or semaphores", namespace))
					return nil
				}
				signs, themeErr := a.glyphs(d)
				if themeErr != nil {
					return themeErr
				}
				_, err = io.WriteString(a.streams.Out, graphTree(&g, signs))
			}
			return err
		},
	}
	cmd.Flags().StringVarP(&format, "output", "o", "", "dot, mermaid, json or yaml (default a tree)")
	d.addFlags(cmd)
	cmd.Flags().BoolVarP(&allNamespaces, "all-namespaces", "A", false, "of all namespaces")
	return cmd
}

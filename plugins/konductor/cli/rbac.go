package cli

import (
	"github.com/spf13/cobra"

	"github.com/LogicIQ/konductor/apis/rights"
	"github.com/LogicIQ/konductor/plugins/konductor/doctor"
)

func (a *app) rbac() *cobra.Command {
	var format string
	var of subjects
	cmd := &cobra.Command{
		Use: "rbac", Short: "Print the Role that a workload needs to take part, ready to apply",
		Long: `Print a Role with what a workload needs to arrive, wait, acquire and release, and
the RoleBinding that gives it to the workload: to ServiceAccount default of the
namespace, unless --for names another. The rules are those of the chart's ClusterRole
konductor-participant. The cluster is asked only where --for names a workload in it.`,
		Example: a.examples(`  # let the Pods of a Job take part
  koncli rbac -f job.yaml | kubectl apply -f -

  # let an account of another namespace take part in this one
  koncli rbac --for serviceaccount/ci:deployer --namespace etl
`),
		Args: of.args,
		RunE: func(_ *cobra.Command, args []string) error {
			if err := oneOf(format, "yaml", "yaml", "json"); err != nil {
				return err
			}
			namespace, err := a.namespace()
			if err != nil {
				return err
			}
			workloads, err := a.workloads(&of, args, namespace)
			if err != nil {
				return err
			}
			if len(workloads) == 0 {
				workloads = []doctor.Workload{{Subject: rights.Account(namespace, "default"), Namespace: namespace}}
			}
			objects := doctor.Grants(workloads)
			if format == "json" {
				return encode(a.streams.Out, format, map[string]any{"apiVersion": "v1", "kind": "List", "items": objects})
			}
			return writeObjects(a.streams.Out, objects)
		},
	}
	cmd.Flags().StringVarP(&format, "output", "o", "yaml", "yaml or json")
	of.addTo(cmd)
	return cmd
}

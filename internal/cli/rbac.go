package cli

import (
	"github.com/spf13/cobra"

	"github.com/LogicIQ/konductor/internal/cli/flags"
	"github.com/LogicIQ/konductor/internal/cli/printer"
	"github.com/LogicIQ/konductor/internal/doctor"
	"github.com/LogicIQ/konductor/internal/rbac"
)

func (a *app) rbacCommand() *cobra.Command {
	var format string
	var of subjectFlags
	cmd := &cobra.Command{
		Use: "rbac", Short: "Print the Role and RoleBinding that a workload needs",
		Long: `Print the Role with the permissions that a workload needs to arrive, wait, acquire and
release, and the RoleBinding that grants it, ready to apply. The subject is the
namespace's ServiceAccount "default", unless --for or -f names another. The rules are
those of the chart's ClusterRole konductor-participant. The cluster is contacted only if
--for names a workload in it.`,
		Example: a.formatExamples(`  # grant the Pods of a Job what they need
  koncli rbac -f job.yaml | kubectl apply -f -

  # grant a ServiceAccount of namespace ci what it needs in namespace etl
  koncli rbac --for serviceaccount/ci:deployer --namespace etl
`),
		Args: of.validateArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := flags.ValidateOutputFormat(format, "yaml", "yaml", "json"); err != nil {
				return err
			}
			namespace, err := a.connection.Namespace()
			if err != nil {
				return err
			}
			workloads, err := a.resolveSubjects(cmd.Context(), &of, args, namespace)
			if err != nil {
				return err
			}
			if len(workloads) == 0 {
				workloads = []doctor.Subject{{RBACSubject: rbac.ServiceAccountSubject(namespace, "default"), Namespace: namespace}}
			}
			objects := doctor.ParticipantRBAC(workloads)
			if format == "json" {
				return printer.WriteJSONOrYAML(a.streams.Out, format, map[string]any{"apiVersion": "v1", "kind": "List", "items": objects})
			}
			return writeYAMLDocuments(a.streams.Out, objects)
		},
	}
	cmd.Flags().StringVarP(&format, "output", "o", "yaml", "output format: yaml or json")
	of.addFlags(cmd)
	return cmd
}

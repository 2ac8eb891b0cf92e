package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
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
--for names a workload in it.

The Pods of a Job with annotations (docs/jobs.md) need no permissions. The user who
creates the Job or CronJob does: with --for and -f, print the Role with what the
annotations in the file require.`,
		Example: a.formatExamples(`  # grant the Pods of a Job what they need
  koncli rbac -f job.yaml | kubectl apply -f -

  # grant a ServiceAccount of namespace ci what it needs in namespace etl
  koncli rbac --for serviceaccount/ci:deployer --namespace etl

  # grant a pipeline what creating the held Jobs of a file needs
  koncli rbac --for serviceaccount/ci:deployer -f held.yaml | kubectl apply -f -
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
			targets, err := a.resolveTargets(cmd.Context(), &of, args, namespace)
			if err != nil {
				return err
			}
			subjects, creates := []doctor.Subject{}, ""
			for _, s := range targets.Subjects {
				if s.Self {
					creates = s.Creates
				} else {
					subjects = append(subjects, s)
				}
			}
			const creator = "%s needs no rights, but the user who creates it does: for those, pass --for user/NAME or --for serviceaccount/NAMESPACE:NAME, and -f FILE"
			switch {
			case len(subjects) > 0 && creates != "":
				a.notify(fmt.Sprintf(creator, creates))
			case len(subjects) > 0:
			case len(targets.Workloads) == 0:
				subjects = []doctor.Subject{{RBACSubject: rbac.ServiceAccountSubject(namespace, "default"), Namespace: namespace}}
			case creates != "" || len(targets.Manifest) == 0:
				return fmt.Errorf(creator, targets.Workloads[0].Name)
			default:
				return fmt.Errorf("creating %s needs no rights of konductor: only annotations %s and %s require some", targets.Workloads[0].Name, konductorv1.HoldAnnotation, konductorv1.ArriveAnnotation)
			}
			objects := doctor.SubjectRBAC(subjects)
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

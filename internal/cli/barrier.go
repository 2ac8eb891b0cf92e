package cli

import (
	"errors"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/types"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/cli/flags"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

func (a *app) barrierCommand() *cobra.Command {
	return kindCommand("barrier", []string{"barriers", "kbar"}, "Block until enough participants have arrived",
		a.barrierCreateCommand(), a.barrierArriveCommand(), a.waitCommand(konductorv1.KindBarrier, (*konductor.Client).WaitBarrier),
		a.kindStatusCommand(konductorv1.KindBarrier), a.listCommand(konductorv1.KindBarrier, "barriers"),
		a.deleteCommand(konductorv1.KindBarrier))
}

func (a *app) barrierCreateCommand() *cobra.Command {
	var expected, quorum int32
	var timeout, ttl time.Duration
	out := flags.NewOutput("created")
	cmd := &cobra.Command{
		Use: "create NAME --expected N", Short: "Create a barrier", Args: flags.ExactlyOneName("barrier"),
		Example: a.formatExamples(`  # open when all 10 participants have arrived
  koncli barrier create extracts-done --expected 10

  # open when 7 of 10 have arrived, time out after 1 hour, delete the barrier a day later
  koncli barrier create extracts-done --expected 10 --quorum 7 --timeout 1h --ttl-after-finished 24h
`),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !cmd.Flags().Changed("expected") {
				return errors.New("--expected is required: the number of participants, for example --expected 10")
			}
			if err := flags.ValidatePositive(cmd, "timeout", "ttl-after-finished"); err != nil {
				return err
			}
			withQuorum, withTimeout, withTTL := konductor.WithQuorum(quorum), konductor.WithTimeoutAfterCreation(timeout), konductor.WithTTLAfterFinished(ttl)
			return runCreate(a, out, konductor.NewBarrier(args[0], expected, withQuorum, withTimeout, withTTL),
				func(client *konductor.Client) (*konductorv1.Barrier, error) {
					opts := []konductor.CreateBarrierOption{withQuorum, withTimeout, withTTL}
					if out.IsServerDryRun() {
						opts = append(opts, konductor.DryRun())
					}
					return client.CreateBarrier(cmd.Context(), args[0], expected, opts...)
				})
		},
	}
	cmd.Flags().Int32Var(&expected, "expected", 0, "number of participants, at least 1")
	cmd.Flags().Int32Var(&quorum, "quorum", 0, "number of arrivals that open the barrier, from 1 to --expected (default all)")
	flags.AddDuration(cmd, &timeout, "timeout", 0, "time out the barrier this long after its creation (default never)")
	flags.AddDuration(cmd, &ttl, "ttl-after-finished", 0, "delete the barrier this long after it opened, failed or timed out (default never)")
	out.AddFlags(cmd)
	return cmd
}

func (a *app) barrierArriveCommand() *cobra.Command {
	var w flags.Wait
	var wait, failed bool
	var holder, reason, uid string
	out := flags.NewNameOutput()
	cmd := &cobra.Command{
		Use: "arrive NAME", Short: "Arrive at a barrier", Args: flags.ExactlyOneName("barrier"),
		Long: `Arrive at a barrier. Each participant counts once, so it is safe to arrive again. A
barrier that is already open accepts arrivals too.

The participant is the Job that the Pod belongs to (with its index in an Indexed
Job), else the Pod, else this host. --holder sets another name.`,
		Example: a.formatExamples(`  # at the end of a Job's script
  koncli barrier arrive extracts-done

  # arrive, and wait until the barrier is open, for at most 10 minutes
  koncli barrier arrive round-1 --wait --timeout 10m

  # report this participant as failed, so that nobody waits for it in vain
  koncli barrier arrive extracts-done --failed --reason "source is empty"
`),
		RunE: func(cmd *cobra.Command, args []string) error {
			defer a.tolerateClosedOutput()()
			if reason != "" && !failed {
				return errors.New("--reason requires --failed: add --failed, or omit --reason")
			}
			asParticipant, err := flags.HolderOption(cmd, holder)
			if err != nil {
				return err
			}
			client, err := a.newWriteClient(out)
			if err != nil {
				return err
			}
			what := "arrived"
			opts := []konductor.ArriveOption{asParticipant, konductor.OnlyUID(types.UID(uid))}
			for _, o := range w.Options() {
				opts = append(opts, o)
			}
			if out.IsServerDryRun() {
				opts = append(opts, konductor.DryRun())
			}
			if failed {
				what, opts = "arrived as failed", append(opts, konductor.AsFailed(reason))
			}
			begin := time.Now()
			if !out.IsClientDryRun() {
				if err := client.ArriveBarrier(cmd.Context(), args[0], opts...); err != nil {
					return err
				}
			}
			// An unreadable output doesn't change whether the others have arrived.
			unread := out.PrintOperation(konductorv1.KindBarrier, args[0], what, a.streams.Out)
			if !wait || out.IsDryRun() {
				return unread
			}
			if err := client.WaitBarrier(cmd.Context(), args[0], w.OptionsAfter(time.Since(begin))...); err != nil {
				return err
			}
			return errors.Join(unread, out.PrintOperation(konductorv1.KindBarrier, args[0], "open", a.streams.Out))
		},
	}
	w.AddFlags(cmd)
	cmd.Flags().BoolVar(&wait, "wait", false, "after the arrival, wait until the barrier is open")
	cmd.Flags().BoolVar(&failed, "failed", false, "report this participant as failed")
	cmd.Flags().StringVar(&reason, "reason", "", "reason for the failure, for people to read; requires --failed")
	flags.AddHolder(cmd, &holder, "participant")
	flags.AddUID(cmd, &uid, "barrier")
	out.AddFlags(cmd)
	return cmd
}

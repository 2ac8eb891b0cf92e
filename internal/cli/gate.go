package cli

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/cli/flags"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

func (a *app) gateCommand() *cobra.Command {
	return kindCommand("gate", []string{"gates", "kgate"}, "Block until all conditions are met",
		a.gateCreateCommand(), a.waitCommand(konductorv1.KindGate, (*konductor.Client).WaitGate),
		a.kindStatusCommand(konductorv1.KindGate), a.listCommand(konductorv1.KindGate, "gates"),
		a.deleteCommand(konductorv1.KindGate))
}

func (a *app) gateCreateCommand() *cobra.Command {
	wanted := map[konductorv1.GateConditionType]*[]string{
		konductorv1.GateOnJob: {}, konductorv1.GateOnBarrier: {}, konductorv1.GateOnGate: {},
		konductorv1.GateOnLease: {}, konductorv1.GateOnSemaphore: {},
	}
	var timeout, ttl time.Duration
	out := flags.NewOutput("created")
	cmd := &cobra.Command{
		Use: "create NAME --job JOB…", Short: "Create a gate", Args: flags.ExactlyOneName("gate"),
		Long: `Create a gate that opens when all its conditions are met at the same time. Each of
the flags --job, --barrier, --gate, --lease and --semaphore adds a condition, and can
be repeated.

NAME=STATE waits for a state other than the default: Complete or Failed for a Job;
Open, Failed or Timeout for a barrier or gate; Available or Held for a lease;
Available or Full for a semaphore. SEMAPHORE=N waits for N free permits.
NAMESPACE/NAME names an object in another namespace, if that namespace allows it.`,
		Example: a.formatExamples(`  # open when two Jobs are complete and a barrier is open
  koncli gate create dependencies-ready --job load --job validate --barrier extracts-done

  # open when the Job has failed, for a Pod that cleans up after it
  koncli gate create load-failed --job load=Failed --timeout 1h
`),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := flags.ValidatePositive(cmd, "timeout", "ttl-after-finished"); err != nil {
				return err
			}
			var conditions []konductorv1.GateCondition
			for _, kind := range []konductorv1.GateConditionType{
				konductorv1.GateOnJob, konductorv1.GateOnBarrier, konductorv1.GateOnGate, konductorv1.GateOnLease, konductorv1.GateOnSemaphore,
			} {
				for _, text := range *wanted[kind] {
					c, err := parseCondition(kind, text)
					if err != nil {
						return err
					}
					conditions = append(conditions, c)
				}
			}
			if len(conditions) == 0 {
				return errors.New("the gate has no condition: add one, for example --job NAME or --barrier NAME")
			}
			withTimeout, withTTL := konductor.WithTimeoutAfterCreation(timeout), konductor.WithTTLAfterFinished(ttl)
			return runCreate(a, out, konductor.NewGate(args[0], conditions, withTimeout, withTTL),
				func(client *konductor.Client) (*konductorv1.Gate, error) {
					opts := []konductor.CreateGateOption{withTimeout, withTTL}
					if out.IsServerDryRun() {
						opts = append(opts, konductor.DryRun())
					}
					return client.CreateGate(cmd.Context(), args[0], conditions, opts...)
				})
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(wanted[konductorv1.GateOnJob], "job", nil, "wait for this Job to complete")
	f.StringArrayVar(wanted[konductorv1.GateOnBarrier], "barrier", nil, "wait for this barrier to open")
	f.StringArrayVar(wanted[konductorv1.GateOnGate], "gate", nil, "wait for this other gate to open")
	f.StringArrayVar(wanted[konductorv1.GateOnLease], "lease", nil, "wait for this lease to be available")
	f.StringArrayVar(wanted[konductorv1.GateOnSemaphore], "semaphore", nil, "wait for this semaphore to have a free permit")
	flags.AddDuration(cmd, &timeout, "timeout", 0, "time out the gate this long after its creation (default never)")
	flags.AddDuration(cmd, &ttl, "ttl-after-finished", 0, "delete the gate this long after it opened, failed or timed out (default never)")
	out.AddFlags(cmd)
	return cmd
}

// parseCondition parses [NAMESPACE/]NAME[=STATE]. The API server validates the parts.
func parseCondition(kind konductorv1.GateConditionType, text string) (konductorv1.GateCondition, error) {
	c := konductorv1.GateCondition{Type: kind}
	name, state, found := strings.Cut(text, "=")
	if namespace, inner, ok := strings.Cut(name, "/"); ok {
		c.Namespace, name = namespace, inner
	}
	c.Name = name
	if name == "" || (found && state == "") {
		return c, fmt.Errorf("--%s %q: write NAME or NAME=STATE", strings.ToLower(string(kind)), text)
	}
	if n, err := strconv.ParseInt(state, 10, 32); err == nil {
		value := int32(n)
		c.Value = &value
		return c, nil
	}
	c.State = konductorv1.GateState(state)
	return c, nil
}

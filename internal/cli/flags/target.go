package flags

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// Target are the flags that lease create and semaphore create have in common.
type Target struct {
	ttl         time.Duration
	maxPriority int32
}

// AddFlags adds the flags to a command.
func (f *Target) AddFlags(cmd *cobra.Command) {
	AddDuration(cmd, &f.ttl, "ttl", 0, "time after which a hold expires unless renewed (default: none in a Pod, whose end ends the hold; 10m outside of Pods)")
	cmd.Flags().Int32Var(&f.maxPriority, "max-priority", 0, "highest allowed priority, from 0 to 1000000; requests with a higher one are refused (default any priority)")
}

// Options validates the flags and returns the SDK's options for them.
func (f *Target) Options(cmd *cobra.Command) ([]konductor.TargetOption, error) {
	if err := ValidateTTL(cmd); err != nil {
		return nil, err
	}
	opts := []konductor.TargetOption{konductor.WithTTL(f.ttl)}
	if cmd.Flags().Changed("max-priority") {
		const highest = 1_000_000 // of a claim
		if f.maxPriority < 0 || f.maxPriority > highest {
			return nil, fmt.Errorf("--max-priority must be from 0 to %d, not %d", highest, f.maxPriority)
		}
		opts = append(opts, konductor.WithMaxPriority(f.maxPriority))
	}
	return opts, nil
}

// CreateTargetOptions returns the options for creating a lease or semaphore.
func CreateTargetOptions(spec []konductor.TargetOption, out *Output) []konductor.CreateTargetOption {
	var opts []konductor.CreateTargetOption
	for _, o := range spec {
		opts = append(opts, o)
	}
	if out.IsServerDryRun() {
		opts = append(opts, konductor.DryRun())
	}
	return opts
}

package flags

import (
	"time"

	"github.com/spf13/cobra"

	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// Wait are the flags of all commands that wait.
type Wait struct {
	Timeout       time.Duration
	FailIfMissing bool
}

// AddFlags adds the flags to a command.
func (w *Wait) AddFlags(cmd *cobra.Command) {
	AddDuration(cmd, &w.Timeout, "timeout", -time.Second, "maximum time to wait, also for an object that doesn't exist yet; 0: don't wait; negative: no limit")
	cmd.Flags().BoolVar(&w.FailIfMissing, "fail-if-missing", false, "exit with code 2 if the object does not exist, instead of waiting for it to be created")
}

// Options returns the options to wait with.
func (w *Wait) Options() []konductor.WaitOption { return w.OptionsAfter(0) }

// OptionsAfter returns the options of a step of a command that has already taken that long: the timeout covers the whole
// command.
func (w *Wait) OptionsAfter(taken time.Duration) []konductor.WaitOption {
	opts := []konductor.WaitOption{konductor.WithTimeout(w.remaining(taken))}
	if w.FailIfMissing {
		opts = append(opts, konductor.FailIfMissing())
	}
	return opts
}

// remaining returns what is left of the timeout. If nothing is left it returns a short time, since zero and less mean
// something else.
func (w *Wait) remaining(taken time.Duration) time.Duration {
	if w.Timeout <= 0 {
		return w.Timeout
	}
	return max(w.Timeout-taken, time.Millisecond)
}

// AddHiddenWait accepts --wait for commands that wait anyway.
func AddHiddenWait(cmd *cobra.Command) {
	cmd.Flags().Bool("wait", true, "wait (the default)")
	cmd.Flags().Lookup("wait").Hidden = true
}

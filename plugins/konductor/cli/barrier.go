package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

func (a *app) barrier() *cobra.Command {
	return group("barrier", []string{"barriers", "kbar"}, "Meet: nobody goes on before enough have arrived",
		a.barrierCreate(), a.barrierArrive(), a.waitCommand(konductorv1.KindBarrier, (*konductor.Client).WaitBarrier),
		a.statusOf(konductorv1.KindBarrier), a.listCommand(konductorv1.KindBarrier, "barriers"),
		a.deleteCommand(konductorv1.KindBarrier, (*konductor.Client).DeleteBarrier))
}

func (a *app) barrierCreate() *cobra.Command {
	var expected, quorum int32
	var timeout, ttl time.Duration
	out := newOutput("created")
	cmd := &cobra.Command{
		Use: "create NAME --expected N", Short: "Create a barrier", Args: oneName("barrier"),
		Example: a.examples(`  # open when all ten have arrived
  koncli barrier create extracts-done --expected 10

  # open when 7 of 10 have arrived, give up after an hour, and tidy up a day later
  koncli barrier create extracts-done --expected 10 --quorum 7 --timeout 1h --ttl 24h
`),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !cmd.Flags().Changed("expected") {
				return errors.New("--expected is missing: say how many participants there are, for example --expected 10")
			}
			if err := positive(cmd, "timeout", "ttl"); err != nil {
				return err
			}
			return create(cmd.Context(), a, out,
				[]konductor.Option{konductor.WithQuorum(quorum), konductor.TimeOutAfter(timeout), konductor.ExpireAfter(ttl)},
				func(opts ...konductor.Option) *konductorv1.Barrier {
					return konductor.NewBarrier(args[0], expected, opts...)
				},
				func(ctx context.Context, client *konductor.Client, opts ...konductor.Option) (*konductorv1.Barrier, error) {
					return client.CreateBarrier(ctx, args[0], expected, opts...)
				})
		},
	}
	cmd.Flags().Int32Var(&expected, "expected", 0, "how many participants there are, at least 1")
	cmd.Flags().Int32Var(&quorum, "quorum", 0, "how many must arrive, from 1 to --expected (default all)")
	durationFlag(cmd, &timeout, "timeout", 0, "how long after its creation the barrier stops waiting (default never)")
	durationFlag(cmd, &ttl, "ttl", 0, "how long after it opened, failed or timed out the barrier is deleted (default never)")
	out.addFlags(cmd)
	return cmd
}

func (a *app) barrierArrive() *cobra.Command {
	var w waiting
	var wait, failed bool
	var holder, reason string
	out := newDone()
	cmd := &cobra.Command{
		Use: "arrive NAME", Short: "Arrive at a barrier", Args: oneName("barrier"),
		Long: `Arrive at a barrier. A participant counts once, however often it arrives, so this
can be repeated, and a barrier that is open already takes arrivals too.

The participant is the Job that the Pod belongs to (with its index in an Indexed
Job), else the Pod, else this host; --holder says otherwise.`,
		Example: a.examples(`  # the last line of a Job's script
  koncli barrier arrive extracts-done

  # arrive, and go on when everybody has
  koncli barrier arrive round-1 --wait --timeout 10m

  # say that this part can't be done, so that nobody waits for it in vain
  koncli barrier arrive extracts-done --failed --reason "source is empty"
`),
		RunE: func(cmd *cobra.Command, args []string) error {
			if reason != "" && !failed {
				return errors.New("--reason goes with --failed: add --failed or leave --reason out")
			}
			opts, err := holderOption(cmd, holder)
			if err != nil {
				return err
			}
			client, err := a.writer(out)
			if err != nil {
				return err
			}
			what := "arrived"
			opts = append(append(opts, w.options()...), out.options()...)
			if failed {
				what, opts = "arrived failed", append(opts, konductor.AsFailed(reason))
			}
			begin := time.Now()
			if !out.clientOnly() {
				if err := client.ArriveBarrier(cmd.Context(), args[0], opts...); err != nil {
					return err
				}
			}
			if err := out.done(konductorv1.KindBarrier, args[0], what, a.streams.Out); err != nil {
				return err
			}
			if !wait || out.pretends() {
				return nil
			}
			if err := client.WaitBarrier(cmd.Context(), args[0], w.after(time.Since(begin))...); err != nil {
				return err
			}
			return out.done(konductorv1.KindBarrier, args[0], "open", a.streams.Out)
		},
	}
	w.addFlags(cmd)
	cmd.Flags().BoolVar(&wait, "wait", false, "then wait until the barrier is open")
	cmd.Flags().BoolVar(&failed, "failed", false, "arrive as one that can't do its part")
	cmd.Flags().StringVar(&reason, "reason", "", "why, for people; goes with --failed")
	addHolder(cmd, &holder, "participant")
	out.addFlags(cmd)
	return cmd
}

// waiting are the flags of everything that waits.
type waiting struct {
	timeout       time.Duration
	failIfMissing bool
}

func (w *waiting) addFlags(cmd *cobra.Command) {
	durationFlag(cmd, &w.timeout, "timeout", -time.Second, "how long to wait, for the object to be created included; 0: look once and don't wait, negative: no limit")
	cmd.Flags().BoolVar(&w.failIfMissing, "fail-if-missing", false, "end at once when the object does not exist, instead of waiting for it to be created")
}

func (w *waiting) options() []konductor.Option { return w.after(0) }

// after returns the options of a step of a command that has taken so long already: the timeout is for all of it.
func (w *waiting) after(taken time.Duration) []konductor.Option {
	opts := []konductor.Option{konductor.WithTimeout(w.left(taken))}
	if w.failIfMissing {
		opts = append(opts, konductor.FailIfMissing())
	}
	return opts
}

// left returns what is left of the timeout. Zero and less mean something else, so when nothing is left it is a little.
func (w *waiting) left(taken time.Duration) time.Duration {
	if w.timeout <= 0 {
		return w.timeout
	}
	return max(w.timeout-taken, time.Millisecond)
}

func addHolder(cmd *cobra.Command, holder *string, what string) {
	usage := "name of the " + what + " (default the Pod's name, else the host's)"
	if what == "participant" {
		usage = "name of the participant (default the Pod's Job, else the Pod, else the host)"
	}
	cmd.Flags().StringVar(holder, "holder", "", usage)
}

// holderOption returns the option for --holder. An empty name is most likely a variable that is not set, and to fall
// back on the default would then make one holder out of several.
func holderOption(cmd *cobra.Command, holder string) ([]konductor.Option, error) {
	if !cmd.Flags().Changed("holder") {
		return nil, nil
	}
	if holder == "" {
		return nil, errors.New("--holder is empty: is the variable set? Give a name, or leave --holder out for the default")
	}
	if len(holder) > 320 {
		return nil, fmt.Errorf("--holder has %d characters: use at most 320", len(holder))
	}
	return []konductor.Option{konductor.WithHolder(holder)}, nil
}

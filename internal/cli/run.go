package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/LogicIQ/konductor/internal/cli/clierror"
	"github.com/LogicIQ/konductor/internal/cli/completion"
	"github.com/LogicIQ/konductor/internal/cli/flags"
	"github.com/LogicIQ/konductor/internal/cli/runner"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

const (
	// defaultGrace is how long a command may take to end, if a short TTL doesn't leave it less.
	defaultGrace = 10 * time.Second
	// ownExitCodeOffset is added to the exit codes of run that are not the command's.
	ownExitCodeOffset = 64
	// internalCommandName is the hidden command by which run starts its internal processes.
	internalCommandName = "run-internal"
	// arriveTimeout is how long run tries to arrive after it was asked to end.
	arriveTimeout = 30 * time.Second
)

// Values of --arrive-on.
const (
	arriveOnEnd     = "end"
	arriveOnSuccess = "success"
)

// runFlags are the flags of run.
type runFlags struct {
	flags.Hold
	arrive           string
	arriveOn         string
	once             string
	grace            time.Duration
	onLost           string
	conflictExitCode int

	conflictExitCodeSet bool
}

func (a *app) runCommand() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use: "run [--lease NAME]… [--semaphore NAME[:N]]… [--arrive BARRIER | --once BARRIER] -- COMMAND [ARGS]…", Short: "Run a command while holding leases and permits",
		DisableFlagsInUseLine: true,
		Long: `Acquire leases and permits, all of them or none, run a command, and release them when
the command and all processes that it has started have ended. The holds are renewed
while the command runs. Signals are forwarded to the command and its process group. On
a terminal, job control (foreground, background, stop, continue) works as it does
without this program.

If a hold is lost, or can't be renewed in time, the command and all processes that it
has started get SIGTERM, and SIGKILL after --grace. All of them have ended before
another holder can get the hold, even if this program is stopped or killed. Exception: a
break ends the hold at once, so the next holder may start while this command is still
being stopped.

Some processes can't be ended this way: those that run elsewhere for the command, as
with docker run, ssh or kubectl exec, and those that run as another user, as with sudo.
If processes of another user are left, run prints a warning and waits for them.

The command gets these environment variables: KONDUCTOR_TOKEN is the fencing token (of
the first hold, if there are several), and KONDUCTOR_HOLDER is the holder. Each hold also
has its own: lease db-migration sets KONDUCTOR_TOKEN_LEASE_DB_MIGRATION.

The exit code is the command's, or 128 plus the signal's number if a signal ended the
command. For errors of run itself, 64 is added to the usual exit codes: 65 error, 66 not
found, 67 timed out, 68 forbidden, 69 busy, 71 the hold was lost. 126 means that the
command can't be executed, and 127 that it can't be found. If a signal ends the wait,
the exit code is 128 plus its number: 130 for SIGINT, 143 for SIGTERM.`,
		Example: a.formatExamples(`  # run only one migration at a time
  koncli run --lease db-migration -- ./migrate up

  # hold two of the permits of a semaphore
  koncli run --semaphore db-connections:2 -- psql -f load.sql

  # skip this run if the previous one is still running
  koncli run --lease nightly --timeout 0 --conflict-exit-code 0 -- ./report

  # initialize once, ever: whoever comes later, or waited, goes on without running it
  koncli run --lease init --once initialized -- ./init-database

  # arrive at a barrier when the command has ended, as succeeded or failed
  koncli run --arrive extracts-done -- ./extract
`),
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return withOwnExitCode(fmt.Errorf("the command to run is missing: %s", cmd.UseLine()))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			defer a.tolerateClosedOutput()()
			run, err := f.toOptions(a, cmd, args)
			if err != nil {
				return f.withExitCode(err)
			}
			return run.execute(cmd.Context())
		},
	}
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return withOwnExitCode(clierror.FlagError(cmd, err))
	})
	// Flags after the command are the command's own.
	cmd.Flags().SetInterspersed(false)
	f.AddFlags(cmd)
	cmd.Flags().Lookup("fail-if-missing").Usage = "exit with code 66 if the object does not exist, instead of waiting for it to be created"
	cmd.Flags().StringVar(&f.arrive, "arrive", "", "arrive at this barrier when the command has ended, as failed if the command failed")
	cmd.Flags().StringVar(&f.arriveOn, "arrive-on", arriveOnEnd, "when to arrive; end: whether it succeeded or failed; success: only if it succeeded, for Jobs that retry")
	// It fails only if the flag has a completion already.
	_ = cmd.RegisterFlagCompletionFunc("arrive-on", completion.FixedWords(arriveOnEnd, arriveOnSuccess))
	cmd.Flags().StringVar(&f.once, "once", "", "don't run the command if it has succeeded before, or succeeds elsewhere while this waits: this barrier, with expected: 1, records that; needs --lease")
	flags.AddDuration(cmd, &f.grace, "grace", 0, "time that the command has to end after SIGTERM if a hold is lost (default 10s; with a ttl under 20s, a third of the ttl)")
	cmd.Flags().StringVar(&f.onLost, "on-lost", "", "shell command to run with /bin/sh if a hold is lost, with KONDUCTOR_LOST_REASON set; it may take as long as --grace")
	cmd.Flags().IntVar(&f.conflictExitCode, "conflict-exit-code", 0, "exit with this code if the holds can't be acquired in time, from 0 to 255 (default 69 with --timeout 0, 67 with a longer timeout)")
	return cmd
}

// internalCommand returns the hidden command of run's internal processes, see package runner.
func (a *app) internalCommand() *cobra.Command {
	return &cobra.Command{Use: internalCommandName, Hidden: true, RunE: func(_ *cobra.Command, args []string) error { return runner.RunInternalProcess(args) }}
}

// runOptions is one execution of run.
type runOptions struct {
	*runFlags
	app         *app
	client      *konductor.Client
	command     runner.Command
	wanted      []konductor.Wanted
	acquireOpts []konductor.AcquireAllOption
	graceSet    bool
}

func (f *runFlags) toOptions(a *app, cmd *cobra.Command, args []string) (*runOptions, error) {
	if err := errors.Join(flags.ValidateTTL(cmd), flags.ValidatePositive(cmd, "grace")); err != nil {
		return nil, err
	}
	f.conflictExitCodeSet = cmd.Flags().Changed("conflict-exit-code")
	if f.conflictExitCode < 0 || f.conflictExitCode > 255 {
		return nil, fmt.Errorf("--conflict-exit-code must be from 0 to 255, not %d", f.conflictExitCode)
	}
	if f.arriveOn != arriveOnEnd && f.arriveOn != arriveOnSuccess {
		return nil, fmt.Errorf("--arrive-on must be end or success, not %q", f.arriveOn)
	}
	wanted, err := f.ParseWanted()
	if err != nil {
		return nil, err
	}
	if err := f.validateOnce(wanted); err != nil {
		return nil, err
	}
	if len(wanted) == 0 && f.arrive == "" {
		return nil, errors.New("nothing to hold while the command runs: pass --lease NAME or --semaphore NAME[:N]")
	}
	if err := rejectTokenCollisions(wanted); err != nil {
		return nil, err
	}
	// A command that can't be run should not wait for the hold first.
	path, err := runner.LookPath(args[0])
	if err != nil {
		return nil, err
	}
	client, err := a.connection.NewClient()
	if err != nil {
		return nil, err
	}
	opts, err := f.AcquireOptions(cmd, client)
	if err != nil {
		return nil, err
	}
	grace := f.grace
	if grace == 0 {
		grace = defaultGrace
	}
	return &runOptions{
		runFlags: f, app: a, client: client, wanted: wanted, acquireOpts: opts, graceSet: f.grace != 0,
		command: runner.Command{Path: path, Args: args, Grace: grace, OnLost: f.onLost},
	}, nil
}

// withExitCode returns an error of run itself with its exit code.
func (f *runFlags) withExitCode(err error) error {
	var cantStart *runner.StartError
	var busy *konductor.BusyError
	var timeout *konductor.TimeoutError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, runner.ErrDeadlinePassed):
		return &clierror.ExitCodeError{Code: ownExitCodeOffset + clierror.ExitLost, Err: fmt.Errorf("the hold was lost: %w", err)}
	case errors.As(err, &cantStart):
		return &clierror.ExitCodeError{Code: cantStart.ExitCode, Err: err}
	case f.conflictExitCodeSet && (errors.As(err, &busy) || errors.As(err, &timeout)):
		return &clierror.ExitCodeError{Code: f.conflictExitCode, Err: err}
	default:
		return withOwnExitCode(err)
	}
}

// withOwnExitCode returns an error that is not the command's with its exit code.
func withOwnExitCode(err error) error {
	return &clierror.ExitCodeError{Code: ownExitCodeOffset + clierror.ExitCode(err), Err: err}
}

// execute acquires the holds, runs the command, releases and arrives.
func (r *runOptions) execute(ctx context.Context) error {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, runner.TerminationSignals()...)
	defer signal.Stop(signals)
	// The supervisor is started before waiting for the holds: this program's file may be another by then.
	c, err := runner.Prepare([]string{internalCommandName})
	if err != nil {
		return withOwnExitCode(err)
	}
	defer runner.StartZombieReaper(c.IsInternalProcess)()

	if err := r.checkBarrierReachable(ctx); err != nil {
		c.Close()
		return r.withExitCode(err)
	}
	deadlineMoved := make(chan struct{}, 1)
	holds, done, err := r.acquireUnlessDone(ctx, deadlineMoved)
	if err != nil || done {
		c.Close()
		if done {
			r.app.notify(fmt.Sprintf("barrier/%s is open: %s has succeeded before, and isn't run again", r.once, r.command.Args[0]))
		}
		return r.withExitCode(err)
	}
	r.app.notifyHolds(holds)
	result, err := r.supervise(c, holds, deadlineMoved, signals)
	var unrecorded error
	if err == nil {
		unrecorded = r.recordOnce(ctx, result, holds)
	}
	// Others may hold only now that all processes of the command are gone.
	lost := r.app.releaseHolds(ctx, holds)
	var interrupted *clierror.InterruptedError
	switch {
	case errors.As(err, &interrupted):
		return clierror.NewSignalExitError(interrupted.Signal) // Nothing was done under the holds that their loss could harm.
	case err != nil:
		return r.withExitCode(err)
	case unrecorded != nil:
		return r.withExitCode(unrecorded)
	}
	return r.reportResult(ctx, result, lost)
}

// checkBarrierReachable finds out before the command runs, not only after it, that the barrier is out of reach, or that a
// required barrier doesn't exist. The later arrival retries until it reaches the API server.
func (r *runOptions) checkBarrierReachable(ctx context.Context) error {
	if r.arrive == "" {
		return nil
	}
	for since := time.Now(); ; {
		_, err := r.client.GetBarrier(ctx, r.arrive)
		var missing *konductor.NotFoundError
		if errors.As(err, &missing) && !r.FailIfMissing {
			return nil // It is waited for.
		}
		if err == nil || ctx.Err() != nil || time.Since(since) >= barrierRetryTimeout(err) {
			return err
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
}

// barrierRetryTimeout returns how long run retries after such an error before it has run the command: as long as an
// acquire, see docs/outages.md. Roles are replaced within seconds, and an API server may be starting.
func barrierRetryTimeout(err error) time.Duration {
	var (
		forbidden   *konductor.ForbiddenError
		missing     *konductor.NotFoundError
		uninstalled *konductor.UninstalledError
	)
	switch {
	case errors.As(err, &missing), errors.As(err, &uninstalled):
		return 0
	case errors.As(err, &forbidden):
		return 5 * time.Second
	default:
		return 30 * time.Second
	}
}

// acquireHolds acquires what is wanted. moved receives after each change of a deadline.
func (r *runOptions) acquireHolds(ctx context.Context, moved chan<- struct{}) (*konductor.Holds, error) {
	onRenewal := konductor.OnRenewal(func(*konductor.Hold) {
		select {
		case moved <- struct{}{}:
		default: // It is known already.
		}
	})
	for {
		holds, err := r.client.AcquireAll(ctx, r.wanted, append(r.acquireOpts, onRenewal, konductor.StopWithin(r.command.Grace))...)
		var short *konductor.TTLError
		if errors.As(err, &short) && !r.graceSet {
			r.command.Grace = short.TTL / 3
			continue
		}
		return holds, err
	}
}

// supervise runs the command while the holds last, and returns its result.
func (r *runOptions) supervise(c *runner.Runner, holds *konductor.Holds, moved <-chan struct{}, signals chan os.Signal) (runner.Result, error) {
	var err error
	// The program may have moved during the wait for the holds.
	if r.command.Path, err = runner.LookPath(r.command.Args[0]); err != nil {
		c.Close()
		return runner.Result{}, err
	}
	r.command.Env = replaceEnv(runner.Environment(), tokenEnv(holds))
	select {
	case s := <-signals:
		// It came too late to end the wait, and the command that would get it hasn't been started.
		c.Close()
		return runner.Result{}, &clierror.InterruptedError{Signal: s}
	default:
	}
	signal.Notify(signals, c.SignalsToForward()...)
	err = c.Start(r.command, holdDeadlines(holds), runner.Callbacks{
		OnTermination: func(why string) {
			if reason := holds.Reason(); reason != nil {
				why = reason.Error()
			}
			r.app.notify(fmt.Sprintf("%s %s: %s", r.app.highlightError("stopping"), r.command.Args[0], why))
		},
		OnSignalDenied: func(d runner.SignalDenial) { r.app.notify(r.app.highlightError("warning:") + " " + deniedText(d)) },
	})
	if err != nil {
		return runner.Result{}, err
	}
	for range len(signals) {
		c.ForwardEarlySignal(<-signals)
	}
	lost := holds.Lost()
	for {
		c.SetDeadlines(holdDeadlines(holds))
		select {
		case result := <-c.Result():
			return result, nil
		case <-moved:
			// The new deadlines are set at the top of the loop.
		case s := <-signals:
			c.ForwardSignal(s)
		case <-lost:
			lost = nil
			c.Terminate(holds.Reason().Error())
		}
	}
}

// deniedText returns the message for a process that can't be sent a signal.
func deniedText(d runner.SignalDenial) string {
	if d.MoreOmitted {
		return "more processes run as another user and can't be sent " + d.Signal
	}
	return fmt.Sprintf("%s (process %d) runs as another user and can't be sent %s: the holds are released only after it ends or that user ends it",
		d.Program, d.PID, d.Signal)
}

// holdDeadlines returns the deadlines of the holds. Holds that last as long as their Pod have none.
func holdDeadlines(holds *konductor.Holds) []time.Time {
	var all []time.Time
	for _, h := range holds.All() {
		if deadline, ok := h.Deadline(); ok {
			all = append(all, deadline)
		}
	}
	return all
}

// replaceEnv returns an environment with further variables, without the old ones of the same names: of two, the first would
// count.
func replaceEnv(env, further []string) []string {
	env = slices.DeleteFunc(slices.Clone(env), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return slices.ContainsFunc(further, func(f string) bool { return strings.HasPrefix(f, name+"=") })
	})
	return append(env, further...)
}

// reportResult arrives at the barrier, prints how the command has ended, and returns the exit code. lost is why a hold was
// lost; nil if none was.
func (r *runOptions) reportResult(ctx context.Context, result runner.Result, lost error) error {
	name := r.command.Args[0]
	if result.LeftProcesses {
		r.app.notify(name + " has ended, but left processes running; they were ended too")
	}
	if result.TerminationReason != "" && lost == nil {
		lost = errors.New(result.TerminationReason)
	}
	var failed error
	switch {
	case lost != nil && result.TerminationReason == "":
		failed = &clierror.ExitCodeError{Code: ownExitCodeOffset + clierror.ExitLost, Err: fmt.Errorf("%s ended with exit code %d, but another holder may have run at the same time: %w", name, result.ExitCode, lost)}
	case lost != nil:
		failed = &clierror.ExitCodeError{Code: ownExitCodeOffset + clierror.ExitLost, Err: fmt.Errorf("%s was stopped: %w", name, lost)}
	case result.ExitCode != 0:
		failed = &clierror.ExitCodeError{Code: result.ExitCode, Signal: result.Signal}
	}
	if err := r.arriveAtBarrier(ctx, failed, result); err != nil {
		if failed == nil {
			return withOwnExitCode(err)
		}
		r.app.notify(fmt.Sprintf("can't arrive at barrier/%s as failed: %v", r.arrive, err))
	}
	return failed
}

// arriveAtBarrier arrives at the barrier, if one is given: as succeeded, or as failed.
func (r *runOptions) arriveAtBarrier(ctx context.Context, failed error, result runner.Result) error {
	if r.arrive == "" || (failed != nil && r.arriveOn == arriveOnSuccess) {
		return nil
	}
	if ctx.Err() != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), arriveTimeout)
		defer cancel()
	}
	opts := []konductor.ArriveOption{konductor.WithHolder(r.Holder)}
	if r.FailIfMissing {
		opts = append(opts, konductor.FailIfMissing())
	}
	what := "arrived"
	if failed != nil {
		reason := fmt.Sprintf("%s ended with exit code %d", r.command.Args[0], result.ExitCode)
		if failed.Error() != "" {
			reason = failed.Error()
		}
		opts, what = append(opts, konductor.AsFailed(reason)), "arrived as failed"
	}
	if err := r.client.ArriveBarrier(ctx, r.arrive, opts...); err != nil {
		return err
	}
	r.app.notify(fmt.Sprintf("barrier/%s %s", r.arrive, what))
	return nil
}

// tokenEnv returns the environment variables with the fencing tokens.
func tokenEnv(holds *konductor.Holds) []string {
	var env []string
	for i, h := range holds.All() {
		token := strconv.FormatInt(h.Token(), 10)
		if i == 0 {
			env = append(env, "KONDUCTOR_TOKEN="+token, "KONDUCTOR_HOLDER="+h.Holder())
		}
		env = append(env, tokenVariableName(h.Object())+"="+token)
	}
	return env
}

// rejectTokenCollisions rejects objects whose tokens would have the same variable name.
func rejectTokenCollisions(wanted []konductor.Wanted) error {
	objectByVariable := map[string]string{}
	for _, w := range wanted {
		variable := tokenVariableName(w.Object())
		if other, ok := objectByVariable[variable]; ok && other != w.Object() {
			return fmt.Errorf("%s and %s would both set %s: nest two 'run' commands, or rename one of them", other, w.Object(), variable)
		}
		objectByVariable[variable] = w.Object()
	}
	return nil
}

// tokenVariableName returns the variable's name for an object given as KIND/NAME.
func tokenVariableName(object string) string {
	return "KONDUCTOR_TOKEN_" + strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= '0' && r <= '9':
			return r
		default:
			return '_'
		}
	}, object)
}

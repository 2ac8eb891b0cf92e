package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/LogicIQ/konductor/plugins/konductor/child"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

const (
	// defaultGrace is how long a command may take to end, unless a short TTL leaves it less.
	defaultGrace = 10 * time.Second
	// ownFailures is added to the exit codes of run that are not the command's.
	ownFailures = 64
	// keepName is the command by which run starts what looks after the command.
	keepName = "keep"
	// arriveInTime is how long run tries to arrive when it has been told to end.
	arriveInTime = 30 * time.Second
)

// When to arrive.
const (
	arriveOnEnd     = "end"
	arriveOnSuccess = "success"
)

// runFlags are the flags of run.
type runFlags struct {
	held
	arrive       string
	arriveOn     string
	grace        time.Duration
	onLost       string
	conflictCode int

	conflictGiven bool
}

func (a *app) runCommand() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use: "run [--lease NAME]… [--semaphore NAME[:N]]… [--arrive BARRIER] -- COMMAND [ARGS]…", Short: "Hold leases and permits while a command runs",
		DisableFlagsInUseLine: true,
		Long: `Acquire leases and permits, all of them or none, run a command, and give them back
when the command and everything it has started have ended. The holds are renewed
meanwhile. Signals are passed on to the command's process group.

When a hold is lost, or can't be renewed in time, everything that the command has
started gets SIGTERM, and SIGKILL after --grace, and is gone before the hold can be
given to another. That is so too when this program is stopped or killed. (A hold
that somebody breaks is gone at once.)

The command finds its fencing token in KONDUCTOR_TOKEN, that of each hold in
KONDUCTOR_TOKEN_LEASE_NAME or KONDUCTOR_TOKEN_SEMAPHORE_NAME, and the holder in
KONDUCTOR_HOLDER.

The exit code is the command's (128 and the signal's number when a signal ended
it). What goes wrong here adds 64 to the usual exit codes: 65 error, 66 not found,
67 timed out, 68 forbidden, 69 busy, 71 the hold was lost; 126 and 127 say that
the command can't be executed or found.`,
		Example: a.examples(`  # only one migration at a time
  koncli run --lease db-migration -- ./migrate up

  # at most as many as the semaphore has permits; two of them for this one
  koncli run --semaphore db-connections:2 -- psql -f load.sql

  # skip this run when the last one is still busy
  koncli run --lease nightly --timeout 0 --conflict-exit-code 0 -- ./report

  # tell the others how it went
  koncli run --arrive extracts-done -- ./extract
`),
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return ownFailure(fmt.Errorf("the command to run is missing: %s", cmd.UseLine()))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			run, err := f.toOptions(a, cmd, args)
			if err != nil {
				return f.failure(err)
			}
			return run.do(cmd.Context())
		},
	}
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return ownFailure(flagError(cmd, err))
	})
	// What comes after the command are its own flags.
	cmd.Flags().SetInterspersed(false)
	f.addFlags(cmd)
	cmd.Flags().StringVar(&f.arrive, "arrive", "", "arrive at this barrier when the command has succeeded, and as failed when it has not")
	cmd.Flags().StringVar(&f.arriveOn, "arrive-on", arriveOnEnd, "end, or success to arrive only then: for a Job that tries again")
	durationFlag(cmd, &f.grace, "grace", 0, "how long the command may take to end after SIGTERM when the hold is lost (default 10s, or a third of a shorter ttl)")
	cmd.Flags().StringVar(&f.onLost, "on-lost", "", "run this with /bin/sh when the hold is lost, with KONDUCTOR_LOST_REASON set; it gets as long as --grace")
	cmd.Flags().IntVar(&f.conflictCode, "conflict-exit-code", 0, "exit with this code when it is not to be had in time; 0 to 255 (default 69 when busy, 67 after --timeout)")
	return cmd
}

// keepCommand is what run starts to look after the command, see package child.
func (a *app) keepCommand() *cobra.Command {
	return &cobra.Command{Use: keepName, Hidden: true, Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error { return child.Keep() }}
}

// run is one run of a command: all that it needs.
type run struct {
	*runFlags
	app        *app
	client     *konductor.Client
	command    child.Command
	wanted     []konductor.Wanted
	opts       []konductor.Option
	graceGiven bool
}

func (f *runFlags) toOptions(a *app, cmd *cobra.Command, args []string) (*run, error) {
	if err := positive(cmd, "ttl", "grace"); err != nil {
		return nil, err
	}
	f.conflictGiven = cmd.Flags().Changed("conflict-exit-code")
	if f.conflictCode < 0 || f.conflictCode > 255 {
		return nil, fmt.Errorf("--conflict-exit-code must be from 0 to 255, not %d", f.conflictCode)
	}
	if f.arriveOn != arriveOnEnd && f.arriveOn != arriveOnSuccess {
		return nil, fmt.Errorf("--arrive-on must be end or success, not %q", f.arriveOn)
	}
	wanted, err := f.wanted()
	if err != nil {
		return nil, err
	}
	if len(wanted) == 0 && f.arrive == "" {
		return nil, errors.New("say what to hold while the command runs: --lease NAME or --semaphore NAME[:N]")
	}
	if err := tellApart(wanted); err != nil {
		return nil, err
	}
	// A command that can't be run should not wait for its turn first.
	path, err := child.Find(args[0])
	if err != nil {
		return nil, err
	}
	client, err := a.client()
	if err != nil {
		return nil, err
	}
	opts, err := f.options(cmd, client)
	if err != nil {
		return nil, err
	}
	grace := f.grace
	if grace == 0 {
		grace = defaultGrace
	}
	return &run{
		runFlags: f, app: a, client: client, wanted: wanted, opts: opts, graceGiven: f.grace != 0,
		command: child.Command{Path: path, Args: args, Grace: grace, Keeper: []string{keepName}, OnLost: f.onLost},
	}, nil
}

// failure gives an error of run itself its exit code.
func (f *runFlags) failure(err error) error {
	var cantStart *child.StartError
	var busy *konductor.BusyError
	var timeout *konductor.TimeoutError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &cantStart):
		return &codedError{cantStart.Code, err}
	case f.conflictGiven && (errors.As(err, &busy) || errors.As(err, &timeout)):
		return &codedError{f.conflictCode, err}
	default:
		return ownFailure(err)
	}
}

// ownFailure gives an error that is not the command's its exit code.
func ownFailure(err error) error { return &codedError{ownFailures + exitCode(err), err} }

// do acquires, runs the command, gives back and arrives.
func (r *run) do(ctx context.Context) error {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, child.Forwarded()...)
	defer signal.Stop(signals)
	defer child.ReapOrphans()()

	moved := make(chan struct{}, 1)
	holds, err := r.acquire(ctx, moved)
	if err != nil {
		return r.failure(err)
	}
	r.app.sayHeld(holds)
	result, err := r.supervise(holds, moved, signals)
	// Only now that everything the command has started is gone may others hold.
	lost := r.app.giveBack(ctx, holds)
	if err != nil {
		return r.failure(err)
	}
	return r.conclude(ctx, result, lost)
}

// acquire acquires what is wanted. moved receives whenever a deadline has moved.
func (r *run) acquire(ctx context.Context, moved chan<- struct{}) (*konductor.Holds, error) {
	// Who is told to hang up or quit while it waits must take its claims back.
	ctx, stop := signal.NotifyContext(ctx, child.Ending()...)
	defer stop()
	tell := konductor.OnRenewal(func(*konductor.Hold) {
		select {
		case moved <- struct{}{}:
		default: // it is known already that one has
		}
	})
	for {
		holds, err := r.client.AcquireAll(ctx, r.wanted, append(r.opts, tell, konductor.StopWithin(r.command.Grace))...)
		var short *konductor.TTLError
		if errors.As(err, &short) && !r.graceGiven {
			r.command.Grace = short.TTL / 3
			continue
		}
		return holds, err
	}
}

// supervise runs the command while the holds last, and returns how it ended.
func (r *run) supervise(holds *konductor.Holds, moved <-chan struct{}, signals <-chan os.Signal) (child.Result, error) {
	r.command.Env = append(os.Environ(), tokens(holds)...)
	c, err := child.Start(r.command, func(why string) {
		if reason := holds.Reason(); reason != nil {
			why = reason.Error()
		}
		r.app.say(fmt.Sprintf("%s %s: %s", r.app.alarm("stopping"), r.command.Args[0], why))
	})
	if err != nil {
		return child.Result{}, err
	}
	lost := holds.Lost()
	for {
		if deadline, ok := holds.Deadline(); ok {
			c.Until(deadline)
		}
		select {
		case result := <-c.Result():
			return result, nil
		case <-moved:
			// The new deadline is told at the top.
		case s := <-signals:
			c.Signal(s)
		case <-lost:
			lost = nil
			c.Stop(holds.Reason().Error())
		}
	}
}

// conclude says how it went: to the barrier, to people, and by the exit code. lost is why a hold was lost, if it was.
func (r *run) conclude(ctx context.Context, result child.Result, lost error) error {
	name := r.command.Args[0]
	if result.Left {
		r.app.say(name + " has ended and left processes behind, which were ended too")
	}
	if result.Stopped != "" && lost == nil {
		lost = errors.New(result.Stopped)
	}
	var failed error
	switch {
	case lost != nil && result.Stopped == "":
		failed = &codedError{ownFailures + exitLost, fmt.Errorf("%s has ended with exit code %d, but others may have held at the same time: %w", name, result.Code, lost)}
	case lost != nil:
		failed = &codedError{ownFailures + exitLost, fmt.Errorf("%s was stopped: %w", name, lost)}
	case result.Code != 0:
		failed = &codedError{code: result.Code}
	}
	if err := r.arriveAs(ctx, failed, result); err != nil {
		if failed == nil {
			return ownFailure(err)
		}
		r.app.say(fmt.Sprintf("arriving at barrier/%s as failed: %v", r.arrive, err))
	}
	return failed
}

// arriveAs arrives at the barrier, if there is one, as one that failed or has done its part.
func (r *run) arriveAs(ctx context.Context, failed error, result child.Result) error {
	if r.arrive == "" || (failed != nil && r.arriveOn == arriveOnSuccess) {
		return nil
	}
	if ctx.Err() != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), arriveInTime)
		defer cancel()
	}
	var opts []konductor.Option
	if r.holder != "" {
		opts = append(opts, konductor.WithHolder(r.holder))
	}
	if r.failIfMissing {
		opts = append(opts, konductor.FailIfMissing())
	}
	what := "arrived"
	if failed != nil {
		reason := fmt.Sprintf("%s ended with exit code %d", r.command.Args[0], result.Code)
		if failed.Error() != "" {
			reason = failed.Error()
		}
		opts, what = append(opts, konductor.AsFailed(reason)), "arrived failed"
	}
	if err := r.client.ArriveBarrier(ctx, r.arrive, opts...); err != nil {
		return err
	}
	r.app.say(fmt.Sprintf("barrier/%s %s", r.arrive, what))
	return nil
}

// tokens returns the variables by which the command learns of its fencing tokens.
func tokens(holds *konductor.Holds) []string {
	var env []string
	for i, h := range holds.All() {
		token := strconv.FormatInt(h.Token(), 10)
		if i == 0 {
			env = append(env, "KONDUCTOR_TOKEN="+token, "KONDUCTOR_HOLDER="+h.Holder())
		}
		env = append(env, tokenVariable(h.Object())+"="+token)
	}
	return env
}

// tellApart refuses objects whose tokens the command could not tell apart.
func tellApart(wanted []konductor.Wanted) error {
	by := map[string]string{}
	for _, w := range wanted {
		variable := tokenVariable(w.Object())
		if other, ok := by[variable]; ok && other != w.Object() {
			return fmt.Errorf("%s and %s would both put their token into %s: run with one inside the other, or rename one", other, w.Object(), variable)
		}
		by[variable] = w.Object()
	}
	return nil
}

// tokenVariable returns the name of the variable for an object that is given as KIND/NAME.
func tokenVariable(object string) string {
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

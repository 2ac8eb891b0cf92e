package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/LogicIQ/konductor/internal/cli/runner"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// onceParticipant is the name under which the run of --once that has succeeded arrives. Whoever holds the lease later finds the
// arrival by this name, also before the operator has counted it.
const onceParticipant = "once"

// validateOnce checks what --once needs besides.
func (f *runFlags) validateOnce(wanted []konductor.Wanted) error {
	switch {
	case f.once == "":
		return nil
	case f.arrive != "":
		return errors.New("--once and --arrive can't be combined: --once arrives at its own barrier")
	case !slices.ContainsFunc(wanted, func(w konductor.Wanted) bool { return strings.HasPrefix(w.Object(), "lease/") }):
		return errors.New("--once needs --lease NAME: without a lease, several could run at the same time")
	default:
		return nil
	}
}

// acquireUnlessDone acquires the holds. With --once it holds nothing and returns done if the command has succeeded before, or
// succeeds elsewhere meanwhile.
func (r *runOptions) acquireUnlessDone(ctx context.Context, moved chan<- struct{}) (holds *konductor.Holds, done bool, err error) {
	if r.once == "" {
		holds, err = r.acquireHolds(ctx, moved)
		return holds, false, err
	}
	barrier, err := r.client.GetBarrier(ctx, r.once)
	if err != nil {
		return nil, false, err
	}
	if barrier.Spec.Expected != 1 {
		return nil, false, fmt.Errorf("barrier/%s expects %d participants: --once needs one with expected: 1", r.once, barrier.Spec.Expected)
	}
	acquiring, stopAcquiring := context.WithCancelCause(ctx)
	watching, stopWatching := context.WithCancel(ctx)
	defer stopWatching()
	opened := make(chan error, 1)
	go func() {
		err := r.client.WaitBarrier(watching, r.once)
		opened <- err
		if watching.Err() == nil {
			stopAcquiring(err) // It is open, or can't open any more.
		}
	}()
	holds, err = r.acquireHolds(acquiring, moved)
	stopWatching()
	notOpen := <-opened
	stopped := acquiring.Err() != nil && ctx.Err() == nil
	if err != nil {
		if stopped {
			return nil, notOpen == nil, notOpen
		}
		return nil, false, err
	}
	if stopped {
		_ = r.app.releaseHolds(ctx, holds) // Nothing was done under them that their loss could harm.
		return nil, notOpen == nil, notOpen
	}
	if done, err = r.client.HasArrived(ctx, r.once, onceParticipant); done || err != nil {
		_ = r.app.releaseHolds(ctx, holds) // Nothing was done under them that their loss could harm.
		return nil, done, err
	}
	return holds, false, nil
}

// recordOnce arrives at the barrier of --once if the command has succeeded while it held. It is called before the release, so that
// the next holder knows.
func (r *runOptions) recordOnce(ctx context.Context, result runner.Result, holds *konductor.Holds) error {
	if r.once == "" || result.ExitCode != 0 || result.Signal != 0 || result.TerminationReason != "" || holds.Reason() != nil {
		return nil
	}
	if ctx.Err() != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), arriveTimeout)
		defer cancel()
	}
	if err := r.client.ArriveBarrier(ctx, r.once, konductor.WithHolder(onceParticipant)); err != nil {
		return fmt.Errorf("%s has succeeded, but that can't be recorded at barrier/%s, so it will run again: %w", r.command.Args[0], r.once, err)
	}
	return nil
}

package clients

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/e2e/chaos/history"
)

// KoncliClient is a client that starts a koncli process for each action, as scripts do.
type KoncliClient struct{ randomClient }

// NewKoncliClient returns a client of that name whose decisions follow rng.
func NewKoncliClient(env *Env, name string, rng *rand.Rand) *KoncliClient {
	return &KoncliClient{randomClient{env: env, name: name, rng: rng}}
}

// Run does random actions until working is closed. Everything ends with ctx.
func (c *KoncliClient) Run(ctx context.Context, working <-chan struct{}) error {
	for {
		if err := c.randomAction(ctx); err != nil {
			return err
		}
		Sleep(ctx, c.randomDuration(50*time.Millisecond, 400*time.Millisecond))
		select {
		case <-working:
			return nil
		case <-ctx.Done():
			return nil
		default:
		}
	}
}

func (c *KoncliClient) randomAction(ctx context.Context) error {
	if c.oneIn(5) {
		return c.arriveOrWait(ctx)
	}
	r := c.randomRequest()
	if c.oneIn(8) {
		// The client dies without a release: its claim must expire by itself.
		r.cancelAfter = c.randomDuration(20*time.Millisecond, 700*time.Millisecond)
	}
	token, err := c.acquire(ctx, r)
	if err != nil {
		return err
	}
	if token == 0 {
		if r.cancelAfter > 0 && c.oneIn(2) {
			// Another process with the same holder name releases the hold.
			return c.renewOrRelease(ctx, r, history.Release, 0)
		}
		return nil
	}
	if c.oneIn(6) {
		// A restarted container acquires again, and finds its hold; or, if its claim has been deleted meanwhile, gets a hold with a new
		// token.
		if token, err = c.acquire(ctx, r); err != nil || token == 0 {
			return err
		}
	}
	c.doWork(ctx, r, token)
	if c.oneIn(3) {
		if err := c.renewOrRelease(ctx, r, history.Renew, token); err != nil {
			return err
		}
		c.doWork(ctx, r, token)
	}
	if c.oneIn(20) {
		return nil // it never releases
	}
	return c.renewOrRelease(ctx, r, history.Release, token)
}

// acquire returns the token, or 0 if nothing was acquired.
func (c *KoncliClient) acquire(ctx context.Context, r request) (token int64, err error) {
	args := []string{strings.ToLower(r.kind), "acquire", r.name, "--holder=" + r.holder, "--ttl=" + r.ttl.String(), fmt.Sprintf("--priority=%d", r.priority)}
	if r.kind == konductorv1.KindSemaphore {
		args = append(args, fmt.Sprintf("--permits=%d", r.permits))
	}
	if r.noWait || r.timeout > 0 {
		args = append(args, "--timeout="+r.timeout.String())
	}
	pending := c.env.Recorder.Begin(r.toOp(c.name, c.env.Namespace))
	result, err := c.runKoncli(ctx, r.cancelAfter, args...)
	if err != nil {
		return 0, err
	}
	outcome, reason := result.outcome()
	if ctx.Err() != nil {
		outcome, reason = history.Unknown, history.Interrupted
	}
	if outcome == history.OK {
		if token, err = strconv.ParseInt(strings.TrimSpace(result.stdout), 10, 64); err != nil {
			outcome, reason = history.Unknown, ""
		}
	}
	pending.Complete(outcome, reason, token, result.stderr)
	return token, nil
}

func (c *KoncliClient) renewOrRelease(ctx context.Context, r request, action history.Action, token int64) error {
	op := r.toOp(c.name, c.env.Namespace)
	op.Action = action
	pending := c.env.Recorder.Begin(op)
	result, err := c.runKoncli(ctx, 0, strings.ToLower(r.kind), string(action), r.name, "--holder="+r.holder)
	if err != nil {
		return err
	}
	outcome, reason := result.outcome()
	pending.Complete(outcome, reason, token, result.stderr)
	return nil
}

// arriveOrWait arrives at a barrier, or waits for it.
func (c *KoncliClient) arriveOrWait(ctx context.Context) error {
	name := c.env.Barriers.pickRecent(c.rng)
	if name == "" {
		return nil
	}
	op := history.Op{Client: c.name, Namespace: c.env.Namespace, Action: history.Arrive, Kind: konductorv1.KindBarrier, Object: name, Holder: c.name}
	args := []string{"barrier", "arrive", name, "--holder=" + c.name, "--timeout=2s"}
	if c.oneIn(3) {
		op.Action, op.Timeout, op.Holder = history.Wait, c.randomDuration(100*time.Millisecond, 4*time.Second), ""
		args = []string{"barrier", "wait", name, "--timeout=" + op.Timeout.String()}
	} else if c.oneIn(8) {
		op.AsFailed = true
		args = append(args, "--failed", "--reason=chance")
	}
	pending := c.env.Recorder.Begin(op)
	result, err := c.runKoncli(ctx, 0, args...)
	if err != nil {
		return err
	}
	outcome, reason := result.outcome()
	pending.Complete(outcome, reason, 0, result.stderr)
	return nil
}

// processResult is the result of a koncli process.
type processResult struct {
	exitCode       int // -1: by a signal
	stdout, stderr string
}

// outcome returns the outcome and the reason that the exit code stands for.
func (e processResult) outcome() (history.Outcome, string) {
	switch e.exitCode {
	case 0:
		return history.OK, ""
	case 2:
		return history.Fail, history.NotFound
	case 3:
		return history.Fail, history.TimedOut
	case 5:
		return history.Fail, history.Busy
	case 6:
		return history.Fail, history.Failed
	case 7:
		return history.Fail, history.Lost
	case -1:
		return history.Unknown, history.Killed
	}
	// These two have no exit codes of their own.
	switch {
	case strings.Contains(e.stderr, "refused the claim"):
		return history.Fail, history.Refused
	case strings.Contains(e.stderr, noOperatorMessage):
		return history.Unknown, history.NoOperator
	case e.exitCode == 4 && strings.Contains(e.stderr, quotaFullMessage):
		return history.Unknown, history.QuotaFull
	case strings.Contains(e.stderr, "with different terms"), strings.Contains(e.stderr, "with a different outcome"):
		return history.Fail, history.OtherTerms
	}
	return history.Unknown, ""
}

// runKoncli runs koncli. It is killed after killAfter, unless that is zero, and with ctx; at random it is paused for a while.
func (c *KoncliClient) runKoncli(ctx context.Context, killAfter time.Duration, args ...string) (processResult, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(c.env.Koncli, append([]string{"--kubeconfig=" + c.env.Kubeconfig, "--namespace=" + c.env.Namespace}, args...)...)
	cmd.Stdout, cmd.Stderr, cmd.Env = &stdout, &stderr, []string{"HOME=/nonexistent"}
	p, err := c.env.Processes.StartCommand("koncli", cmd)
	if err != nil {
		return processResult{}, err
	}
	limited, cancel := context.WithCancel(ctx)
	if killAfter > 0 {
		limited, cancel = context.WithTimeout(ctx, killAfter)
	}
	defer cancel()
	if c.oneIn(15) {
		Sleep(limited, c.randomDuration(10*time.Millisecond, 150*time.Millisecond))
		if err := p.Signal(syscall.SIGSTOP); err != nil {
			return processResult{}, err
		}
		Sleep(limited, c.randomDuration(100*time.Millisecond, 4*time.Second))
		if err := p.Signal(syscall.SIGCONT); err != nil {
			return processResult{}, err
		}
	}
	select {
	case <-p.Done():
	case <-limited.Done():
		if err := p.Signal(syscall.SIGKILL); err != nil {
			return processResult{}, err
		}
		<-p.Done()
	}
	return processResult{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}, nil
}

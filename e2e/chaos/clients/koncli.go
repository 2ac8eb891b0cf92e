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

// Koncli is a client that starts a koncli process for each thing it does, as scripts do.
type Koncli struct{ person }

// NewKoncli returns a client of that name whose decisions follow rng.
func NewKoncli(place *Place, name string, rng *rand.Rand) *Koncli {
	return &Koncli{person{place: place, name: name, rng: rng}}
}

// Run does random things until working is done. Everything ends with ctx.
func (c *Koncli) Run(ctx context.Context, working <-chan struct{}) error {
	for {
		if err := c.something(ctx); err != nil {
			return err
		}
		pass(ctx, c.between(50*time.Millisecond, 400*time.Millisecond))
		select {
		case <-working:
			return nil
		case <-ctx.Done():
			return nil
		default:
		}
	}
}

func (c *Koncli) something(ctx context.Context) error {
	if c.oneIn(5) {
		return c.meet(ctx)
	}
	r := c.decide()
	if c.oneIn(8) {
		// It goes away without a word: what it leaves behind must run out by itself.
		r.quitAfter = c.between(20*time.Millisecond, 700*time.Millisecond)
	}
	token, err := c.acquire(ctx, r)
	if err != nil {
		return err
	}
	if token == 0 {
		if r.quitAfter > 0 && c.oneIn(2) {
			// Another of the same name tidies up.
			return c.verb(ctx, r, history.Release, 0)
		}
		return nil
	}
	if c.oneIn(6) {
		// A restarted container asks again, and finds what it holds; or, when somebody has deleted its claim meanwhile, gets a
		// hold with a new token.
		if token, err = c.acquire(ctx, r); err != nil || token == 0 {
			return err
		}
	}
	c.work(ctx, r, token)
	if c.oneIn(3) {
		if err := c.verb(ctx, r, history.Renew, token); err != nil {
			return err
		}
		c.work(ctx, r, token)
	}
	if c.oneIn(20) {
		return nil // it forgets to release
	}
	return c.verb(ctx, r, history.Release, token)
}

// acquire returns the token, or 0.
func (c *Koncli) acquire(ctx context.Context, r request) (token int64, err error) {
	args := []string{strings.ToLower(r.kind), "acquire", r.name, "--holder=" + r.holder, "--ttl=" + r.ttl.String(), fmt.Sprintf("--priority=%d", r.priority)}
	if r.kind == konductorv1.KindSemaphore {
		args = append(args, fmt.Sprintf("--permits=%d", r.permits))
	}
	if r.noWait || r.timeout > 0 {
		args = append(args, "--timeout="+r.timeout.String())
	}
	pending := c.place.Recorder.Begin(r.op(c.name, c.place.Namespace))
	ended, err := c.run(ctx, r.quitAfter, args...)
	if err != nil {
		return 0, err
	}
	outcome, reason := ended.outcome()
	if ctx.Err() != nil {
		outcome, reason = history.Unknown, history.CutOff
	}
	if outcome == history.OK {
		if token, err = strconv.ParseInt(strings.TrimSpace(ended.stdout), 10, 64); err != nil {
			outcome, reason = history.Unknown, ""
		}
	}
	pending.End(outcome, reason, token, ended.stderr)
	return token, nil
}

// verb renews or releases.
func (c *Koncli) verb(ctx context.Context, r request, action history.Action, token int64) error {
	op := r.op(c.name, c.place.Namespace)
	op.Action = action
	pending := c.place.Recorder.Begin(op)
	ended, err := c.run(ctx, 0, strings.ToLower(r.kind), string(action), r.name, "--holder="+r.holder)
	if err != nil {
		return err
	}
	outcome, reason := ended.outcome()
	pending.End(outcome, reason, token, ended.stderr)
	return nil
}

// meet arrives at a barrier, or waits for it.
func (c *Koncli) meet(ctx context.Context) error {
	name := c.place.Barriers.pick(c.rng)
	if name == "" {
		return nil
	}
	op := history.Op{Client: c.name, Namespace: c.place.Namespace, Action: history.Arrive, Kind: konductorv1.KindBarrier, Object: name, Holder: c.name}
	args := []string{"barrier", "arrive", name, "--holder=" + c.name, "--timeout=2s"}
	if c.oneIn(3) {
		op.Action, op.Timeout, op.Holder = history.Wait, c.between(100*time.Millisecond, 4*time.Second), ""
		args = []string{"barrier", "wait", name, "--timeout=" + op.Timeout.String()}
	} else if c.oneIn(8) {
		op.AsFailed = true
		args = append(args, "--failed", "--reason=chance")
	}
	pending := c.place.Recorder.Begin(op)
	ended, err := c.run(ctx, 0, args...)
	if err != nil {
		return err
	}
	outcome, reason := ended.outcome()
	pending.End(outcome, reason, 0, ended.stderr)
	return nil
}

// ended is how a koncli process ended.
type ended struct {
	code           int // -1: by a signal
	stdout, stderr string
}

// outcome says what the exit code means.
func (e ended) outcome() (history.Outcome, string) {
	switch e.code {
	case 0:
		return history.OK, ""
	case 2:
		return history.Fail, history.Missing
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
	// Codes of their own these two don't have.
	switch {
	case strings.Contains(e.stderr, "refused the claim"):
		return history.Fail, history.Refused
	case strings.Contains(e.stderr, unheard):
		return history.Unknown, history.Unheard
	case strings.Contains(e.stderr, "on other terms"):
		return history.Fail, history.Terms
	}
	return history.Unknown, ""
}

// run runs koncli. It is killed after killAfter, unless that is zero, and with ctx; and now and then stopped for a while.
func (c *Koncli) run(ctx context.Context, killAfter time.Duration, args ...string) (ended, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(c.place.Koncli, append([]string{"--kubeconfig=" + c.place.Kubeconfig, "--namespace=" + c.place.Namespace}, args...)...)
	cmd.Stdout, cmd.Stderr, cmd.Env = &stdout, &stderr, []string{"HOME=/nonexistent"}
	p, err := c.place.Processes.StartCommand("koncli", cmd)
	if err != nil {
		return ended{}, err
	}
	limited, cancel := context.WithCancel(ctx)
	if killAfter > 0 {
		limited, cancel = context.WithTimeout(ctx, killAfter)
	}
	defer cancel()
	if c.oneIn(15) {
		pass(limited, c.between(10*time.Millisecond, 150*time.Millisecond))
		if err := p.Signal(syscall.SIGSTOP); err != nil {
			return ended{}, err
		}
		pass(limited, c.between(100*time.Millisecond, 4*time.Second))
		if err := p.Signal(syscall.SIGCONT); err != nil {
			return ended{}, err
		}
	}
	select {
	case <-p.Done():
	case <-limited.Done():
		if err := p.Signal(syscall.SIGKILL); err != nil {
			return ended{}, err
		}
		<-p.Done()
	}
	return ended{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}, nil
}

package clients

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"k8s.io/client-go/rest"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/e2e/chaos/history"
	"github.com/LogicIQ/konductor/e2e/internal/credentials"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// SDKClient is a client that uses the SDK in this process.
type SDKClient struct {
	randomClient
	config    *rest.Config
	client    *konductor.Client
	transport *faultyTransport
}

// NewSDKClient returns a client of that name whose decisions follow rng. Every other one is in a Pod.
func NewSDKClient(ctx context.Context, env *Env, name string, rng *rand.Rand) (*SDKClient, error) {
	c := &SDKClient{randomClient: randomClient{env: env, name: name, rng: rng}, config: env.Config}
	if c.oneIn(2) {
		var err error
		if c.config, err = credentials.ForNewPod(ctx, env.Kube, env.Config, env.Namespace, name); err != nil {
			return nil, err
		}
	}
	return c, c.restart()
}

// restart replaces the SDK client by a new one, as the restart of a process does.
func (c *SDKClient) restart() error {
	c.transport = &faultyTransport{
		rng: rand.New(rand.NewPCG(c.rng.Uint64(), c.rng.Uint64())), openBodies: map[*trackedBody]struct{}{},
	}
	if c.oneIn(3) {
		c.transport.responseLossRate = 0.03
	}
	transport := c.transport
	config := rest.CopyConfig(c.config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		transport.next = next
		return transport
	})
	var err error
	c.client, err = konductor.New(config, konductor.InNamespace(c.env.Namespace))
	return err
}

// Run does random actions until working is closed, and then acquires every object once more, to show that it is available.
// Everything ends with ctx.
func (c *SDKClient) Run(ctx context.Context, working <-chan struct{}) error {
	for over := false; !over; {
		if err := c.randomAction(ctx); err != nil {
			return err
		}
		Sleep(ctx, c.randomDuration(time.Millisecond, 60*time.Millisecond))
		select {
		case <-working:
			over = true
		case <-ctx.Done():
			over = true
		default:
		}
	}
	c.transport.reconnect()
	for _, name := range c.env.Leases {
		c.acquireAndRelease(ctx, c.finalRequest(konductorv1.KindLease, name))
	}
	for _, name := range sortedKeys(c.env.Semaphores) {
		c.acquireAndRelease(ctx, c.finalRequest(konductorv1.KindSemaphore, name))
	}
	return nil
}

func (c *SDKClient) randomAction(ctx context.Context) error {
	switch n := c.rng.IntN(100); {
	case n < 75:
		return c.acquireAndUse(ctx, c.randomRequest())
	case n < 90:
		c.arriveAtBarrier(ctx)
	default:
		c.waitForBarrier(ctx)
	}
	return nil
}

// acquireAndRelease acquires, works, and releases.
func (c *SDKClient) acquireAndRelease(ctx context.Context, r request) {
	if h := c.acquire(ctx, r); h != nil {
		c.doWork(ctx, r, h.Token())
		c.release(ctx, r, h)
	}
}

// acquireAndUse acquires and, if that succeeds, uses the hold in a random way.
func (c *SDKClient) acquireAndUse(ctx context.Context, r request) error {
	h := c.acquire(ctx, r)
	if h == nil {
		return nil
	}
	switch c.rng.IntN(40) {
	case 0:
		// The network fails for longer than the hold can last.
		c.transport.disconnect()
		<-h.Lost()
		if c.oneIn(2) {
			c.transport.reconnect()
			c.release(ctx, r, h)
			return nil
		}
		// The client restarts, and leaves the claim behind.
		c.recordLastRenewal(r, h)
		return c.restart()
	case 1:
		// The work takes longer than the TTL, so that the hold must be renewed.
		longer := r.ttl + c.randomDuration(0, r.ttl)
		timer := time.NewTimer(longer)
		select {
		case <-timer.C:
		case <-h.Lost():
			timer.Stop()
		}
		c.doWork(ctx, r, h.Token())
	default:
		c.doWork(ctx, r, h.Token())
	}
	c.release(ctx, r, h)
	return nil
}

func (c *SDKClient) acquire(ctx context.Context, r request) *konductor.Hold {
	opts := konductor.AcquireLeaseOptions{konductor.WithHolder(r.holder), konductor.WithTTL(r.ttl), konductor.WithPriority(r.priority)}
	if r.noWait || r.timeout > 0 {
		opts = append(opts, konductor.WithTimeout(r.timeout))
	}
	bounded, cancel := context.WithCancel(ctx)
	if r.cancelAfter > 0 {
		bounded, cancel = context.WithTimeoutCause(ctx, r.cancelAfter, context.Canceled)
	}
	c.transport.resetLastRenewal()
	pending := c.env.Recorder.Begin(r.toOp(c.name, c.env.Namespace))
	var h *konductor.Hold
	var err error
	if r.kind == konductorv1.KindSemaphore {
		h, err = c.client.AcquireSemaphore(bounded, r.name, opts, konductor.WithPermits(r.permits))
	} else {
		h, err = c.client.AcquireLease(bounded, r.name, opts)
	}
	if err != nil {
		cancel()
		outcome, reason := c.classifyError(err)
		if ctx.Err() != nil {
			outcome, reason = history.Unknown, history.Interrupted
		}
		pending.Complete(outcome, reason, 0, err.Error())
		return nil
	}
	pending.Complete(history.OK, "", h.Token(), "")
	// The hold outlives the call's context; cancel only ends that.
	context.AfterFunc(h.Context(), cancel)
	return h
}

// release releases the hold and records when it was last renewed.
func (c *SDKClient) release(ctx context.Context, r request, h *konductor.Hold) {
	c.recordLastRenewal(r, h)
	op := r.toOp(c.name, c.env.Namespace)
	op.Action = history.Release
	pending := c.env.Recorder.Begin(op)
	if err := h.Release(ctx); err != nil {
		outcome, reason := c.classifyError(err)
		pending.Complete(outcome, reason, h.Token(), err.Error())
		return
	}
	pending.Complete(history.OK, "", h.Token(), "")
}

// recordLastRenewal records when the last successful renewal was sent: the TTL counts from there.
func (c *SDKClient) recordLastRenewal(r request, h *konductor.Hold) {
	at := c.transport.lastRenewal()
	if at.IsZero() {
		return
	}
	op := r.toOp(c.name, c.env.Namespace)
	op.Action, op.Invoke, op.Return, op.Outcome, op.Token = history.Renew, c.env.Recorder.TimeOf(at), c.env.Recorder.Elapsed(), history.OK, h.Token()
	c.env.Recorder.Add(op)
}

// classifyError returns the outcome and the reason that an error stands for.
func (c *SDKClient) classifyError(err error) (history.Outcome, string) {
	for reason, is := range map[string]func() bool{
		history.Busy:       isErrorType[*konductor.BusyError](err),
		history.TimedOut:   isErrorType[*konductor.TimeoutError](err),
		history.Refused:    isErrorType[*konductor.RefusedError](err),
		history.NotFound:   isErrorType[*konductor.NotFoundError](err),
		history.OtherTerms: isErrorType[*konductor.TermsError](err),
		history.Lost:       isErrorType[*konductor.LostError](err),
		history.Failed:     isErrorType[*konductor.FailedError](err),
	} {
		if is() {
			return history.Fail, reason
		}
	}
	if errors.Is(err, context.Canceled) {
		return history.Unknown, history.Cancelled
	}
	if strings.Contains(err.Error(), noOperatorMessage) {
		return history.Unknown, history.NoOperator
	}
	if isErrorType[*konductor.ForbiddenError](err)() && strings.Contains(err.Error(), quotaFullMessage) {
		return history.Unknown, history.QuotaFull
	}
	return history.Unknown, ""
}

// noOperatorMessage is part of the error of a no-wait acquire to which no operator has responded.
const noOperatorMessage = " has answered the claim on "

// quotaFullMessage is part of the error of a no-wait acquire that exceeds a quota.
const quotaFullMessage = "exceeded quota"

func isErrorType[E error](err error) func() bool {
	return func() bool {
		var e E
		return errors.As(err, &e)
	}
}

// arriveAtBarrier arrives at a barrier under the client's own name, sometimes twice, sometimes with a hand-made Arrival as well.
func (c *SDKClient) arriveAtBarrier(ctx context.Context) {
	name := c.env.Barriers.pickRecent(c.rng)
	if name == "" {
		return
	}
	failed := c.oneIn(8)
	for range 1 + c.rng.IntN(2) {
		opts := []konductor.ArriveOption{konductor.WithHolder(c.name), konductor.WithTimeout(2 * time.Second)}
		if failed {
			opts = append(opts, konductor.AsFailed("chance"))
		}
		pending := c.env.Recorder.Begin(history.Op{
			Client: c.name, Namespace: c.env.Namespace, Action: history.Arrive, Kind: konductorv1.KindBarrier, Object: name,
			Holder: c.name, AsFailed: failed,
		})
		c.recordResult(pending, c.client.ArriveBarrier(ctx, name, opts...))
	}
	if c.oneIn(3) {
		c.createDuplicateArrival(ctx, name, c.name, failed)
	}
}

func (c *SDKClient) waitForBarrier(ctx context.Context) {
	name := c.env.Barriers.pickRecent(c.rng)
	if name == "" {
		return
	}
	timeout := c.randomDuration(100*time.Millisecond, 4*time.Second)
	pending := c.env.Recorder.Begin(history.Op{
		Client: c.name, Namespace: c.env.Namespace, Action: history.Wait, Kind: konductorv1.KindBarrier, Object: name, Timeout: timeout,
	})
	c.recordResult(pending, c.client.WaitBarrier(ctx, name, konductor.WithTimeout(timeout)))
}

func (c *SDKClient) recordResult(pending *history.PendingOp, err error) {
	if err == nil {
		pending.Complete(history.OK, "", 0, "")
		return
	}
	outcome, reason := c.classifyError(err)
	pending.Complete(outcome, reason, 0, fmt.Sprint(err))
}

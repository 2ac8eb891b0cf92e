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
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// SDK is a client that uses the SDK in this process.
type SDK struct {
	person
	config *rest.Config
	client *konductor.Client
	line   *line
}

// NewSDK returns a client of that name whose decisions follow rng. Every other one is in a Pod.
func NewSDK(ctx context.Context, place *Place, name string, rng *rand.Rand) (*SDK, error) {
	c := &SDK{person: person{place: place, name: name, rng: rng}, config: place.Config}
	if c.oneIn(2) {
		var err error
		if c.config, err = place.inPod(ctx, name); err != nil {
			return nil, err
		}
	}
	return c, c.connect()
}

// connect makes the client anew, as a process that starts does.
func (c *SDK) connect() error {
	c.line = &line{
		rng: rand.New(rand.NewPCG(c.rng.Uint64(), c.rng.Uint64())), open: map[*stream]struct{}{},
	}
	if c.oneIn(3) {
		c.line.loss = 0.03
	}
	line := c.line
	config := rest.CopyConfig(c.config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		line.next = next
		return line
	})
	var err error
	c.client, err = konductor.New(config, konductor.InNamespace(c.place.Namespace))
	return err
}

// Run does random things until working is done, and then acquires everything there is once more, to show that it can be
// had. Everything ends with ctx.
func (c *SDK) Run(ctx context.Context, working <-chan struct{}) error {
	for over := false; !over; {
		if err := c.something(ctx); err != nil {
			return err
		}
		pass(ctx, c.between(time.Millisecond, 60*time.Millisecond))
		select {
		case <-working:
			over = true
		case <-ctx.Done():
			over = true
		default:
		}
	}
	c.line.mend()
	for _, name := range c.place.Leases {
		c.once(ctx, c.wants(konductorv1.KindLease, name))
	}
	for _, name := range sorted(c.place.Semaphores) {
		c.once(ctx, c.wants(konductorv1.KindSemaphore, name))
	}
	return nil
}

func (c *SDK) something(ctx context.Context) error {
	switch n := c.rng.IntN(100); {
	case n < 75:
		return c.hold(ctx, c.decide())
	case n < 90:
		c.arrive(ctx)
	default:
		c.wait(ctx)
	}
	return nil
}

// once acquires, works, and gives back.
func (c *SDK) once(ctx context.Context, r request) {
	if h := c.acquire(ctx, r); h != nil {
		c.work(ctx, r, h.Token())
		c.release(ctx, r, h)
	}
}

// hold acquires and, if that succeeds, does with the hold what chance says.
func (c *SDK) hold(ctx context.Context, r request) error {
	h := c.acquire(ctx, r)
	if h == nil {
		return nil
	}
	switch c.rng.IntN(40) {
	case 0:
		// The network fails for longer than the hold can last.
		c.line.cut()
		<-h.Lost()
		if c.oneIn(2) {
			c.line.mend()
			c.release(ctx, r, h)
			return nil
		}
		// It comes back as another process, and the claim is left behind.
		c.renewals(r, h)
		return c.connect()
	case 1:
		// A long piece of work, for which the hold must be renewed.
		longer := r.ttl + c.between(0, r.ttl)
		timer := time.NewTimer(longer)
		select {
		case <-timer.C:
		case <-h.Lost():
			timer.Stop()
		}
		c.work(ctx, r, h.Token())
	default:
		c.work(ctx, r, h.Token())
	}
	c.release(ctx, r, h)
	return nil
}

func (c *SDK) acquire(ctx context.Context, r request) *konductor.Hold {
	opts := []konductor.Option{konductor.WithHolder(r.holder), konductor.WithTTL(r.ttl), konductor.WithPriority(r.priority)}
	call := c.client.AcquireLease
	if r.kind == konductorv1.KindSemaphore {
		call, opts = c.client.AcquireSemaphore, append(opts, konductor.WithPermits(r.permits))
	}
	if r.noWait || r.timeout > 0 {
		opts = append(opts, konductor.WithTimeout(r.timeout))
	}
	bounded, cancel := context.WithCancel(ctx)
	if r.quitAfter > 0 {
		bounded, cancel = context.WithTimeoutCause(ctx, r.quitAfter, context.Canceled)
	}
	c.line.forget()
	pending := c.place.Recorder.Begin(r.op(c.name, c.place.Namespace))
	h, err := call(bounded, r.name, opts...)
	if err != nil {
		cancel()
		outcome, reason := c.outcome(err)
		if ctx.Err() != nil {
			outcome, reason = history.Unknown, history.CutOff
		}
		pending.End(outcome, reason, 0, err.Error())
		return nil
	}
	pending.End(history.OK, "", h.Token(), "")
	// The hold outlives the end of the call's context, and cancel only ends that.
	context.AfterFunc(h.Context(), cancel)
	return h
}

// release gives back, and says when the hold was last renewed.
func (c *SDK) release(ctx context.Context, r request, h *konductor.Hold) {
	c.renewals(r, h)
	op := r.op(c.name, c.place.Namespace)
	op.Action = history.Release
	pending := c.place.Recorder.Begin(op)
	if err := h.Release(ctx); err != nil {
		outcome, reason := c.outcome(err)
		pending.End(outcome, reason, h.Token(), err.Error())
		return
	}
	pending.End(history.OK, "", h.Token(), "")
}

// renewals records when the last renewal was sent that is known to have succeeded: from then on the hold counts.
func (c *SDK) renewals(r request, h *konductor.Hold) {
	at := c.line.lastRenewal()
	if at.IsZero() {
		return
	}
	op := r.op(c.name, c.place.Namespace)
	op.Action, op.Invoke, op.Return, op.Outcome, op.Token = history.Renew, c.place.Recorder.At(at), c.place.Recorder.Now(), history.OK, h.Token()
	c.place.Recorder.Add(op)
}

// outcome says what an error means.
func (c *SDK) outcome(err error) (history.Outcome, string) {
	for reason, is := range map[string]func() bool{
		history.Busy:     is[*konductor.BusyError](err),
		history.TimedOut: is[*konductor.TimeoutError](err),
		history.Refused:  is[*konductor.RefusedError](err),
		history.Missing:  is[*konductor.NotFoundError](err),
		history.Terms:    is[*konductor.TermsError](err),
		history.Lost:     is[*konductor.LostError](err),
		history.Failed:   is[*konductor.FailedError](err),
	} {
		if is() {
			return history.Fail, reason
		}
	}
	if errors.Is(err, context.Canceled) {
		return history.Unknown, history.Cancelled
	}
	if strings.Contains(err.Error(), unheard) {
		return history.Unknown, history.Unheard
	}
	return history.Unknown, ""
}

// unheard is part of what an acquire says that must not wait and that no operator has answered.
const unheard = " has answered the claim on "

func is[E error](err error) func() bool {
	return func() bool {
		var e E
		return errors.As(err, &e)
	}
}

// arrive arrives at a barrier under the client's own name, perhaps twice, perhaps by hand as well.
func (c *SDK) arrive(ctx context.Context) {
	name := c.place.Barriers.pick(c.rng)
	if name == "" {
		return
	}
	failed := c.oneIn(8)
	for range 1 + c.rng.IntN(2) {
		opts := []konductor.Option{konductor.WithHolder(c.name), konductor.WithTimeout(2 * time.Second)}
		if failed {
			opts = append(opts, konductor.AsFailed("chance"))
		}
		pending := c.place.Recorder.Begin(history.Op{
			Client: c.name, Namespace: c.place.Namespace, Action: history.Arrive, Kind: konductorv1.KindBarrier, Object: name,
			Holder: c.name, AsFailed: failed,
		})
		c.end(pending, c.client.ArriveBarrier(ctx, name, opts...))
	}
	if c.oneIn(3) {
		c.duplicate(ctx, name, c.name, failed)
	}
}

func (c *SDK) wait(ctx context.Context) {
	name := c.place.Barriers.pick(c.rng)
	if name == "" {
		return
	}
	timeout := c.between(100*time.Millisecond, 4*time.Second)
	pending := c.place.Recorder.Begin(history.Op{
		Client: c.name, Namespace: c.place.Namespace, Action: history.Wait, Kind: konductorv1.KindBarrier, Object: name, Timeout: timeout,
	})
	c.end(pending, c.client.WaitBarrier(ctx, name, konductor.WithTimeout(timeout)))
}

func (c *SDK) end(pending *history.Pending, err error) {
	if err == nil {
		pending.End(history.OK, "", 0, "")
		return
	}
	outcome, reason := c.outcome(err)
	pending.End(outcome, reason, 0, fmt.Sprint(err))
}

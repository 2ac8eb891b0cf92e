package konductor

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

const (
	// Requests are repeated while the API server is out of reach, with growing pauses.
	firstPause, longestPause = 50 * time.Millisecond, 2 * time.Second
	// longestWhenBusy is the longest pause when the API server says that it has too much to do.
	longestWhenBusy = 16 * time.Second
	// firstContact is how long a call tries to reach an API server that has never answered this Client. After the first
	// answer it tries for ever: a server that was there comes back.
	firstContact = 30 * time.Second
	// rolesRead is how long an API server that does not say that it is ready may take to know our rights.
	rolesRead = 15 * time.Second
	// operatorAnswers is after which time without any sign of an operator people are told so.
	operatorAnswers = 5 * time.Second
)

// errTimeout is the cause of a context that ended by WithTimeout.
var errTimeout = errors.New("timeout")

// bounded returns ctx limited by the call's timeout. A timeout of zero is not a limit in time: such a call looks once.
func (o *options) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if !o.hasTimeout || o.timeout == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, o.timeout, errTimeout)
}

// lookOnce reports whether the call must not wait.
func (o *options) lookOnce() bool { return o.hasTimeout && o.timeout == 0 }

// ended returns the error of a call whose context has ended.
func (o *options) ended(ctx context.Context, object, status string) error {
	if errors.Is(context.Cause(ctx), errTimeout) {
		return &TimeoutError{Object: object, Timeout: o.timeout, Status: status}
	}
	return fmt.Errorf("waiting for %s: %w", object, context.Cause(ctx))
}

// backoff is the pause between tries, and how long there have been none that succeeded.
type backoff struct {
	pause   time.Duration
	since   time.Time
	refused time.Time // since when we are refused; zero: we are not
	ready   bool      // the API server was ready after it had refused us
	told    string    // the trouble that people have been told of
}

// passes reports whether the same request may succeed later. An API server that has just started refuses everybody
// until it has read the roles, so a refusal counts when it comes from one that was ready before, or for long enough.
func (b *backoff) passes(ctx context.Context, c *Client, err error) bool {
	if !refused(err) {
		b.ready, b.refused = false, time.Time{}
		return passing(err)
	}
	if b.ready {
		return false
	}
	if b.refused.IsZero() {
		b.refused = time.Now()
	}
	b.ready = c.serverReady(ctx) || time.Since(b.refused) > rolesRead
	return true
}

// serverReady reports whether the API server says that it is ready. Everybody may ask that, unless roles that every
// cluster has are not read yet or have been taken away.
func (c *Client) serverReady(ctx context.Context) bool {
	status := 0
	c.server.Get().AbsPath("/readyz").Do(ctx).StatusCode(&status)
	return status == http.StatusOK
}

// wait pauses before the next try. It returns err itself when it is no use to try again.
func (b *backoff) wait(ctx context.Context, c *Client, err error) error {
	if b.ready {
		// What the server, ready as it is, says now is its last word. Later it could be another that starts.
		return nil
	}
	if b.since.IsZero() {
		b.since, b.pause = time.Now(), firstPause
	}
	if !c.contacted.Load() && time.Since(b.since) > firstContact {
		return fmt.Errorf("can't reach the API server: %w", err)
	}
	if b.pause >= longestPause && b.told != err.Error() {
		b.told = err.Error()
		trouble := "can't be reached"
		if refused(err) {
			trouble = "refuses it and may only be starting"
		}
		c.notify(fmt.Sprintf("the API server %s, trying again: %v", trouble, err))
	}
	longest := longestPause
	if apierrors.IsTooManyRequests(err) {
		// The server has more to do than it can. Were all to come back when it suggests, in a second, they would keep it busy
		// with turning them away: so each time half of them come later.
		longest = longestWhenBusy
		if hint, ok := apierrors.SuggestsClientDelay(err); ok {
			b.pause = max(b.pause, min(2*time.Duration(hint)*time.Second, longest))
		}
	}
	pause := b.pause/2 + rand.N(b.pause/2)
	if deadline, ok := ctx.Deadline(); ok {
		// Who has little time, to renew a hold, say, tries more often.
		pause = max(min(pause, time.Until(deadline)/4), firstPause)
	}
	b.pause = min(2*b.pause, longest)
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// succeeded takes note that the API server answers.
func (b *backoff) succeeded(c *Client) {
	*b = backoff{}
	c.contacted.Store(true)
}

// retry makes a request until it succeeds or fails for good.
func (c *Client) retry(ctx context.Context, request func() error) error {
	var b backoff
	for {
		err := request()
		if err != nil && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err == nil {
			b.succeeded(c)
		}
		if err == nil || !b.passes(ctx, c, err) {
			return err
		}
		if err := b.wait(ctx, c, err); err != nil {
			return err
		}
	}
}

// object is one of the API types, or a part of one.
type object interface {
	GetName() string
	GetUID() types.UID
	GetResourceVersion() string
}

// followable is an object that can be followed: a pointer.
type followable interface {
	object
	comparable
}

// follow shows see the object of that name as it is, and then each change to it, until see is done. It is shown nil
// when the object doesn't exist. The state it begins with is a consistent read and no change after that is missed,
// though several quick ones may be shown as one.
func follow[T followable](ctx context.Context, c *Client, r reader[T], name string, see func(T) (done bool, err error)) error {
	return followFrom(ctx, c, r, name, "", see)
}

// followFrom does the same from a revision on whose state the caller knows already.
func followFrom[T followable](ctx context.Context, c *Client, r reader[T], name, revision string, see func(T) (done bool, err error)) error {
	f := newFollower(c, r, name, revision)
	defer f.stop()
	return f.follow(ctx, see)
}

// follower follows one object. What it has seen it doesn't look at again, and a watch that is open stays so when it goes
// on to be followed by somebody else.
type follower[T followable] struct {
	client   *Client
	resource reader[T]
	name     string
	options  metav1.ListOptions
	see      func(T) (bool, error)
	backoff  backoff
	revision string // from where to watch on; empty: look first
	old      bool   // the revision to watch from was too old, so that a list has to give a new one

	open   *changes[T]        // nil: none
	cancel context.CancelFunc // of the request behind it
}

func newFollower[T followable](c *Client, r reader[T], name, revision string) *follower[T] {
	f := &follower[T]{client: c, resource: r, name: name, revision: revision}
	f.options.FieldSelector = fields.OneTermEqualSelector("metadata.name", name).String()
	return f
}

// follow shows see the object until see is done.
func (f *follower[T]) follow(ctx context.Context, see func(T) (done bool, err error)) error {
	if f.name == "" {
		return errNoName
	}
	f.see = see
	for {
		done, err := f.once(ctx)
		if done {
			return err
		}
		f.stop()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		switch {
		case err == nil, expired(err):
			// The server ends every watch after a while. Go on at once.
		case !f.backoff.passes(ctx, f.client, err):
			return err
		default:
			if err := f.backoff.wait(ctx, f.client, err); err != nil {
				return err
			}
		}
	}
}

// stop ends the watch, if one is open.
func (f *follower[T]) stop() {
	if f.open != nil {
		f.cancel()
		f.open.close()
		f.open, f.cancel = nil, nil
	}
}

// once looks, unless it can go on from where it was, and watches until the connection ends.
func (f *follower[T]) once(ctx context.Context) (done bool, err error) {
	if f.revision == "" {
		if done, err = f.look(ctx); done || err != nil {
			return done, err
		}
	}
	if f.open == nil {
		if err := f.watch(ctx); err != nil {
			return false, err
		}
	}
	interrupt := context.AfterFunc(ctx, f.cancel)
	defer interrupt()
	for {
		kind, obj, err := f.open.next()
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		if errors.As(err, &endOfWatch{}) {
			return false, nil
		}
		if done, err = f.event(kind, obj, err); done || err != nil {
			return done, err
		}
	}
}

// watch opens a watch, which then doesn't end with ctx but when it is stopped.
func (f *follower[T]) watch(ctx context.Context) error {
	opts := f.options
	opts.ResourceVersion, opts.AllowWatchBookmarks = f.revision, true
	request, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, cancel)
	w, err := f.resource.watch(request, opts)
	stop()
	if err != nil {
		cancel()
		if expired(err) {
			f.revision, f.old = "", true
		}
		return err
	}
	f.open, f.cancel = w, cancel
	f.backoff.succeeded(f.client)
	return nil
}

// look reads the object. A get is answered from what is stored; a list has to wait until the API server's cache has caught
// up with the last write to anything at all, which takes up to 100 ms. So it is listed only for the revision to watch
// from, when the object doesn't exist or was last written too long ago.
func (f *follower[T]) look(ctx context.Context) (done bool, err error) {
	if f.old {
		return f.list(ctx)
	}
	obj, err := f.resource.get(ctx, f.name)
	if apierrors.IsNotFound(err) {
		return f.list(ctx)
	}
	if err != nil {
		return false, err
	}
	f.backoff.succeeded(f.client)
	if done, err = f.see(obj); done || err != nil {
		return true, err
	}
	f.revision = obj.GetResourceVersion()
	return false, nil
}

func (f *follower[T]) list(ctx context.Context) (done bool, err error) {
	objects, revision, err := f.resource.list(ctx, f.options)
	if err != nil {
		return false, err
	}
	f.backoff.succeeded(f.client)
	var obj T
	if len(objects) > 0 {
		obj = objects[0]
	}
	if done, err = f.see(obj); done || err != nil {
		return true, err
	}
	f.revision, f.old = revision, false
	return false, nil
}

func (f *follower[T]) event(kind watch.EventType, obj T, err error) (done bool, _ error) {
	if err != nil {
		// Whatever it is, a new list puts us right.
		f.revision, f.old = "", true
		return false, err
	}
	f.revision = obj.GetResourceVersion()
	if kind == watch.Bookmark {
		return false, nil
	}
	if kind == watch.Deleted {
		var none T
		obj = none
	}
	if done, err = f.see(obj); done || err != nil {
		return true, err
	}
	return false, nil
}

// expired reports whether the revision to watch from is too old, so that a new list is needed.
func expired(err error) bool {
	return apierrors.IsResourceExpired(err) || apierrors.IsGone(err)
}

// waitFor follows an object until settled says that the wait is over. It is what all waits of the package have in
// common: the timeout, objects that don't exist yet, and objects that are deleted.
func waitFor[T followable](ctx context.Context, c *Client, r reader[T], kind, name string, o options, settled func(T) (done bool, status string, err error)) error {
	ctx, cancel := o.bounded(ctx)
	defer cancel()
	var none T
	var seen types.UID
	told := false
	status := ""
	err := follow(ctx, c, r, name, func(obj T) (bool, error) {
		// After a long loss of connection its deletion may show only by another in its place.
		if obj == none || (seen != "" && obj.GetUID() != seen) {
			missing := &NotFoundError{Kind: kind, Name: name, Namespace: c.namespace, Deleted: seen != ""}
			if seen != "" || o.failIfMissing || o.lookOnce() {
				return true, missing
			}
			status = "it does not exist"
			if !told {
				told = true
				c.notify(fmt.Sprintf("waiting for %s to be created in namespace %s", ref(kind, name), c.namespace))
			}
			return false, nil
		}
		seen = obj.GetUID()
		done, now, err := settled(obj)
		status = now
		if !done && err == nil && o.lookOnce() {
			return true, &TimeoutError{Object: ref(kind, name), Status: status}
		}
		return done || err != nil, err
	})
	if err != nil && ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
		return o.ended(ctx, ref(kind, name), status)
	}
	return c.explain(err, "get,list,watch", plural(kind), name)
}

// waitOpen waits until a Barrier or Gate is open.
func (c *Client) waitOpen(ctx context.Context, kind, name string, opts []Option) error {
	watchdog := c.watchOperator(ref(kind, name))
	defer watchdog.stop()
	return waitFor(ctx, c, c.objects.openables[kind], kind, name, collect(opts), func(obj *openable) (done bool, status string, err error) {
		now := &obj.Status
		watchdog.see(now.ObservedGeneration > 0)
		if open := meta.FindStatusCondition(now.Conditions, konductorv1.ConditionOpen); open != nil {
			status = open.Message
		}
		ended := now.Phase == konductorv1.GateFailed || now.Phase == konductorv1.GateTimeout
		// A failure that speaks of a former spec is not believed: the timeout may just have been raised.
		if ended && obj.Generation == now.ObservedGeneration {
			return true, status, &FailedError{Object: ref(kind, name), Phase: string(now.Phase), Message: status}
		}
		return now.Phase == konductorv1.GateOpen, status, nil
	})
}

// plural returns the resource of a konductor kind, as RBAC names it.
func plural(kind string) string {
	return map[string]string{
		"Barrier": "barriers", "Gate": "gates", "Lease": "leases", "Semaphore": "semaphores", "Claim": "claims", "Arrival": "arrivals",
	}[kind] + ".konductor.io"
}

package konductor

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/LogicIQ/konductor/internal/apiclient"
)

// This file is the rule by which every call decides which failures end it and which it waits out: waiting, acquiring,
// holding, arriving, renewing and releasing. docs/outages.md describes the same rule for users.
//
// Before first contact, which is the first request that the API server has carried out for this Client, a call tries for a
// limited time: the address, the certificate authority or the credentials may simply be wrong. After it, only a definite
// answer ends a call. Everything else is retried for as long as the caller waits or the hold lasts.

const (
	// firstContactTimeout is how long a call tries to reach an API server that has never answered this Client;
	// interactiveContactTimeout is the same for modeInteractive.
	firstContactTimeout, interactiveContactTimeout = 30 * time.Second, 10 * time.Second
	// forbiddenGraceBeforeContact is how long refusals (401, 403) must last to end a call of a Client that has never been
	// allowed anything; forbiddenGraceAfterContact is the same for one that has: roles are replaced and tokens rotated
	// within seconds.
	forbiddenGraceBeforeContact, forbiddenGraceAfterContact = 5 * time.Second, 30 * time.Second
	// rbacSyncTimeout is how much longer refusals are waited out if the API server does not say that it is ready: it may
	// not have loaded the roles yet.
	rbacSyncTimeout = 15 * time.Second
	// initialBackoff and maxBackoff are the shortest and longest delay between attempts. The delay doubles each time.
	initialBackoff, maxBackoff = 50 * time.Millisecond, 2 * time.Second
	// maxBackoffWhenThrottled is the longest delay if the API server says that it is overloaded (429); maxRewatchBackoff is
	// the longest between watches that end as soon as they have begun.
	maxBackoffWhenThrottled, maxRewatchBackoff = 16 * time.Second, 5 * time.Second
	// defaultRequestTimeout is how long one request may take before it is sent again, unless the Client's config sets a
	// timeout. It doubles after each timeout, up to maxRequestTimeout.
	defaultRequestTimeout, maxRequestTimeout = 30 * time.Second, 2 * time.Minute
	// watchIdleTimeout is how long a watch may be silent, without even a bookmark, before it is considered broken. The API
	// server sends a bookmark each minute.
	watchIdleTimeout = 75 * time.Second
	// minStableWatch is how long a watch must have lasted for its end to count as normal.
	minStableWatch = 10 * time.Second
	// outageNotifyDelay is how long an outage must have lasted before people are notified.
	outageNotifyDelay = 2 * time.Second
	// inFlightWriteTimeout is how long a write whose answer was lost may still be carried out.
	inFlightWriteTimeout = 10 * time.Second
)

// retryMode is what a call waits out.
type retryMode int

const (
	// The zero value is for calls that wait, acquire, arrive, renew or release.
	_ retryMode = iota
	// modeInteractive is for calls that read, or change something, for a person: they don't wait out a refusal.
	modeInteractive
	// modeHolding is for watching a hold: only the end of the hold ends it.
	modeHolding
)

// backoff decides after each failed attempt whether to try again, and delays the next one.
type backoff struct {
	client      *Client
	mode        retryMode
	nonBlocking bool // a full quota is not waited out

	delay              time.Duration
	firstFailure       time.Time // zero: no failure yet
	forbiddenSince     time.Time // since when the answers are 401 or 403; zero: they are not
	forbiddenConfirmed bool      // the API server was ready after it had refused for long enough
	requestTimeouts    int       // attempts that timed out; counts to 2
	quotaNotified      bool      // people were notified that a quota is full
	inOutage           bool      // counted in the Client's outage
}

// backOffOrFail returns nil, after a delay, if the request is to be sent again, and otherwise the error to end the call
// with. The caller's context has not ended.
func (b *backoff) backOffOrFail(ctx context.Context, err error) error {
	if b.firstFailure.IsZero() {
		b.firstFailure, b.delay = time.Now(), initialBackoff
	}
	if errors.Is(err, context.DeadlineExceeded) {
		b.requestTimeouts = min(b.requestTimeouts+1, 2)
	}
	class := classifyError(err)
	if class == classPermanent {
		b.recordContact()
	}
	if class != classForbidden {
		b.forbiddenConfirmed, b.forbiddenSince = false, time.Time{}
	}
	if b.mode == modeHolding {
		return b.sleep(ctx, err)
	}
	switch class {
	case classPermanent:
		b.leaveOutage()
		return err
	case classForbidden:
		if b.forbiddenConfirmed {
			b.leaveOutage()
			return err
		}
		b.confirmForbidden(ctx)
		if b.forbiddenConfirmed {
			// Send the request again at once: the server is ready, so its next answer is final. Later it could be another
			// that starts.
			return nil
		}
	case classQuotaExceeded:
		b.recordContact()
		if b.nonBlocking {
			b.leaveOutage()
			return err
		}
		if !b.quotaNotified {
			b.quotaNotified = true
			b.client.notify("waiting until the quota has room: " + causeText(err))
		}
		return b.sleep(ctx, err)
	case classTransient:
		if limit := b.contactTimeout(); !b.client.contacted.Load() && time.Since(b.firstFailure) > limit {
			b.leaveOutage()
			return fmt.Errorf("can't reach the API server at %s, tried for %s: %w", b.client.serverHost, limit, withoutURL(err))
		}
	}
	return b.sleep(ctx, err)
}

func (b *backoff) contactTimeout() time.Duration {
	if b.mode == modeInteractive {
		return interactiveContactTimeout
	}
	return firstContactTimeout
}

// confirmForbidden decides whether the next refusal is final. An API server that has just started refuses everybody until
// it has loaded the roles.
func (b *backoff) confirmForbidden(ctx context.Context) {
	if b.forbiddenSince.IsZero() {
		b.forbiddenSince = time.Now()
	}
	grace := forbiddenGraceBeforeContact
	switch {
	case b.mode == modeInteractive:
		grace = 0
	case b.client.contacted.Load():
		grace = forbiddenGraceAfterContact
	}
	lasted := time.Since(b.forbiddenSince)
	b.forbiddenConfirmed = lasted >= grace && (b.client.isServerReady(ctx) || lasted > grace+rbacSyncTimeout)
}

// sleep delays the next attempt.
func (b *backoff) sleep(ctx context.Context, err error) error {
	// A Client that is refused from the beginning soon gets the refusal as an error.
	failsSoon := classifyError(err) == classForbidden && !b.client.contacted.Load()
	if time.Since(b.firstFailure) >= outageNotifyDelay && !b.quotaNotified && !failsSoon {
		b.notifyOutage(err)
	}
	longest := maxBackoff
	if apierrors.IsTooManyRequests(err) {
		// The server is overloaded. If all clients came back when it suggests, in a second, it would be busy rejecting
		// them. So their delays spread, and each time half of the clients come later.
		longest = maxBackoffWhenThrottled
		if hint, ok := apierrors.SuggestsClientDelay(err); ok {
			b.delay = max(b.delay, min(2*time.Duration(hint)*time.Second, longest))
		}
	}
	pause := b.delay
	if deadline, ok := ctx.Deadline(); ok {
		// A call with little time left, a renewal for example, tries more often.
		pause = max(min(pause, time.Until(deadline)/4), initialBackoff)
	}
	b.delay = min(2*b.delay, longest)
	if err := sleepWithJitter(ctx, pause); err != nil {
		b.leaveOutage()
		return err
	}
	return nil
}

// sleepWithJitter waits between half of about and about, at random, so that clients that wait for the same don't all come
// at once.
func sleepWithJitter(ctx context.Context, about time.Duration) error {
	timer := time.NewTimer(about/2 + rand.N(about/2))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return endError(ctx)
	}
}

// recordContact records that the API server has answered this Client.
func (b *backoff) recordContact() { b.client.contacted.Store(true) }

// recordSuccess records that the request was carried out, and resets the backoff.
func (b *backoff) recordSuccess() {
	b.recordContact()
	if b.inOutage {
		b.client.outages.removeCall(b.client.notify, true)
	}
	*b = backoff{client: b.client, mode: b.mode, nonBlocking: b.nonBlocking, quotaNotified: b.quotaNotified}
}

// leaveOutage records that the call ends without having succeeded.
func (b *backoff) leaveOutage() {
	if b.inOutage {
		b.inOutage = false
		b.client.outages.removeCall(b.client.notify, false)
	}
}

// notifyOutage notifies people once of an outage, however many calls of the Client it affects.
func (b *backoff) notifyOutage(err error) {
	if b.inOutage {
		return
	}
	b.inOutage = true
	trouble := "can't be reached"
	if classifyError(err) != classTransient {
		trouble = "refuses the request (it may still be starting, or roles are being replaced)"
	}
	b.client.outages.addCall(b.firstFailure, b.client.notify, fmt.Sprintf("the API server %s, trying again: %s", trouble, causeText(err)))
}

// withRequestTimeout returns ctx limited to the time that one request may take.
func (b *backoff) withRequestTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	limit := b.client.requestTimeout
	if limit == 0 {
		limit = min(defaultRequestTimeout<<b.requestTimeouts, maxRequestTimeout)
	}
	return context.WithTimeout(ctx, limit)
}

// retry sends a request until it succeeds or gets a definite answer, by the rule of this file. The request must use the
// context that it is given.
func (c *Client) retry(ctx context.Context, request func(ctx context.Context) error) error {
	return c.retryWithBackoff(ctx, ctx, &backoff{client: c}, request)
}

// retryInteractive does the same for calls that read, or change something at once, for a person.
func (c *Client) retryInteractive(ctx context.Context, request func(ctx context.Context) error) error {
	return c.retryWithBackoff(ctx, ctx, &backoff{client: c, mode: modeInteractive}, request)
}

// retryWithBackoff does the same with the caller's backoff. A request is canceled when extended ends, which may be after
// ctx.
func (c *Client) retryWithBackoff(ctx, extended context.Context, b *backoff, request func(ctx context.Context) error) error {
	b.client = c
	for {
		attempt, cancel := b.withRequestTimeout(extended)
		err := request(attempt)
		cancel()
		if err == nil {
			b.recordSuccess()
			return nil
		}
		if ctx.Err() != nil && classifyError(err) != classPermanent {
			b.leaveOutage()
			return endError(ctx)
		}
		if err := b.backOffOrFail(ctx, err); err != nil {
			return err
		}
	}
}

// isServerReady reports whether the API server says at /readyz that it is ready. Everybody may ask that, unless the roles
// that every cluster has are not loaded yet or were deleted.
func (c *Client) isServerReady(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, defaultRequestTimeout)
	defer cancel()
	status := 0
	c.restClient.Get().AbsPath("/readyz").Do(ctx).StatusCode(&status)
	return status == http.StatusOK
}

var errRequestTimeout = errors.New("the request timed out")

// stripRetryAfter prevents client-go from repeating a request by itself when the API server was overloaded: it does so
// after exactly the time that the server suggests, and so do all other clients that were rejected.
func stripRetryAfter(next http.RoundTripper) http.RoundTripper {
	return apiclient.RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
		resp, err := next.RoundTrip(req)
		if err == nil && resp.StatusCode == http.StatusTooManyRequests {
			resp.Header.Del("Retry-After")
		}
		return resp, err
	})
}

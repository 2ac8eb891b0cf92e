package konductor

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"time"
)

// outageNotifier notifies people once of an outage and once of its end, however many calls it affects.
type outageNotifier struct {
	mu            sync.Mutex
	affectedCalls int       // calls that wait for its end
	since         time.Time // first failure of the first of them
}

func (o *outageNotifier) addCall(since time.Time, notify func(string), sentence string) {
	o.mu.Lock()
	first := o.affectedCalls == 0
	if first {
		o.since = since
	}
	o.affectedCalls++
	o.mu.Unlock()
	if first {
		notify(sentence)
	}
}

// removeCall records that a call is no longer in the outage: it has succeeded, or it has ended without success.
func (o *outageNotifier) removeCall(notify func(string), succeeded bool) {
	o.mu.Lock()
	o.affectedCalls--
	last, lasted := o.affectedCalls == 0, time.Since(o.since)
	o.mu.Unlock()
	if last && succeeded {
		notify(fmt.Sprintf("the API server answers again, after %s", lasted.Round(time.Second)))
	}
}

// causeText returns the cause of err in one line for people. It leaves out the URL of the request, which for a watch is
// long and says nothing that helps.
func causeText(err error) string { return withoutURL(err).Error() }

func withoutURL(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return errRequestTimeout
	}
	var e *url.Error
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}

package konductor

import (
	"fmt"
	"sync"
	"time"
)

// operatorCheckDelay is how long there must be no sign of an operator before people are notified.
const operatorCheckDelay = 5 * time.Second

// operatorCheck notifies people if nothing shows that an operator runs.
type operatorCheck struct {
	notify func()
	mu     sync.Mutex
	timer  *time.Timer // nil: the object has not existed yet
}

// newOperatorCheck returns an operatorCheck for a wait on object.
func (c *Client) newOperatorCheck(object string) *operatorCheck {
	return &operatorCheck{notify: func() {
		c.notify(c.noOperatorText(fmt.Sprintf("has reconciled %s within %s", object, operatorCheckDelay)))
	}}
}

// observe records that the object exists, and whether it shows that an operator has reconciled it.
func (w *operatorCheck) observe(operatorSeen bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer == nil {
		w.timer = time.AfterFunc(operatorCheckDelay, w.notify)
	}
	if operatorSeen {
		w.timer.Stop()
	}
}

func (w *operatorCheck) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer != nil {
		w.timer.Stop()
	}
}

// noOperatorText says what no operator has done, and how to find out why.
func (c *Client) noOperatorText(has string) string {
	where, flags := "", " --namespace="+c.namespace
	if c.kubeContext != "" {
		where, flags = " in the cluster of context "+c.kubeContext, " --context="+shellQuote(c.kubeContext)+flags
	}
	return fmt.Sprintf("no operator%s %s: find out why with 'kubectl konductor doctor%s'", where, has, flags)
}

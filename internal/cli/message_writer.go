package cli

import (
	"bytes"
	"io"
	"sync"
	"time"

	"github.com/LogicIQ/konductor/internal/cli/runner"
)

const (
	// maxQueuedLines is how many lines can wait to be written while nobody reads them. Further lines are dropped.
	maxQueuedLines = 256
	// writeTimeout is how long Write waits for its text to be written, so that it appears before what happens next.
	writeTimeout = 100 * time.Millisecond
	// flushTimeout is how long the program waits at its end for queued lines to be written.
	flushTimeout = time.Second
)

// messageWriter writes messages for users to stderr. It is safe for concurrent use.
type messageWriter struct {
	out io.Writer

	mu    sync.Mutex
	queue chan queuedLine // written by a goroutine; nil: lines are written at once
}

type queuedLine struct {
	text    []byte
	written chan struct{}
}

// Write never fails: nothing depends on whether messages are read.
func (v *messageWriter) Write(text []byte) (int, error) {
	v.mu.Lock()
	lines := v.queue
	if lines == nil {
		v.mu.Unlock()
		_, _ = v.out.Write(text)
		return len(text), nil
	}
	l := queuedLine{bytes.Clone(text), make(chan struct{})}
	select {
	case lines <- l:
	default:
		close(l.written)
	}
	v.mu.Unlock()
	timer := time.NewTimer(writeTimeout)
	defer timer.Stop()
	select {
	case <-l.written:
	case <-timer.C:
	}
	return len(text), nil
}

// tolerateClosedOutput is for commands that hold, or wait in a queue. It lets them go on when their output isn't read. A
// closed pipe behind stdout or stderr would end them and leave their claims behind. A full pipe or a stopped terminal would
// block their renewals. The returned function stops the message queue.
func (a *app) tolerateClosedOutput() (stop func()) {
	runner.CatchSIGPIPE()
	return a.startMessageQueue()
}

// startMessageQueue makes writes of messages wait for at most writeTimeout, until stop is called.
func (a *app) startMessageQueue() (stop func()) {
	lines, done := make(chan queuedLine, maxQueuedLines), make(chan struct{})
	go func() {
		defer close(done)
		for l := range lines {
			_, _ = a.messages.out.Write(l.text)
			close(l.written)
		}
	}()
	a.messages.setQueue(lines)
	return func() {
		a.messages.setQueue(nil)
		close(lines)
		timer := time.NewTimer(flushTimeout)
		defer timer.Stop()
		select {
		case <-done:
		case <-timer.C:
		}
	}
}

func (v *messageWriter) setQueue(lines chan queuedLine) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.queue = lines
}

// Package printer writes what users read: messages on stderr, and why, graph and watch as text.
package printer

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/LogicIQ/konductor/internal/cli/render"
)

const (
	// maxQueuedLines is how many lines can wait to be written while nobody reads them. Further lines are dropped.
	maxQueuedLines = 256
	// writeTimeout is how long Write waits for its text to be written, so that it appears before what happens next.
	writeTimeout = 100 * time.Millisecond
	// flushTimeout is how long the program waits at its end for queued lines to be written.
	flushTimeout = time.Second
)

// Messages writes messages for users to stderr. It is safe for concurrent use.
type Messages struct {
	out io.Writer

	mu    sync.Mutex
	queue chan queuedLine // written by a goroutine; nil: lines are written at once
}

type queuedLine struct {
	text    []byte
	written chan struct{}
}

// NewMessages returns a writer of messages to out.
func NewMessages(out io.Writer) *Messages { return &Messages{out: out} }

// Notify writes a message for the user.
func (m *Messages) Notify(message string) { fmt.Fprintln(m, render.SanitizeLines(message)) }

// Write never fails: nothing depends on whether messages are read.
func (m *Messages) Write(text []byte) (int, error) {
	m.mu.Lock()
	lines := m.queue
	if lines == nil {
		m.mu.Unlock()
		_, _ = m.out.Write(text)
		return len(text), nil
	}
	l := queuedLine{bytes.Clone(text), make(chan struct{})}
	select {
	case lines <- l:
	default:
		close(l.written)
	}
	m.mu.Unlock()
	timer := time.NewTimer(writeTimeout)
	defer timer.Stop()
	select {
	case <-l.written:
	case <-timer.C:
	}
	return len(text), nil
}

// StartQueue makes writes of messages wait for at most writeTimeout, until stop is called.
func (m *Messages) StartQueue() (stop func()) {
	lines, done := make(chan queuedLine, maxQueuedLines), make(chan struct{})
	go func() {
		defer close(done)
		for l := range lines {
			_, _ = m.out.Write(l.text)
			close(l.written)
		}
	}()
	m.setQueue(lines)
	return func() {
		m.setQueue(nil)
		close(lines)
		timer := time.NewTimer(flushTimeout)
		defer timer.Stop()
		select {
		case <-done:
		case <-timer.C:
		}
	}
}

func (m *Messages) setQueue(lines chan queuedLine) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.queue = lines
}

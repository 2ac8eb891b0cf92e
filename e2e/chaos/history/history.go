// Package history records the requests of clients and of fault injectors, with their times and results: the input of every check.
package history

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"sync"
	"time"
)

// Action is what was requested.
type Action string

// Actions of clients and, from Delete on, of fault injectors.
const (
	Acquire Action = "acquire"
	Renew   Action = "renew"
	Release Action = "release"
	Arrive  Action = "arrive"
	Wait    Action = "wait"
	Delete  Action = "delete"
	Create  Action = "create"
	Resize  Action = "resize"
	Break   Action = "break" // an administrator deletes another's Claim
)

// Outcome is the result of an op.
type Outcome string

const (
	// OK means that it was done.
	OK Outcome = "ok"
	// Fail means that it was not done, for the reason in Reason.
	Fail Outcome = "fail"
	// Unknown means that there was no response: it may have been done, may be done later, or never.
	Unknown Outcome = "unknown"
)

// Reasons of a Fail or of an Unknown.
const (
	Busy        = "busy"
	Refused     = "refused"
	TimedOut    = "timeout"
	Cancelled   = "cancelled"
	Lost        = "lost"
	NotFound    = "missing"     // the object, or the claim, was deleted or doesn't exist
	Failed      = "failed"      // the barrier failed or timed out
	OtherTerms  = "terms"       // the same holder has acquired before on other terms
	NoOperator  = "no operator" // the operator did not respond to a no-wait acquire
	QuotaFull   = "quota full"  // for a no-wait acquire
	Killed      = "killed"
	Interrupted = "cut off" // by the end of the campaign
)

// Op is one request from its invocation to its return. Times count from the start of the campaign, on the monotonic clock of the
// one process that records.
type Op struct {
	ID        int           `json:"id"`
	Client    string        `json:"client"`
	Namespace string        `json:"namespace"`
	Action    Action        `json:"action"`
	Kind      string        `json:"kind"`
	Object    string        `json:"object"`
	Holder    string        `json:"holder,omitempty"` // or participant; one for each acquire, so that it identifies the request, too
	Permits   int32         `json:"permits,omitempty"`
	Priority  int32         `json:"priority,omitempty"`
	TTL       time.Duration `json:"ttl,omitempty"`
	Timeout   time.Duration `json:"timeout,omitempty"`
	NoWait    bool          `json:"noWait,omitempty"` // timeout 0
	AsFailed  bool          `json:"asFailed,omitempty"`
	Final     bool          `json:"final,omitempty"` // invoked after the last fault, so that nothing excuses a failure

	Invoke  time.Duration `json:"invoke"`
	Return  time.Duration `json:"return,omitempty"`
	Outcome Outcome       `json:"outcome,omitempty"`
	Reason  string        `json:"reason,omitempty"`
	Token   int64         `json:"token,omitempty"`
	Detail  string        `json:"detail,omitempty"`
}

// Recorder records a history, and writes each op to a file at once.
type Recorder struct {
	start time.Time

	mu       sync.Mutex
	ops      []*Op
	file     *os.File
	writer   *bufio.Writer
	writeErr error
}

// logLine is a line of the file: an op when it is invoked, and again when it has returned.
type logLine struct {
	Type string `json:"type"` // invoke, or the outcome
	*Op
}

// NewRecorder returns a Recorder whose clock starts now. It writes to a new file at path.
func NewRecorder(path string) (*Recorder, error) {
	file, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	return &Recorder{start: time.Now(), file: file, writer: bufio.NewWriter(file)}, nil
}

// Elapsed returns the time since the campaign started.
func (r *Recorder) Elapsed() time.Duration { return time.Since(r.start) }

// TimeOf returns the time from the campaign's start to t. t must have a monotonic reading.
func (r *Recorder) TimeOf(t time.Time) time.Duration { return t.Sub(r.start) }

// Begin records the invocation of op.
func (r *Recorder) Begin(op Op) *PendingOp {
	r.mu.Lock()
	defer r.mu.Unlock()
	op.ID, op.Invoke = len(r.ops), r.Elapsed()
	r.ops = append(r.ops, &op)
	r.writeLine("invoke", &op)
	return &PendingOp{recorder: r, op: &op}
}

// Add records an op that has returned.
func (r *Recorder) Add(op Op) {
	r.mu.Lock()
	defer r.mu.Unlock()
	op.ID = len(r.ops)
	r.ops = append(r.ops, &op)
	r.writeLine(string(op.Outcome), &op)
}

func (r *Recorder) writeLine(kind string, op *Op) {
	text, err := json.Marshal(logLine{kind, op})
	if err == nil {
		_, err = r.writer.Write(append(text, '\n'))
	}
	r.writeErr = errors.Join(r.writeErr, err)
}

// Ops returns a copy of the recorded ops. An op that hasn't returned has no Outcome.
func (r *Recorder) Ops() []Op {
	r.mu.Lock()
	defer r.mu.Unlock()
	ops := make([]Op, len(r.ops))
	for i, op := range r.ops {
		ops[i] = *op
	}
	return ops
}

// Close flushes and closes the file.
func (r *Recorder) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return errors.Join(r.writeErr, r.writer.Flush(), r.file.Close())
}

// PendingOp is an op that hasn't returned.
type PendingOp struct {
	recorder *Recorder
	op       *Op
}

// Complete records the result.
func (p *PendingOp) Complete(outcome Outcome, reason string, token int64, detail string) {
	p.recorder.mu.Lock()
	defer p.recorder.mu.Unlock()
	p.op.Return = p.recorder.Elapsed()
	p.op.Outcome, p.op.Reason, p.op.Token, p.op.Detail = outcome, reason, token, detail
	p.recorder.writeLine(string(outcome), p.op)
}

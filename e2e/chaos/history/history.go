// Package history records what clients, and those who disturb them, asked for,
// when, and what came of it: the input of every check.
package history

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"sync"
	"time"
)

// Action is what was asked for.
type Action string

// Actions of clients, and from Delete on of those who disturb them.
const (
	Acquire Action = "acquire"
	Renew   Action = "renew"
	Release Action = "release"
	Arrive  Action = "arrive"
	Wait    Action = "wait"
	Delete  Action = "delete"
	Create  Action = "create"
	Resize  Action = "resize"
	Break   Action = "break" // somebody deletes another's Claim
)

// Outcome is what came of it.
type Outcome string

const (
	// OK means that it was done.
	OK Outcome = "ok"
	// Fail means that the answer was no. Reason says which one.
	Fail Outcome = "fail"
	// Unknown means that no answer came: it may have been done, be done later, or never.
	Unknown Outcome = "unknown"
)

// Reasons of a Fail or of an Unknown.
const (
	Busy      = "busy"
	Refused   = "refused"
	TimedOut  = "timeout"
	Cancelled = "cancelled"
	Lost      = "lost"
	Missing   = "missing"     // the object, or the claim, was deleted or isn't there
	Failed    = "failed"      // the barrier failed or timed out
	Terms     = "terms"       // the same holder has asked before on other terms
	Unheard   = "no operator" // the operator did not answer an acquire that must not wait
	Killed    = "killed"
	CutOff    = "cut off" // by the end of the campaign's patience
)

// Op is one request from its invocation to its return. Times count from the start of the campaign, on the monotonic
// clock of the one process that records.
type Op struct {
	ID        int           `json:"id"`
	Client    string        `json:"client"`
	Namespace string        `json:"namespace"`
	Action    Action        `json:"action"`
	Kind      string        `json:"kind"`
	Object    string        `json:"object"`
	Holder    string        `json:"holder,omitempty"` // or participant; one for each acquire, so that it names the request, too
	Permits   int32         `json:"permits,omitempty"`
	Priority  int32         `json:"priority,omitempty"`
	TTL       time.Duration `json:"ttl,omitempty"`
	Timeout   time.Duration `json:"timeout,omitempty"`
	NoWait    bool          `json:"noWait,omitempty"` // timeout 0
	AsFailed  bool          `json:"asFailed,omitempty"`
	Final     bool          `json:"final,omitempty"` // asked after the last fault, so that nothing excuses a failure

	Invoke  time.Duration `json:"invoke"`
	Return  time.Duration `json:"return,omitempty"`
	Outcome Outcome       `json:"outcome,omitempty"`
	Reason  string        `json:"reason,omitempty"`
	Token   int64         `json:"token,omitempty"`
	Detail  string        `json:"detail,omitempty"`
}

// Recorder keeps a history, and writes it to a file as it happens.
type Recorder struct {
	start time.Time

	mu     sync.Mutex
	ops    []*Op
	file   *os.File
	lines  *bufio.Writer
	failed error
}

// line is what is written: an op when it is invoked, and again when it has returned.
type line struct {
	Type string `json:"type"` // invoke, or the outcome
	*Op
}

// NewRecorder returns a Recorder whose clock starts now. It writes to a new file at path.
func NewRecorder(path string) (*Recorder, error) {
	file, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	return &Recorder{start: time.Now(), file: file, lines: bufio.NewWriter(file)}, nil
}

// Now returns the time since the campaign started.
func (r *Recorder) Now() time.Duration { return time.Since(r.start) }

// At returns when t was, since the campaign started. t must have a monotonic reading.
func (r *Recorder) At(t time.Time) time.Duration { return t.Sub(r.start) }

// Begin records the invocation of op.
func (r *Recorder) Begin(op Op) *Pending {
	r.mu.Lock()
	defer r.mu.Unlock()
	op.ID, op.Invoke = len(r.ops), r.Now()
	r.ops = append(r.ops, &op)
	r.write("invoke", &op)
	return &Pending{recorder: r, op: &op}
}

// Add records an op that is over.
func (r *Recorder) Add(op Op) {
	r.mu.Lock()
	defer r.mu.Unlock()
	op.ID = len(r.ops)
	r.ops = append(r.ops, &op)
	r.write(string(op.Outcome), &op)
}

func (r *Recorder) write(kind string, op *Op) {
	text, err := json.Marshal(line{kind, op})
	if err == nil {
		_, err = r.lines.Write(append(text, '\n'))
	}
	r.failed = errors.Join(r.failed, err)
}

// Ops returns a copy of what has been recorded. An op that hasn't returned has no Outcome.
func (r *Recorder) Ops() []Op {
	r.mu.Lock()
	defer r.mu.Unlock()
	ops := make([]Op, len(r.ops))
	for i, op := range r.ops {
		ops[i] = *op
	}
	return ops
}

// Close writes what is left to write.
func (r *Recorder) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return errors.Join(r.failed, r.lines.Flush(), r.file.Close())
}

// Pending is an op that hasn't returned.
type Pending struct {
	recorder *Recorder
	op       *Op
}

// End records how it ended.
func (p *Pending) End(outcome Outcome, reason string, token int64, detail string) {
	p.recorder.mu.Lock()
	defer p.recorder.mu.Unlock()
	p.op.Return = p.recorder.Now()
	p.op.Outcome, p.op.Reason, p.op.Token, p.op.Detail = outcome, reason, token, detail
	p.recorder.write(string(outcome), p.op)
}

package models

import (
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/e2e/chaos/history"
	"github.com/LogicIQ/konductor/e2e/chaos/revisions"
)

const second = time.Second

// tale makes up a history of one object.
type tale struct {
	kind string
	ops  []history.Op
	all  []revisions.Revision
}

func (s *tale) op(action history.Action, holder string, from, to int, outcome history.Outcome, change ...func(*history.Op)) *tale {
	op := history.Op{
		Client: holder, Action: action, Kind: s.kind, Object: "x", Holder: holder, Permits: 1, TTL: 10 * second,
		Invoke: time.Duration(from) * second, Return: time.Duration(to) * second, Outcome: outcome,
	}
	for _, f := range change {
		f(&op)
	}
	s.ops = append(s.ops, op)
	return s
}

func token(n int64) func(*history.Op)       { return func(op *history.Op) { op.Token = n } }
func because(why string) func(*history.Op)  { return func(op *history.Op) { op.Reason = why } }
func permits(n int32) func(*history.Op)     { return func(op *history.Op) { op.Permits = n } }
func ttl(d time.Duration) func(*history.Op) { return func(op *history.Op) { op.TTL = d } }

type holder struct {
	name    string
	permits int32
	token   int64
}

// holds adds the revision, read at that second, in which these hold.
func (s *tale) holds(at int, holders ...holder) *tale {
	r := revisions.Revision{Number: int64(len(s.all) + 1), Seen: time.Duration(at) * second, Name: "x"}
	if s.kind == konductorv1.KindLease {
		r.Lease = &konductorv1.Lease{ObjectMeta: metav1.ObjectMeta{UID: "x"}}
		for _, h := range holders {
			r.Lease.Status = konductorv1.LeaseStatus{Holder: h.name, Claim: h.name, ClaimUID: types.UID(h.name), FencingToken: h.token}
		}
	} else {
		r.Semaphore = &konductorv1.Semaphore{ObjectMeta: metav1.ObjectMeta{UID: "x"}}
		for _, h := range holders {
			r.Semaphore.Status.Holders = append(r.Semaphore.Status.Holders, konductorv1.SemaphoreHolder{
				Holder: h.name, Claim: h.name, ClaimUID: types.UID(h.name), Permits: h.permits, FencingToken: h.token,
			})
		}
	}
	s.all = append(s.all, r)
	return s
}

func lease() *tale { return &tale{kind: konductorv1.KindLease} }

func semaphore(n int32) *tale {
	return (&tale{kind: konductorv1.KindSemaphore}).op(history.Create, "", 0, 0, history.OK, permits(n))
}

// handover is a lease that a has from second 1 and b from second 5.
func handover() *tale {
	return lease().op(history.Acquire, "a", 0, 1, history.OK, token(1)).op(history.Acquire, "b", 2, 5, history.OK, token(2)).
		holds(0).holds(1, holder{"a", 1, 1}).holds(5, holder{"b", 1, 2})
}

func TestOnlyHistoriesOfAMutexAndOfACountingSemaphoreAreAccepted(t *testing.T) {
	for what, c := range map[string]struct {
		tale *tale
		want porcupine.CheckResult
	}{
		"one releases, the next holds": {handover().op(history.Release, "a", 3, 4, history.OK, token(1)), porcupine.Ok},
		"the next holds while the first may still rely on its hold": {
			handover(), porcupine.Illegal,
		},
		"the next holds after the first's time is over": {
			lease().op(history.Acquire, "a", 0, 1, history.OK, token(1), ttl(3*second)).op(history.Acquire, "b", 2, 5, history.OK, token(2)).
				holds(1, holder{"a", 1, 1}).holds(5, holder{"b", 1, 2}), porcupine.Ok,
		},
		"the next holds when the claim of the first was deleted": {
			handover().op(history.Break, "a", 2, 3, history.OK), porcupine.Ok,
		},
		"the next holds before the claim of the first was deleted": {
			handover().op(history.Break, "a", 6, 7, history.OK), porcupine.Illegal,
		},
		"the next holds when the lease was deleted": {
			handover().op(history.Delete, "admin", 2, 3, history.OK), porcupine.Ok,
		},
		"the first was killed while it acquired": {
			lease().op(history.Acquire, "a", 0, 1, history.Unknown).op(history.Acquire, "b", 2, 5, history.OK, token(2)).
				holds(1, holder{"a", 1, 1}).holds(5, holder{"b", 1, 2}), porcupine.Ok,
		},
		"a release is answered well after another has held": {
			lease().op(history.Acquire, "a", 0, 1, history.OK, token(1), ttl(3*second)).op(history.Acquire, "b", 2, 5, history.OK, token(2)).
				op(history.Release, "a", 6, 7, history.OK, token(1)).holds(1, holder{"a", 1, 1}).holds(5, holder{"b", 1, 2}), porcupine.Illegal,
		},
		"somebody tidied up after one that was killed, and an operator that had not heard of it granted all the same": {
			lease().op(history.Acquire, "a", 0, 1, history.Unknown).op(history.Release, "a", 2, 3, history.OK).
				op(history.Acquire, "b", 0, 5, history.OK, token(1)).op(history.Release, "b", 5, 6, history.OK, token(1)).
				holds(5, holder{"b", 1, 1}).holds(7, holder{"a", 1, 2}).holds(8), porcupine.Ok,
		},
		"busy while it is held": {
			handover().op(history.Release, "a", 3, 4, history.OK, token(1)).op(history.Acquire, "c", 6, 7, history.Fail, because(history.Busy)), porcupine.Ok,
		},
		"busy while it is free": {
			lease().op(history.Acquire, "c", 0, 1, history.Fail, because(history.Busy)).op(history.Acquire, "a", 2, 3, history.OK, token(1)).holds(3, holder{"a", 1, 1}), porcupine.Illegal,
		},
		"two hold one permit each of two": {
			semaphore(2).op(history.Acquire, "a", 1, 2, history.OK, token(1)).op(history.Acquire, "b", 3, 4, history.OK, token(2)).
				holds(2, holder{"a", 1, 1}).holds(4, holder{"a", 1, 1}, holder{"b", 1, 2}), porcupine.Ok,
		},
		"two hold three permits of two": {
			semaphore(2).op(history.Acquire, "a", 1, 2, history.OK, token(1)).op(history.Acquire, "b", 3, 4, history.OK, token(2), permits(2)).
				holds(2, holder{"a", 1, 1}).holds(4, holder{"a", 1, 1}, holder{"b", 2, 2}), porcupine.Illegal,
		},
		"a grant after the permits were lowered": {
			semaphore(2).op(history.Resize, "", 1, 1, history.OK, permits(0)).op(history.Acquire, "a", 2, 3, history.OK, token(1)).holds(3, holder{"a", 1, 1}), porcupine.Illegal,
		},
		"a grant while the permits are lowered": {
			semaphore(2).op(history.Resize, "", 1, 3, history.OK, permits(0)).op(history.Acquire, "a", 2, 3, history.OK, token(1)).holds(3, holder{"a", 1, 1}), porcupine.Ok,
		},
		"refused though there are as many": {
			semaphore(2).op(history.Acquire, "a", 1, 2, history.Fail, because(history.Refused), permits(2)), porcupine.Illegal,
		},
		"refused since there are fewer": {
			semaphore(2).op(history.Acquire, "a", 1, 2, history.Fail, because(history.Refused), permits(3)), porcupine.Ok,
		},
	} {
		t.Run(what, func(t *testing.T) {
			model := Lease()
			if c.tale.kind == konductorv1.KindSemaphore {
				model = Semaphore()
			}
			for _, ops := range Translate(c.tale.ops, c.tale.all) {
				if got := porcupine.CheckOperationsTimeout(model, ops, 10*second); got != c.want {
					t.Errorf("the history is %s, want %s", got, c.want)
				}
			}
		})
	}
}

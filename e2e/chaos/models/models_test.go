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

// historyBuilder builds a history of one object.
type historyBuilder struct {
	kind      string
	ops       []history.Op
	revisions []revisions.Revision
}

func (s *historyBuilder) addOp(action history.Action, holder string, from, to int, outcome history.Outcome, change ...func(*history.Op)) *historyBuilder {
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

func withToken(n int64) func(*history.Op)       { return func(op *history.Op) { op.Token = n } }
func withReason(why string) func(*history.Op)   { return func(op *history.Op) { op.Reason = why } }
func withPermits(n int32) func(*history.Op)     { return func(op *history.Op) { op.Permits = n } }
func withTTL(d time.Duration) func(*history.Op) { return func(op *history.Op) { op.TTL = d } }

type holder struct {
	name    string
	permits int32
	token   int64
}

// addHolders adds the revision, read at second at, with these holders.
func (s *historyBuilder) addHolders(at int, holders ...holder) *historyBuilder {
	r := revisions.Revision{Number: int64(len(s.revisions) + 1), ReadAt: time.Duration(at) * second, Name: "x"}
	if s.kind == konductorv1.KindLease {
		r.Lease = &konductorv1.Lease{ObjectMeta: metav1.ObjectMeta{UID: "x"}}
		for _, h := range holders {
			r.Lease.Status = konductorv1.LeaseStatus{Holder: h.name, Claim: h.name, ClaimUID: types.UID(h.name), FencingToken: h.token}
		}
	} else {
		r.Semaphore = &konductorv1.Semaphore{ObjectMeta: metav1.ObjectMeta{UID: "x"}}
		for _, h := range holders {
			r.Semaphore.Status.Holders = append(r.Semaphore.Status.Holders, konductorv1.Holder{
				Name: h.name, Claim: h.name, ClaimUID: types.UID(h.name), Permits: h.permits, FencingToken: h.token,
			})
		}
	}
	s.revisions = append(s.revisions, r)
	return s
}

func newLeaseHistory() *historyBuilder { return &historyBuilder{kind: konductorv1.KindLease} }

func newSemaphoreHistory(n int32) *historyBuilder {
	return (&historyBuilder{kind: konductorv1.KindSemaphore}).addOp(history.Create, "", 0, 0, history.OK, withPermits(n))
}

// newHandoverHistory returns the history of a lease that a holds from second 1 and b from second 5.
func newHandoverHistory() *historyBuilder {
	return newLeaseHistory().addOp(history.Acquire, "a", 0, 1, history.OK, withToken(1)).addOp(history.Acquire, "b", 2, 5, history.OK, withToken(2)).
		addHolders(0).addHolders(1, holder{"a", 1, 1}).addHolders(5, holder{"b", 1, 2})
}

func TestModelsAcceptOnlyLinearizableHistories(t *testing.T) {
	for what, c := range map[string]struct {
		tale *historyBuilder
		want porcupine.CheckResult
	}{
		"one releases, the next holds": {newHandoverHistory().addOp(history.Release, "a", 3, 4, history.OK, withToken(1)), porcupine.Ok},
		"the next holds while the first may still rely on its hold": {
			newHandoverHistory(), porcupine.Illegal,
		},
		"the next holds after the first's time is over": {
			newLeaseHistory().addOp(history.Acquire, "a", 0, 1, history.OK, withToken(1), withTTL(3*second)).addOp(history.Acquire, "b", 2, 5, history.OK, withToken(2)).
				addHolders(1, holder{"a", 1, 1}).addHolders(5, holder{"b", 1, 2}), porcupine.Ok,
		},
		"the next holds when the claim of the first was deleted": {
			newHandoverHistory().addOp(history.Break, "a", 2, 3, history.OK), porcupine.Ok,
		},
		"the next holds before the claim of the first was deleted": {
			newHandoverHistory().addOp(history.Break, "a", 6, 7, history.OK), porcupine.Illegal,
		},
		"the next holds when the lease was deleted": {
			newHandoverHistory().addOp(history.Delete, "admin", 2, 3, history.OK), porcupine.Ok,
		},
		"the first was killed while it acquired": {
			newLeaseHistory().addOp(history.Acquire, "a", 0, 1, history.Unknown).addOp(history.Acquire, "b", 2, 5, history.OK, withToken(2)).
				addHolders(1, holder{"a", 1, 1}).addHolders(5, holder{"b", 1, 2}), porcupine.Ok,
		},
		"a release is answered well after another has held": {
			newLeaseHistory().addOp(history.Acquire, "a", 0, 1, history.OK, withToken(1), withTTL(3*second)).addOp(history.Acquire, "b", 2, 5, history.OK, withToken(2)).
				addOp(history.Release, "a", 6, 7, history.OK, withToken(1)).addHolders(1, holder{"a", 1, 1}).addHolders(5, holder{"b", 1, 2}), porcupine.Illegal,
		},
		"somebody tidied up after one that was killed, and an operator that had not heard of it granted all the same": {
			newLeaseHistory().addOp(history.Acquire, "a", 0, 1, history.Unknown).addOp(history.Release, "a", 2, 3, history.OK).
				addOp(history.Acquire, "b", 0, 5, history.OK, withToken(1)).addOp(history.Release, "b", 5, 6, history.OK, withToken(1)).
				addHolders(5, holder{"b", 1, 1}).addHolders(7, holder{"a", 1, 2}).addHolders(8), porcupine.Ok,
		},
		"busy while it is held": {
			newHandoverHistory().addOp(history.Release, "a", 3, 4, history.OK, withToken(1)).addOp(history.Acquire, "c", 6, 7, history.Fail, withReason(history.Busy)), porcupine.Ok,
		},
		"busy while it is free": {
			newLeaseHistory().addOp(history.Acquire, "c", 0, 1, history.Fail, withReason(history.Busy)).addOp(history.Acquire, "a", 2, 3, history.OK, withToken(1)).addHolders(3, holder{"a", 1, 1}), porcupine.Illegal,
		},
		"two hold one permit each of two": {
			newSemaphoreHistory(2).addOp(history.Acquire, "a", 1, 2, history.OK, withToken(1)).addOp(history.Acquire, "b", 3, 4, history.OK, withToken(2)).
				addHolders(2, holder{"a", 1, 1}).addHolders(4, holder{"a", 1, 1}, holder{"b", 1, 2}), porcupine.Ok,
		},
		"two hold three permits of two": {
			newSemaphoreHistory(2).addOp(history.Acquire, "a", 1, 2, history.OK, withToken(1)).addOp(history.Acquire, "b", 3, 4, history.OK, withToken(2), withPermits(2)).
				addHolders(2, holder{"a", 1, 1}).addHolders(4, holder{"a", 1, 1}, holder{"b", 2, 2}), porcupine.Illegal,
		},
		"a grant after the permits were lowered": {
			newSemaphoreHistory(2).addOp(history.Resize, "", 1, 1, history.OK, withPermits(0)).addOp(history.Acquire, "a", 2, 3, history.OK, withToken(1)).addHolders(3, holder{"a", 1, 1}), porcupine.Illegal,
		},
		"a grant while the permits are lowered": {
			newSemaphoreHistory(2).addOp(history.Resize, "", 1, 3, history.OK, withPermits(0)).addOp(history.Acquire, "a", 2, 3, history.OK, withToken(1)).addHolders(3, holder{"a", 1, 1}), porcupine.Ok,
		},
		"refused though there are as many": {
			newSemaphoreHistory(2).addOp(history.Acquire, "a", 1, 2, history.Fail, withReason(history.Refused), withPermits(2)), porcupine.Illegal,
		},
		"refused since there are fewer": {
			newSemaphoreHistory(2).addOp(history.Acquire, "a", 1, 2, history.Fail, withReason(history.Refused), withPermits(3)), porcupine.Ok,
		},
	} {
		t.Run(what, func(t *testing.T) {
			model := LeaseModel()
			if c.tale.kind == konductorv1.KindSemaphore {
				model = SemaphoreModel()
			}
			for _, ops := range ToPorcupine(c.tale.ops, c.tale.revisions) {
				if got := porcupine.CheckOperationsTimeout(model, ops, 10*second); got != c.want {
					t.Errorf("the history is %s, want %s", got, c.want)
				}
			}
		})
	}
}

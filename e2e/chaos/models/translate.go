package models

import (
	"cmp"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/e2e/chaos/history"
	"github.com/LogicIQ/konductor/e2e/chaos/revisions"
)

// ToPorcupine returns the history of each lease and semaphore in terms of its model.
//
// An op whose result a client knows happened between its invocation and its return. For the others the revisions decide: a grant
// to a client that was killed, for example, happened between the invocation and the time at which the grant was read from etcd, and
// an acquire whose grant is in no revision was never granted. So no operation stays open, and nothing is assumed that might hide an
// error:
//
//   - A hold that its client has not released ends by an EndHold: not before the client's own deadline (nine tenths of the TTL
//     after the last renewal known to have succeeded was sent), not before somebody has begun to delete the claim or the
//     object, and not before the invocation of an acquire or a release that did not succeed; and not after its end was read from
//     etcd.
//   - A release whose response was anything but success is no Release, but may be the cause of an EndHold.
func ToPorcupine(ops []history.Op, all []revisions.Revision) map[revisions.ObjectKey][]porcupine.Operation {
	t := indexOps(ops)
	for _, op := range ops {
		if isHoldTarget(op) {
			t.addRecordedOp(objectKey(op), op)
		}
	}
	last := map[revisions.ObjectKey]int64{}
	grants := revisions.FindGrants(all)
	slices.SortStableFunc(grants, func(a, b *revisions.Grant) int { return cmp.Compare(a.Token, b.Token) })
	for _, g := range grants {
		t.addGrant(g, last[g.ObjectKey])
		last[g.ObjectKey] = g.Token
	}
	return t.operations
}

func isHoldTarget(op history.Op) bool {
	return op.Kind == konductorv1.KindLease || op.Kind == konductorv1.KindSemaphore
}

func objectKey(op history.Op) revisions.ObjectKey {
	return revisions.ObjectKey{Namespace: op.Namespace, Kind: op.Kind, Name: op.Object}
}

// indexOps indexes ops by object and holder.
func indexOps(ops []history.Op) *translator {
	t := &translator{
		opsByHolder: map[holderKey][]history.Op{}, deletionsByTarget: map[revisions.ObjectKey][]history.Op{},
		operations: map[revisions.ObjectKey][]porcupine.Operation{}, clientIDs: map[string]int{},
	}
	for _, op := range ops {
		switch key := objectKey(op); op.Action {
		case history.Delete, history.Break:
			t.deletionsByTarget[key] = append(t.deletionsByTarget[key], op)
		case history.Acquire, history.Renew, history.Release:
			t.opsByHolder[holderKey{key, op.Holder}] = append(t.opsByHolder[holderKey{key, op.Holder}], op)
		default:
		}
	}
	return t
}

type holderKey struct {
	key    revisions.ObjectKey
	holder string
}

type translator struct {
	opsByHolder       map[holderKey][]history.Op
	deletionsByTarget map[revisions.ObjectKey][]history.Op
	operations        map[revisions.ObjectKey][]porcupine.Operation
	clientIDs         map[string]int
}

func (t *translator) add(key revisions.ObjectKey, client string, in Input, call, until time.Duration) {
	id, ok := t.clientIDs[client]
	if !ok {
		id = len(t.clientIDs)
		t.clientIDs[client] = id
	}
	t.operations[key] = append(t.operations[key], porcupine.Operation{ClientId: id, Input: in, Call: int64(call), Return: int64(max(call, until))})
}

// addRecordedOp adds an op whose times and result are as recorded.
func (t *translator) addRecordedOp(key revisions.ObjectKey, op history.Op) {
	in := Input{Holder: op.Holder, Permits: op.Permits, Token: op.Token}
	switch {
	case op.Action == history.Delete:
		in.Kind = DeleteObject
	case op.Action == history.Create, op.Action == history.Resize:
		in.Kind = SetLimit
	case op.Action == history.Acquire && op.Reason == history.Busy:
		in.Kind = Busy
	case op.Action == history.Acquire && op.Reason == history.Refused:
		in.Kind = Refused
	default:
		return
	}
	t.add(key, op.Client, in, op.Invoke, op.Return)
}

// addGrant adds a grant and its end.
func (t *translator) addGrant(g *revisions.Grant, previous int64) {
	timeline := t.timelineOf(g)
	in := Input{Kind: Acquire, Holder: g.Holder, Token: g.Token, Permits: g.Permits, PreviousToken: previous}
	granted := g.ReadAt
	if timeline.reportedAt > 0 {
		granted = timeline.reportedAt
	}
	t.add(g.ObjectKey, timeline.client, in, timeline.requestedAt, granted)
	switch {
	case timeline.releaseOp != nil:
		in.Kind = Release
		t.add(g.ObjectKey, timeline.client, in, timeline.releaseOp.Invoke, timeline.releaseOp.Return)
	case g.EndRevision != 0:
		in.Kind = EndHold
		t.add(g.ObjectKey, timeline.client, in, max(timeline.earliestEnd, timeline.requestedAt), g.EndReadAt)
	}
}

// grantTimeline is what the history says about a grant.
type grantTimeline struct {
	client      string
	requestedAt time.Duration
	reportedAt  time.Duration // 0: to no client
	releaseOp   *history.Op
	earliestEnd time.Duration // the earliest time at which it may have ended by itself
}

func (t *translator) timelineOf(g *revisions.Grant) grantTimeline {
	const never = time.Duration(1<<63 - 1)
	s := grantTimeline{client: g.Holder, earliestEnd: never}
	deadline := time.Duration(-1) // until when the client may rely on it; -1: unknown
	lowerEarliestEnd := func(at time.Duration) { s.earliestEnd = min(s.earliestEnd, at) }
	asked := false
	for _, op := range t.opsByHolder[holderKey{g.ObjectKey, g.Holder}] {
		s.client = op.Client
		ok := op.Outcome == history.OK && op.Token == g.Token
		switch {
		case op.Action == history.Acquire:
			if !asked {
				s.requestedAt, asked = op.Invoke, true
			}
			if ok {
				if s.reportedAt == 0 {
					s.reportedAt = op.Return
				}
				deadline = max(deadline, op.Invoke+op.TTL*9/10)
			} else if op.Outcome != history.OK {
				// The client has given up, or was killed, and may have deleted its claim at any time.
				lowerEarliestEnd(op.Invoke)
			}
		case op.Action == history.Renew && ok:
			deadline = max(deadline, op.Invoke+op.TTL*9/10)
		case op.Action == history.Release && op.Outcome == history.OK && op.Token == g.Token:
			s.releaseOp = &op
		case op.Action == history.Release:
			// The release has failed, or was for a client that was killed, whether that held or still waited.
			lowerEarliestEnd(op.Invoke)
		}
	}
	for _, op := range t.deletionsByTarget[g.ObjectKey] {
		if (op.Action == history.Delete || op.Holder == g.Holder) && op.Return >= s.requestedAt {
			lowerEarliestEnd(op.Invoke)
		}
	}
	lowerEarliestEnd(max(deadline, s.requestedAt))
	return s
}

// EarlyEnd is a hold that has ended too early.
type EarlyEnd struct {
	*revisions.Grant
	// EarliestEnd is the earliest time at which it could have ended.
	EarliestEnd time.Duration
}

// EarlyEnds returns the holds that ended before they could have: see ToPorcupine.
func EarlyEnds(ops []history.Op, all []revisions.Revision) (early []EarlyEnd) {
	t := indexOps(ops)
	for _, g := range revisions.FindGrants(all) {
		if s := t.timelineOf(g); g.EndRevision != 0 && s.releaseOp == nil && g.EndReadAt < s.earliestEnd {
			early = append(early, EarlyEnd{g, s.earliestEnd})
		}
	}
	return early
}

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

// Translate returns the history of each lease and semaphore in terms of its model.
//
// What a client was told of happened between its asking and its being told. What no client was told of, the revisions
// tell: a grant to a client that was killed, say, happened between its asking and the moment at which the grant was read
// from etcd, and one that isn't there has never happened. So no operation stays open, and nothing is assumed that might
// hide an error:
//
//   - A hold that its client has not ended ends by an End: not before the client's own deadline (nine tenths of the TTL
//     after the last renewal known to have succeeded was sent), not before somebody has begun to delete the claim or the
//     object, and not before a client that got no answer has asked; and not after its end was read from etcd.
//   - A release that was answered with anything but success is no Release, but may be the cause of an End.
func Translate(ops []history.Op, all []revisions.Revision) map[revisions.Key][]porcupine.Operation {
	t := index(ops)
	for _, op := range ops {
		if onHold(op) {
			t.plain(keyOf(op), op)
		}
	}
	last := map[revisions.Key]int64{}
	grants := revisions.Grants(all)
	slices.SortStableFunc(grants, func(a, b *revisions.Grant) int { return cmp.Compare(a.Token, b.Token) })
	for _, g := range grants {
		t.grant(g, last[g.Key])
		last[g.Key] = g.Token
	}
	return t.out
}

func onHold(op history.Op) bool {
	return op.Kind == konductorv1.KindLease || op.Kind == konductorv1.KindSemaphore
}

func keyOf(op history.Op) revisions.Key {
	return revisions.Key{Namespace: op.Namespace, Kind: op.Kind, Name: op.Object}
}

// index sorts ops by what they are about.
func index(ops []history.Op) *translation {
	t := &translation{
		byHolder: map[holderKey][]history.Op{}, disturbed: map[revisions.Key][]history.Op{},
		out: map[revisions.Key][]porcupine.Operation{}, clients: map[string]int{},
	}
	for _, op := range ops {
		switch key := keyOf(op); op.Action {
		case history.Delete, history.Break:
			t.disturbed[key] = append(t.disturbed[key], op)
		case history.Acquire, history.Renew, history.Release:
			t.byHolder[holderKey{key, op.Holder}] = append(t.byHolder[holderKey{key, op.Holder}], op)
		default:
		}
	}
	return t
}

type holderKey struct {
	key    revisions.Key
	holder string
}

type translation struct {
	byHolder  map[holderKey][]history.Op
	disturbed map[revisions.Key][]history.Op
	out       map[revisions.Key][]porcupine.Operation
	clients   map[string]int
}

func (t *translation) add(key revisions.Key, client string, in Input, call, until time.Duration) {
	id, ok := t.clients[client]
	if !ok {
		id = len(t.clients)
		t.clients[client] = id
	}
	t.out[key] = append(t.out[key], porcupine.Operation{ClientId: id, Input: in, Call: int64(call), Return: int64(max(call, until))})
}

// plain adds the ops that are as they were recorded.
func (t *translation) plain(key revisions.Key, op history.Op) {
	in := Input{Holder: op.Holder, Permits: op.Permits, Token: op.Token}
	switch {
	case op.Action == history.Delete:
		in.Verb = Wipe
	case op.Action == history.Create, op.Action == history.Resize:
		in.Verb = Limit
	case op.Action == history.Acquire && op.Reason == history.Busy:
		in.Verb = Busy
	case op.Action == history.Acquire && op.Reason == history.Refused:
		in.Verb = Refused
	default:
		return
	}
	t.add(key, op.Client, in, op.Invoke, op.Return)
}

// grant adds a grant and its end.
func (t *translation) grant(g *revisions.Grant, previous int64) {
	story := t.storyOf(g)
	in := Input{Verb: Acquire, Holder: g.Holder, Token: g.Token, Permits: g.Permits, Previous: previous}
	granted := g.Seen
	if story.told > 0 {
		granted = story.told
	}
	t.add(g.Key, story.client, in, story.asked, granted)
	switch {
	case story.released != nil:
		in.Verb = Release
		t.add(g.Key, story.client, in, story.released.Invoke, story.released.Return)
	case g.EndRevision != 0:
		in.Verb = End
		t.add(g.Key, story.client, in, max(story.notBefore, story.asked), g.EndSeen)
	}
}

// story is what clients know of a grant.
type story struct {
	client    string
	asked     time.Duration
	told      time.Duration // 0: nobody was
	released  *history.Op
	notBefore time.Duration // the earliest moment at which it may have ended by itself
}

func (t *translation) storyOf(g *revisions.Grant) story {
	const never = time.Duration(1<<63 - 1)
	s := story{client: g.Holder, notBefore: never}
	deadline := time.Duration(-1) // until when the client may rely on it; -1: it can't tell
	sooner := func(at time.Duration) { s.notBefore = min(s.notBefore, at) }
	asked := false
	for _, op := range t.byHolder[holderKey{g.Key, g.Holder}] {
		s.client = op.Client
		ok := op.Outcome == history.OK && op.Token == g.Token
		switch {
		case op.Action == history.Acquire:
			if !asked {
				s.asked, asked = op.Invoke, true
			}
			if ok {
				if s.told == 0 {
					s.told = op.Return
				}
				deadline = max(deadline, op.Invoke+op.TTL*9/10)
			} else if op.Outcome != history.OK {
				// It has given up, or was killed, and may have taken its claim back at any time.
				sooner(op.Invoke)
			}
		case op.Action == history.Renew && ok:
			deadline = max(deadline, op.Invoke+op.TTL*9/10)
		case op.Action == history.Release && op.Outcome == history.OK && op.Token == g.Token:
			s.released = &op
		case op.Action == history.Release:
			// It has failed, or has tidied up after a client that was killed, whether that held or still waited.
			sooner(op.Invoke)
		}
	}
	for _, op := range t.disturbed[g.Key] {
		if (op.Action == history.Delete || op.Holder == g.Holder) && op.Return >= s.asked {
			sooner(op.Invoke)
		}
	}
	sooner(max(deadline, s.asked))
	return s
}

// EarlyEnd is a hold that has ended before it could.
type EarlyEnd struct {
	*revisions.Grant
	// NotBefore is when it could have ended at the earliest.
	NotBefore time.Duration
}

// Early returns the holds that had ended before they could: see Translate.
func Early(ops []history.Op, all []revisions.Revision) (early []EarlyEnd) {
	t := index(ops)
	for _, g := range revisions.Grants(all) {
		if s := t.storyOf(g); g.EndRevision != 0 && s.released == nil && g.EndSeen < s.notBefore {
			early = append(early, EarlyEnd{g, s.notBefore})
		}
	}
	return early
}

package integration

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

func TestABreakTakesOnlyWhatItAskedAbout(t *testing.T) {
	for name, c := range map[string]struct {
		// meanwhile happens between the question and the answer; the holds are alice's of the lease, and alice's and
		// bob's of the semaphore.
		meanwhile func(w *world, holds []*konductor.Hold)
		args      string
		question  string
		code      int
		says      string
		holders   string // in the end
	}{
		"nothing happens": {
			meanwhile: func(*world, []*konductor.Hold) {},
			args:      "lease break db", question: "away from alice, who has held it since", says: "lease.konductor.io/db taken away from alice",
		},
		"another holds the lease": {
			meanwhile: func(w *world, holds []*konductor.Hold) {
				w.release(holds[0])
				w.someone("carol").acquire(konductorv1.KindLease, "db")
			},
			args: "lease break db", question: "away from alice", code: 2,
			says: "lease/db in namespace NS has changed hands, and carol holds it now: nothing was taken away", holders: "carol",
		},
		"the same holds the lease anew": {
			meanwhile: func(w *world, holds []*konductor.Hold) {
				w.release(holds[0])
				w.someone("alice").acquire(konductorv1.KindLease, "db")
			},
			args: "lease break db", question: "away from alice", code: 2,
			says: "lease/db in namespace NS has changed hands, and alice holds it now: nothing was taken away", holders: "alice",
		},
		"nobody holds the lease any more": {
			meanwhile: func(w *world, holds []*konductor.Hold) {
				w.release(holds[0])
				is(w, "db", "free", func(l *konductorv1.Lease) bool { return l.Status.Phase == konductorv1.LeaseAvailable })
			},
			args: "lease break db", question: "away from alice", code: 2, says: "nobody holds lease/db in namespace NS",
		},
		"another has got one of the permits": {
			meanwhile: func(w *world, holds []*konductor.Hold) {
				w.release(holds[1])
				w.someone("carol").acquire(konductorv1.KindSemaphore, "api")
			},
			args: "semaphore break api --all", question: "away from alice, bob",
			says: "1 of these 2 had ended before: only what is left was taken away\r\nsemaphore.konductor.io/api taken away from bob", holders: "carol",
		},
		"another has got the only permit that was meant": {
			meanwhile: func(w *world, holds []*konductor.Hold) {
				w.release(holds[1])
				w.someone("alice").acquire(konductorv1.KindSemaphore, "api")
			},
			args: "semaphore break api --holder alice", question: "away from alice", code: 2,
			says: "the permits of semaphore/api in namespace NS have changed hands: nothing was taken away", holders: "alice bob",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.operator()
			lease := w.lease("db", konductor.WithTTL(time.Hour))
			w.semaphore("api", 2)
			holds := []*konductor.Hold{
				w.someone("alice").acquire(konductorv1.KindLease, "db"),
				w.someone("alice").acquire(konductorv1.KindSemaphore, "api"),
				w.someone("bob").acquire(konductorv1.KindSemaphore, "api"),
			}
			is(w, "db", "held", func(l *konductorv1.Lease) bool { return l.UID == lease.UID && l.Status.Holder == "alice" })
			s := w.terminal(w.kubeconfigFor(w.kubeconfig, nil), 240, 10, strings.Fields(c.args)...).sees(c.question, "? [y/N]")
			c.meanwhile(w, holds)
			s.types("y\r").ends(c.code)
			if says := strings.ReplaceAll(c.says, "NS", w.namespace); !strings.Contains(s.written(), says+"\r\n") {
				t.Errorf("it said\n%s\nwant\n%s", s.written(), says)
			}
			if strings.HasPrefix(c.args, "lease") {
				is(w, "db", "held by "+c.holders, func(l *konductorv1.Lease) bool { return l.Status.Holder == c.holders })
				return
			}
			is(w, "api", "held by "+c.holders, func(s *konductorv1.Semaphore) bool {
				held := map[string]bool{}
				for i := range s.Status.Holders {
					held[s.Status.Holders[i].Holder] = true
				}
				for _, want := range strings.Fields(c.holders) {
					if !held[want] {
						return false
					}
				}
				return len(held) == len(strings.Fields(c.holders))
			})
		})
	}
}

// TestAHoldThatEndsAtTheLastMomentIsNotBroken lets the holder release after the lease was read and before the claim is
// deleted.
func TestAHoldThatEndsAtTheLastMomentIsNotBroken(t *testing.T) {
	w := newWorld(t)
	w.operator()
	w.lease("db")
	hold := w.someone("alice").acquire(konductorv1.KindLease, "db")
	is(w, "db", "held", func(l *konductorv1.Lease) bool { return l.Status.Holder == "alice" })
	admin, line := w.someoneWired("admin")
	release := sync.OnceValue(func() error { return hold.Release(w.ctx) })
	line.onRequest(func(req *http.Request) error {
		if req.Method == http.MethodPatch {
			return release()
		}
		return nil
	})
	_, err := admin.BreakLease(w.ctx, "db")
	if e := wants[*konductor.NotFoundError](w, err); e.Error() != "alice doesn't hold lease/db in namespace "+w.namespace+" any more: nothing was taken away" {
		t.Errorf("the error is %q", e)
	}
	_, err = admin.BreakLease(w.ctx, "db", konductor.WithHolder("bob"))
	wants[*konductor.NotFoundError](w, err)
	next := w.someone("alice").acquire(konductorv1.KindLease, "db")
	_, err = admin.BreakLease(w.ctx, "db", konductor.WithHolder("bob"))
	if e := wants[*konductor.NotFoundError](w, err); e.Error() != "bob doesn't hold lease/db in namespace "+w.namespace+", alice does: nothing was taken away" {
		t.Errorf("the error is %q", e)
	}
	w.ok(next.Renew(w.ctx))
}

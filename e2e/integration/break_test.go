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

func TestBreakTakesOnlyConfirmedHolds(t *testing.T) {
	for name, c := range map[string]struct {
		// meanwhile runs between the question and the answer. holds are alice's hold of the lease, and alice's and bob's of the
		// semaphore.
		meanwhile func(w *testEnv, holds []*konductor.Hold)
		args      string
		question  string
		code      int
		says      string
		holders   string // at the end
	}{
		"nothing happens": {
			meanwhile: func(*testEnv, []*konductor.Hold) {},
			args:      "lease break db", question: `break lease/db in namespace`, says: "lease.konductor.io/db broken (was held by alice)",
		},
		"another holds the lease": {
			meanwhile: func(w *testEnv, holds []*konductor.Hold) {
				w.mustRelease(holds[0])
				w.newParticipant("carol").mustAcquire(konductorv1.KindLease, "db")
			},
			args: "lease break db", question: `(held by "alice" since`, code: 2,
			says: "lease/db in namespace NS was granted again in the meantime, to carol: no hold was broken", holders: "carol",
		},
		"the same holds the lease anew": {
			meanwhile: func(w *testEnv, holds []*konductor.Hold) {
				w.mustRelease(holds[0])
				w.newParticipant("alice").mustAcquire(konductorv1.KindLease, "db")
			},
			args: "lease break db", question: `(held by "alice" since`, code: 2,
			says: "lease/db in namespace NS was granted again in the meantime, to alice: no hold was broken", holders: "alice",
		},
		"nobody holds the lease any more": {
			meanwhile: func(w *testEnv, holds []*konductor.Hold) {
				w.mustRelease(holds[0])
				waitFor(w, "db", "free", func(l *konductorv1.Lease) bool { return l.Status.Phase == konductorv1.LeaseAvailable })
			},
			args: "lease break db", question: `(held by "alice" since`, code: 2, says: "nobody holds lease/db in namespace NS",
		},
		"another has got one of the permits": {
			meanwhile: func(w *testEnv, holds []*konductor.Hold) {
				w.mustRelease(holds[1])
				w.newParticipant("carol").mustAcquire(konductorv1.KindSemaphore, "api")
			},
			args: "semaphore break api --all", question: `break the holds of "alice", "bob" on semaphore/api`,
			says: "1 of these 2 holds had already ended; only the others were broken\r\nsemaphore.konductor.io/api broken (was held by bob)", holders: "carol",
		},
		"another has got the only permit that was meant": {
			meanwhile: func(w *testEnv, holds []*konductor.Hold) {
				w.mustRelease(holds[1])
				w.newParticipant("alice").mustAcquire(konductorv1.KindSemaphore, "api")
			},
			args: "semaphore break api --holder alice", question: `break the holds of "alice" on semaphore/api`, code: 2,
			says: "the holds on semaphore/api in namespace NS have changed in the meantime: no hold was broken", holders: "alice bob",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTestEnv(t)
			w.startOperator()
			lease := w.createLease("db", konductor.WithTTL(time.Hour))
			w.createSemaphore("api", 2)
			holds := []*konductor.Hold{
				w.newParticipant("alice").mustAcquire(konductorv1.KindLease, "db"),
				w.newParticipant("alice").mustAcquire(konductorv1.KindSemaphore, "api"),
				w.newParticipant("bob").mustAcquire(konductorv1.KindSemaphore, "api"),
			}
			waitFor(w, "db", "held", func(l *konductorv1.Lease) bool { return l.UID == lease.UID && l.Status.Holder == "alice" })
			s := w.startTerminal(w.writeKubeconfig(w.adminKubeconfig, nil), 240, 10, strings.Fields(c.args)...).waitForText(c.question, "? [y/N]")
			c.meanwhile(w, holds)
			s.typeKeys("y\r").expectExit(c.code)
			if says := strings.ReplaceAll(c.says, "NS", w.namespace); !strings.Contains(s.output(), says+"\r\n") {
				t.Errorf("it said\n%s\nwant\n%s", s.output(), says)
			}
			if strings.HasPrefix(c.args, "lease") {
				waitFor(w, "db", "held by "+c.holders, func(l *konductorv1.Lease) bool { return l.Status.Holder == c.holders })
				return
			}
			waitFor(w, "api", "held by "+c.holders, func(s *konductorv1.Semaphore) bool {
				held := map[string]bool{}
				for i := range s.Status.Holders {
					held[s.Status.Holders[i].Name] = true
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

// TestBreakOfHoldReleasedMeanwhile lets the holder release after the lease was read and before the claim is deleted.
func TestBreakOfHoldReleasedMeanwhile(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	w.createLease("db")
	hold := w.newParticipant("alice").mustAcquire(konductorv1.KindLease, "db")
	waitFor(w, "db", "held", func(l *konductorv1.Lease) bool { return l.Status.Holder == "alice" })
	admin, line := w.newHookedParticipant("admin")
	release := sync.OnceValue(func() error { return hold.Release(w.ctx) })
	line.setRequestHook(func(req *http.Request) error {
		if req.Method == http.MethodPatch {
			return release()
		}
		return nil
	})
	_, err := admin.BreakLease(w.ctx, "db")
	if e := requireErrorAs[*konductor.NotFoundError](w, err); e.Error() != "alice no longer holds lease/db in namespace "+w.namespace+": no hold was broken" {
		t.Errorf("the error is %q", e)
	}
	_, err = admin.BreakLease(w.ctx, "db", konductor.WithHolder("bob"))
	requireErrorAs[*konductor.NotFoundError](w, err)
	next := w.newParticipant("alice").mustAcquire(konductorv1.KindLease, "db")
	_, err = admin.BreakLease(w.ctx, "db", konductor.WithHolder("bob"))
	if e := requireErrorAs[*konductor.NotFoundError](w, err); e.Error() != "bob doesn't hold lease/db in namespace "+w.namespace+", alice does: no hold was broken" {
		t.Errorf("the error is %q", e)
	}
	w.must(next.Renew(w.ctx))
}

package rules_test

import (
	"fmt"
	"testing"

	"github.com/LogicIQ/konductor/apis/rules"
	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// BenchmarkSemaphoreGrant is a handover: a holder releases and the next in the queue is granted. What it costs must not
// depend on how many wait.
func BenchmarkSemaphoreGrant(b *testing.B) {
	for _, holders := range []int{1, 100} {
		for _, waiting := range []int{100, 1_000, 10_000} {
			b.Run(fmt.Sprintf("holders=%d/waiting=%d", holders, waiting), func(b *testing.B) {
				s := crowd(holders, waiting)
				b.ReportAllocs()
				for b.Loop() {
					handOver(b, s)
				}
			})
		}
	}
}

// BenchmarkSemaphoreGrantPastABlockedHead is the same behind a claim for which too few permits are free.
func BenchmarkSemaphoreGrantPastABlockedHead(b *testing.B) {
	for _, waiting := range []int{100, 10_000} {
		b.Run(fmt.Sprintf("waiting=%d", waiting), func(b *testing.B) {
			s := crowd(2, waiting)
			s.claim(aClaim("big").permits(2).priority(1))
			b.ReportAllocs()
			for b.Loop() {
				handOver(b, s)
				s.sem.Status.Head = nil // so that it may be passed again
			}
		})
	}
}

// crowd is a semaphore with so many holders, and so many claims that wait.
func crowd(holders, waiting int) *scene {
	s := aSemaphore(int32(holders))
	for i := range holders + waiting {
		s.claim(aClaim(fmt.Sprintf("claim%06d", i)))
	}
	s.play()
	return s
}

// handOver lets the first holder release, decides, does what the decision asks for, and puts the one who released at
// the end of the queue again.
func handOver(b *testing.B, s *scene) {
	first := s.holders()[0]
	known, _ := s.claims.Find(first.ClaimUID)
	again := *known
	s.claims.Forget(first.ClaimUID)

	status, act := rules.Semaphore(s.sem, s.claims, s.revision, at(s.now))
	if len(act.Granted) != 1 {
		b.Fatalf("%d grants, want 1", len(act.Granted))
	}
	s.sem.Status = status
	s.revision++
	for _, h := range act.Tell {
		c, _ := s.claims.Find(h.ClaimUID)
		told := *c
		told.Phase, told.Token = konductorv1.ClaimGranted, h.FencingToken
		s.claims.Observe(told, s.now)
	}
	s.claims.Settle(status.Holders)

	s.created++
	again.Phase, again.Token, again.Held, again.Revision = konductorv1.ClaimPending, 0, false, s.created
	s.claims.Observe(again, s.now)
}

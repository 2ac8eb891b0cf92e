package rules_test

import (
	"fmt"
	"testing"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/rules"
)

// BenchmarkSemaphoreGrant is a handover: a holder releases and the next claim in the queue is granted. The cost must not depend
// on the length of the queue.
func BenchmarkSemaphoreGrant(b *testing.B) {
	for _, holders := range []int{1, 100} {
		for _, waiting := range []int{100, 1_000, 10_000} {
			b.Run(fmt.Sprintf("holders=%d/waiting=%d", holders, waiting), func(b *testing.B) {
				s := newLoadedSemaphore(holders, waiting)
				b.ReportAllocs()
				for b.Loop() {
					handOver(b, s)
				}
			})
		}
	}
}

// BenchmarkSemaphoreGrantPastBlockedHead is the same behind a claim for which too few permits are free.
func BenchmarkSemaphoreGrantPastBlockedHead(b *testing.B) {
	for _, waiting := range []int{100, 10_000} {
		b.Run(fmt.Sprintf("waiting=%d", waiting), func(b *testing.B) {
			s := newLoadedSemaphore(2, waiting)
			s.addClaims(newClaim("big").permits(2).priority(1))
			b.ReportAllocs()
			for b.Loop() {
				handOver(b, s)
				s.sem.Status.Overtaken = nil // so that it may be overtaken again
			}
		})
	}
}

// newLoadedSemaphore is a semaphore with that many holders and waiting claims.
func newLoadedSemaphore(holders, waiting int) *scenario {
	s := newSemaphoreScenario(int32(holders))
	for i := range holders + waiting {
		s.addClaims(newClaim(fmt.Sprintf("claim%06d", i)))
	}
	s.reconcile()
	return s
}

// handOver deletes the claim of the first holder, decides, acts on the decision like scenario.reconcile, and puts that claim at
// the end of the queue again.
func handOver(b *testing.B, s *scenario) {
	first := s.holders()[0]
	known, _ := s.claims.Find(first.ClaimUID)
	again := *known
	s.claims.ObserveDeletion(first.ClaimUID)

	status, act := rules.DecideSemaphore(s.sem, s.claims, s.revision, instantAt(s.now))
	if len(act.Granted) != 1 {
		b.Fatalf("%d grants, want 1", len(act.Granted))
	}
	s.sem.Status = status
	s.revision++
	for _, h := range act.Notify {
		c, _ := s.claims.Find(h.ClaimUID)
		told := *c
		told.Phase, told.Token = konductorv1.ClaimGranted, h.FencingToken
		s.claims.Observe(told, s.now)
	}
	s.claims.PruneTombstones(status.Holders)

	s.createdClaims++
	again.Phase, again.Token, again.GrantObserved, again.CreationRevision = konductorv1.ClaimPending, 0, false, s.createdClaims
	s.claims.Observe(again, s.now)
}

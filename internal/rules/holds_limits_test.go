package rules_test

import (
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/rules"
)

// bulkClaims is a semaphore with claims that are observed in the order in which they are added.
type bulkClaims struct {
	semaphore *konductorv1.Semaphore
	claims    *rules.ClaimSet
}

func newBulkClaims(permits int32) *bulkClaims {
	s := &konductorv1.Semaphore{ObjectMeta: metav1.ObjectMeta{Name: "s", UID: "s"}, Spec: konductorv1.SemaphoreSpec{Permits: permits}}
	c := &bulkClaims{semaphore: s, claims: rules.NewClaimSet()}
	c.claims.SetTargetUID(s.UID)
	return c
}

func (c *bulkClaims) add(name string, change func(*rules.Claim)) types.UID {
	claim := rules.Claim{Name: name, UID: types.UID(name), Holder: name, Permits: 1, BoundToPod: true, Phase: konductorv1.ClaimPending, CreationRevision: uint64(c.claims.Len() + 1)}
	change(&claim)
	c.claims.Observe(claim, 0)
	return claim.UID
}

func (c *bulkClaims) decide() (konductorv1.SemaphoreStatus, rules.HoldDecision) {
	return rules.DecideSemaphore(c.semaphore, c.claims, 1000, rules.Instant{Monotonic: time.Second})
}

func wasGranted(act rules.HoldDecision, uid types.UID) bool {
	for _, c := range act.Granted {
		if c.UID == uid {
			return true
		}
	}
	return false
}

// TestGrantScanSkipsUnnotifiedHolders has more holders that have not been notified, as after a crash, than claims are scanned
// behind one that doesn't fit.
func TestGrantScanSkipsUnnotifiedHolders(t *testing.T) {
	const holders = 2 * konductorv1.MaxOvertakenClaims
	c := newBulkClaims(holders + 1)
	for i := range holders {
		name := fmt.Sprintf("holder-%d", i)
		c.add(name, func(*rules.Claim) {})
		c.semaphore.Status.Holders = append(c.semaphore.Status.Holders, konductorv1.Holder{Claim: name, ClaimUID: types.UID(name), Name: name, Permits: 1, FencingToken: int64(i + 1)})
	}
	c.add("large", func(claim *rules.Claim) { claim.Permits, claim.Priority = 5, 1 })
	small := c.add("small", func(*rules.Claim) {})
	if _, act := c.decide(); !wasGranted(act, small) {
		t.Error("a permit stays free beside a claim for it")
	}
}

func TestMaxRefusalsPerDecision(t *testing.T) {
	const many = 10_000
	c := newBulkClaims(1)
	for i := range many {
		c.add(fmt.Sprintf("large-%d", i), func(claim *rules.Claim) { claim.Permits, claim.Priority = 2, 1 })
	}
	small := c.add("small", func(*rules.Claim) {})
	status, act := c.decide()
	if n := len(act.Refuse); n == 0 || n > 500 {
		t.Errorf("%d claims are refused at once", n)
	}
	if status.Waiting != 0 {
		t.Errorf("%d wait, and all but the one that is granted can't be", status.Waiting)
	}
	if !wasGranted(act, small) {
		t.Error("who fits waits until all others are refused")
	}
}

func TestMaxPriority(t *testing.T) {
	c := newBulkClaims(1)
	c.semaphore.Spec.MaxPriority = new(int32)
	for i := range 10_000 {
		c.add(fmt.Sprintf("above-%d", i), func(claim *rules.Claim) { claim.Priority = 1 })
	}
	allowed := c.add("allowed", func(*rules.Claim) {})
	_, act := c.decide()
	if !wasGranted(act, allowed) {
		t.Error("a claim of an allowed priority waits until all others are refused")
	}
	if n := len(act.Refuse); n == 0 || n > 500 {
		t.Errorf("%d claims are refused at once", n)
	}
	for _, r := range act.Refuse {
		if want := "asks for priority 1: ask for at most 0, or raise spec.maxPriority"; r.Claim.Priority != 1 || r.Message != want {
			t.Fatalf("%s is refused: %s, want %s", r.Claim.Name, r.Message, want)
		}
	}
	c.semaphore.Spec.MaxPriority = nil
	if _, act = c.decide(); len(act.Refuse) > 0 || wasGranted(act, allowed) {
		t.Errorf("without a limit, %d are refused, and the lowest priority is granted: %t", len(act.Refuse), wasGranted(act, allowed))
	}
}

package controller

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/apis/waits"
)

func claimBy(uid, holder string, phase konductorv1.ClaimPhase) *konductorv1.Claim {
	return &konductorv1.Claim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", UID: types.UID(uid)},
		Spec:       konductorv1.ClaimSpec{Holder: holder}, Status: konductorv1.ClaimStatus{Phase: phase},
	}
}

func TestANamespaceIsLookedAtOnlyWhereThereCanBeACircle(t *testing.T) {
	s := newStakes()
	claim := func(c *konductorv1.Claim, gone bool) bool {
		_, look := s.note("shop", time.Second, func(o *corner) { s.claim(o, c, gone) })
		return look
	}
	for i, step := range []struct {
		claim *konductorv1.Claim
		gone  bool
		look  bool
	}{
		{claimBy("1", "ann", konductorv1.ClaimPending), false, false},
		{claimBy("1", "ann", konductorv1.ClaimGranted), false, false},
		{claimBy("2", "bob", konductorv1.ClaimPending), false, false},
		{claimBy("3", "ann", konductorv1.ClaimPending), false, true}, // ann holds one and waits for another
		{claimBy("2", "bob", konductorv1.ClaimGranted), false, true}, // whatever changes matters now
		{claimBy("3", "ann", konductorv1.ClaimRefused), false, true}, // it stood otherwise before
		{claimBy("3", "ann", konductorv1.ClaimRefused), true, false}, // counted once
		{claimBy("2", "bob", konductorv1.ClaimGranted), true, false}, // and nobody has two
		{claimBy("1", "ann", konductorv1.ClaimGranted), true, false},
	} {
		if got := claim(step.claim, step.gone); got != step.look {
			t.Errorf("step %d: looked at: %t, want %t", i+1, got, step.look)
		}
	}
	if len(s.corners) != 0 || len(s.claims) != 0 {
		t.Errorf("something is remembered of what is gone: %v %v", s.corners, s.claims)
	}
}

func TestLooksAreApart(t *testing.T) {
	s := newStakes()
	mark := func(c *corner) { c.marked[waits.Ref{Name: "x"}] = struct{}{} }
	if after, _ := s.note("shop", time.Minute, mark); after != lookAfter {
		t.Errorf("the first look is after %s", after)
	}
	s.looked("shop", time.Minute, 10*time.Millisecond)
	if after, _ := s.note("shop", time.Minute+100*time.Millisecond, mark); after != lookApart-100*time.Millisecond {
		t.Errorf("the next is after %s", after)
	}
	s.looked("shop", time.Minute, time.Second)
	if after, _ := s.note("shop", time.Minute, mark); after != lookShare*time.Second {
		t.Errorf("after a look that took a second, the next is after %s", after)
	}
	if after, _ := s.note("shop", time.Hour, mark); after != lookAfter {
		t.Errorf("a later one is after %s", after)
	}
}

func TestAPodThatWaitsByACommandIsAStake(t *testing.T) {
	pod := &corev1.Pod{
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Command: []string{"koncli", "gate", "wait", "late"}}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{
			Name: "main", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
		}}},
	}
	if !waits.MayWait(waits.CutPod(pod)) {
		t.Error("it isn't seen to wait")
	}
	pod.Status.Phase = corev1.PodSucceeded
	if waits.MayWait(waits.CutPod(pod)) {
		t.Error("a Pod that has ended is seen to wait")
	}
}

// A change where nothing can be in a circle costs this much, beside the grant.
func BenchmarkAClaimOfOneWhoHoldsNothingElse(b *testing.B) {
	s := newStakes()
	claims := make([]*konductorv1.Claim, 1<<12)
	for i := range claims {
		id := types.UID(rune(i + 1))
		claims[i] = claimBy(string(id), string(id), konductorv1.ClaimPending)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		c := claims[i%len(claims)]
		s.note("shop", 0, func(o *corner) { s.claim(o, c, i/len(claims)%2 == 1) })
	}
}

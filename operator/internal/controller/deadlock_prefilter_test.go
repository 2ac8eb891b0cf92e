package controller

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/waitgraph"
)

func newTestHolderClaim(uid, holder string, phase konductorv1.ClaimPhase) *konductorv1.Claim {
	return &konductorv1.Claim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", UID: types.UID(uid)},
		Spec:       konductorv1.ClaimSpec{Holder: holder}, Status: konductorv1.ClaimStatus{Phase: phase},
	}
}

func TestRecordChangeNeedsCheck(t *testing.T) {
	s := newDeadlockPrefilter()
	claim := func(c *konductorv1.Claim, gone bool) bool {
		_, look := s.recordChange("shop", time.Second, func(o *namespaceState) { s.recordClaim(o, c, gone) })
		return look
	}
	for i, step := range []struct {
		claim *konductorv1.Claim
		gone  bool
		look  bool
	}{
		{newTestHolderClaim("1", "ann", konductorv1.ClaimPending), false, false},
		{newTestHolderClaim("1", "ann", konductorv1.ClaimGranted), false, false},
		{newTestHolderClaim("2", "bob", konductorv1.ClaimPending), false, false},
		{newTestHolderClaim("3", "ann", konductorv1.ClaimPending), false, true}, // ann holds one and waits for another
		{newTestHolderClaim("2", "bob", konductorv1.ClaimGranted), false, true}, // now every change needs a check
		{newTestHolderClaim("3", "ann", konductorv1.ClaimRefused), false, true}, // because of the state before it
		{newTestHolderClaim("3", "ann", konductorv1.ClaimRefused), true, false}, // counted once
		{newTestHolderClaim("2", "bob", konductorv1.ClaimGranted), true, false}, // nobody has two any more
		{newTestHolderClaim("1", "ann", konductorv1.ClaimGranted), true, false},
	} {
		if got := claim(step.claim, step.gone); got != step.look {
			t.Errorf("step %d: looked at: %t, want %t", i+1, got, step.look)
		}
	}
	if len(s.namespaces) != 0 || len(s.holderKeyByClaim) != 0 {
		t.Errorf("something is remembered of what is gone: %v %v", s.namespaces, s.holderKeyByClaim)
	}
}

func TestNextCheckDelay(t *testing.T) {
	s := newDeadlockPrefilter()
	mark := func(c *namespaceState) { c.deadlockedObjects[waitgraph.Ref{Name: "x"}] = struct{}{} }
	if after, _ := s.recordChange("shop", time.Minute, mark); after != checkDelay {
		t.Errorf("the first look is after %s", after)
	}
	s.recordCheck("shop", time.Minute, 10*time.Millisecond)
	if after, _ := s.recordChange("shop", time.Minute+100*time.Millisecond, mark); after != minCheckInterval-100*time.Millisecond {
		t.Errorf("the next is after %s", after)
	}
	s.recordCheck("shop", time.Minute, time.Second)
	if after, _ := s.recordChange("shop", time.Minute, mark); after != checkPauseFactor*time.Second {
		t.Errorf("after a look that took a second, the next is after %s", after)
	}
	if after, _ := s.recordChange("shop", time.Hour, mark); after != checkDelay {
		t.Errorf("a later one is after %s", after)
	}
}

func TestMayWait(t *testing.T) {
	pod := &corev1.Pod{
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Command: []string{"koncli", "gate", "wait", "late"}}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{
			Name: "main", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
		}}},
	}
	if !waitgraph.MayWait(waitgraph.StripPod(pod)) {
		t.Error("it isn't seen to wait")
	}
	pod.Status.Phase = corev1.PodSucceeded
	if waitgraph.MayWait(waitgraph.StripPod(pod)) {
		t.Error("a Pod that has ended is seen to wait")
	}
}

// BenchmarkRecordClaimOfSingleHolder measures what a change costs, beside the grant, where no wait cycle is possible.
func BenchmarkRecordClaimOfSingleHolder(b *testing.B) {
	s := newDeadlockPrefilter()
	claims := make([]*konductorv1.Claim, 1<<12)
	for i := range claims {
		id := types.UID(rune(i + 1))
		claims[i] = newTestHolderClaim(string(id), string(id), konductorv1.ClaimPending)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		c := claims[i%len(claims)]
		s.recordChange("shop", 0, func(o *namespaceState) { s.recordClaim(o, c, i/len(claims)%2 == 1) })
	}
}

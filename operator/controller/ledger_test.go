package controller

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/LogicIQ/konductor/apis/rules"
	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

func claimOn(lease, name string, phase konductorv1.ClaimPhase) *konductorv1.Claim {
	return &konductorv1.Claim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("uid-" + name), ResourceVersion: "7"},
		Spec:       konductorv1.ClaimSpec{Target: konductorv1.ClaimTarget{Kind: konductorv1.KindLease, Name: lease}, Holder: name},
		Status:     konductorv1.ClaimStatus{Phase: phase, FencingToken: 5},
	}
}

func TestAnAnswerThatComesAfterTheNewsOfTheDeletionBringsNoClaimBack(t *testing.T) {
	l := newLedger[*konductorv1.Lease](konductorv1.KindLease)
	key := types.NamespacedName{Namespace: "default", Name: "db"}
	l.observe(claimOn("db", "b", konductorv1.ClaimPending), rules.Now{})
	// b is told that it holds, gives back at once, and the watch of claims is quick to show it.
	l.forget(claimOn("db", "b", konductorv1.ClaimGranted))
	// The watch of leases is slower: it shows a revision from before the grant, so nobody seems to ask for b any more.
	l.seen(key, []konductorv1.SemaphoreHolder{{ClaimUID: "uid-a"}})

	if l.answer(claimOn("db", "b", konductorv1.ClaimGranted), rules.Now{}) {
		t.Error("the answer of long ago is taken for news")
	}
	if _, presence := l.account(key).claims.Find("uid-b"); presence == rules.Present {
		t.Error("the claim is back, and nothing will ever remove it")
	}
}

func TestAnAnswerTellsMoreOfAClaimThatIsKnown(t *testing.T) {
	l := newLedger[*konductorv1.Lease](konductorv1.KindLease)
	l.observe(claimOn("db", "b", konductorv1.ClaimPending), rules.Now{})
	if !l.answer(claimOn("db", "b", konductorv1.ClaimGranted), rules.Now{}) {
		t.Error("a claim that is there is not known")
	}
	c, _ := l.account(types.NamespacedName{Namespace: "default", Name: "db"}).claims.Find("uid-b")
	if c == nil || c.Phase != konductorv1.ClaimGranted || c.Token != 5 {
		t.Errorf("the claim is %+v", c)
	}
}

func TestAClaimThatIsBeingDeletedIsReleased(t *testing.T) {
	key := types.NamespacedName{Namespace: "default", Name: "db"}
	broken := claimOn("db", "a", konductorv1.ClaimGranted)
	broken.Annotations = map[string]string{konductorv1.BrokenByAnnotation: "jane"}
	deleted := metav1.Now()
	broken.DeletionTimestamp = &deleted
	for what, known := range map[string]bool{"one that was known": true, "one that is seen for the first time": false} {
		t.Run(strings.ReplaceAll(what, " ", "_"), func(t *testing.T) {
			l := newLedger[*konductorv1.Lease](konductorv1.KindLease)
			if known {
				l.observe(claimOn("db", "a", konductorv1.ClaimGranted), rules.Now{})
			}
			if !l.observe(broken, rules.Now{}) {
				t.Error("that it is being deleted is no news")
			}
			if _, presence := l.account(key).claims.Find(broken.UID); presence != rules.Gone {
				t.Errorf("its presence is %d, not gone", presence)
			}
			if l.observe(broken, rules.Now{}) {
				t.Error("that it is still being deleted is news")
			}
			l.forget(broken)
			if n := l.account(key).claims.Len(); n != 0 {
				t.Errorf("%d claims are left", n)
			}
		})
	}
}

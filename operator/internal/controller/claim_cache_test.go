package controller

import (
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/rules"
)

func newTestLeaseClaim(lease, name string, phase konductorv1.ClaimPhase) *konductorv1.Claim {
	return &konductorv1.Claim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("uid-" + name), ResourceVersion: "7"},
		Spec:       konductorv1.ClaimSpec{Target: konductorv1.ClaimTarget{Kind: konductorv1.KindLease, Name: lease}, Holder: name},
		Status:     konductorv1.ClaimStatus{Phase: phase, FencingToken: 5},
	}
}

func TestRecordResponseIgnoresDeletedClaim(t *testing.T) {
	l := newClaimCache[*konductorv1.Lease](konductorv1.KindLease)
	key := types.NamespacedName{Namespace: "default", Name: "db"}
	l.observeClaim(newTestLeaseClaim("db", "b", konductorv1.ClaimPending), rules.Instant{})
	// b is notified of its grant and releases at once, and the watch of claims is quick to deliver the deletion.
	l.removeClaim(newTestLeaseClaim("db", "b", konductorv1.ClaimGranted))
	// The watch of leases is slower: it delivers a revision from before the grant, which drops b's tombstone.
	l.recordTarget(key, []konductorv1.Holder{{ClaimUID: "uid-a"}})

	if l.recordResponse(newTestLeaseClaim("db", "b", konductorv1.ClaimGranted), rules.Instant{}) {
		t.Error("the answer of long ago is taken for news")
	}
	if _, presence := l.targetState(key).claims.Find("uid-b"); presence == rules.ExistenceConfirmed {
		t.Error("the claim is back, and nothing will ever remove it")
	}
}

func TestRecordResponseUpdatesKnownClaim(t *testing.T) {
	l := newClaimCache[*konductorv1.Lease](konductorv1.KindLease)
	l.observeClaim(newTestLeaseClaim("db", "b", konductorv1.ClaimPending), rules.Instant{})
	if !l.recordResponse(newTestLeaseClaim("db", "b", konductorv1.ClaimGranted), rules.Instant{}) {
		t.Error("a claim that is there is not known")
	}
	c, _ := l.targetState(types.NamespacedName{Namespace: "default", Name: "db"}).claims.Find("uid-b")
	if c == nil || c.Phase != konductorv1.ClaimGranted || c.Token != 5 {
		t.Errorf("the claim is %+v", c)
	}
}

func TestObserveClaimWithDeletionTimestamp(t *testing.T) {
	key := types.NamespacedName{Namespace: "default", Name: "db"}
	broken := newTestLeaseClaim("db", "a", konductorv1.ClaimGranted)
	broken.Annotations = map[string]string{konductorv1.BrokenByAnnotation: "jane"}
	deleted := metav1.Now()
	broken.DeletionTimestamp = &deleted
	for what, known := range map[string]bool{"one that was known": true, "one that is seen for the first time": false} {
		t.Run(strings.ReplaceAll(what, " ", "_"), func(t *testing.T) {
			l := newClaimCache[*konductorv1.Lease](konductorv1.KindLease)
			if known {
				l.observeClaim(newTestLeaseClaim("db", "a", konductorv1.ClaimGranted), rules.Instant{})
			}
			if !l.observeClaim(broken, rules.Instant{}) {
				t.Error("that it is being deleted is no news")
			}
			if _, presence := l.targetState(key).claims.Find(broken.UID); presence != rules.ExistenceDeleted {
				t.Errorf("its presence is %d, not gone", presence)
			}
			if l.observeClaim(broken, rules.Instant{}) {
				t.Error("that it is still being deleted is news")
			}
			l.removeClaim(broken)
			if n := l.targetState(key).claims.Len(); n != 0 {
				t.Errorf("%d claims are left", n)
			}
		})
	}
}

// TestContradictedClaimIsVerified observes a claim in an earlier phase than the cached one, or after its deletion: the event
// may be late, or etcd may have been restored to an older state.
func TestContradictedClaimIsVerified(t *testing.T) {
	key := types.NamespacedName{Namespace: "default", Name: "db"}
	for what, known := range map[string]konductorv1.ClaimPhase{
		"granted": konductorv1.ClaimGranted, "expired": konductorv1.ClaimExpired, "refused": konductorv1.ClaimRefused, "deleted": "",
	} {
		t.Run(what, func(t *testing.T) {
			l := newClaimCache[*konductorv1.Lease](konductorv1.KindLease)
			l.recordTarget(key, nil)
			l.observeClaim(newTestLeaseClaim("db", "a", known), rules.Instant{})
			if known == "" {
				l.observeClaim(newTestLeaseClaim("db", "a", konductorv1.ClaimGranted), rules.Instant{})
				l.removeClaim(newTestLeaseClaim("db", "a", konductorv1.ClaimGranted))
			}
			before := newTestLeaseClaim("db", "a", konductorv1.ClaimPending)
			before.ResourceVersion, before.Status.FencingToken = "3", 0
			if !l.observeClaim(before, rules.Instant{}) {
				t.Error("it is no news, so that nobody asks")
			}
			a := l.targetState(key)
			if a.contradicted[before.UID] != before.Name {
				t.Errorf("doubtful are %v", a.contradicted)
			}
			if !l.recordVerified(before, rules.Instant{}) {
				t.Error("it is not known")
			}
			c, presence := a.claims.Find(before.UID)
			if presence != rules.ExistenceConfirmed || c.Phase != konductorv1.ClaimPending || c.ResourceVersion != "3" {
				t.Errorf("presence %d, %+v", presence, c)
			}
			if len(a.contradicted)+len(a.finishedClaims) != 0 {
				t.Errorf("left are doubts %v, done %v", a.contradicted, a.finishedClaims)
			}
		})
	}
}

func TestRecordVerifiedIgnoresDeletedClaim(t *testing.T) {
	key := types.NamespacedName{Namespace: "default", Name: "db"}
	l := newClaimCache[*konductorv1.Lease](konductorv1.KindLease)
	l.observeClaim(newTestLeaseClaim("db", "a", konductorv1.ClaimGranted), rules.Instant{})
	before := newTestLeaseClaim("db", "a", konductorv1.ClaimPending)
	l.observeClaim(before, rules.Instant{})
	l.removeClaim(before)
	if l.recordVerified(before, rules.Instant{}) {
		t.Error("it is known")
	}
	if _, presence := l.targetState(key).claims.Find(before.UID); presence == rules.ExistenceConfirmed {
		t.Error("the claim is back, and nothing will ever remove it")
	}
}

func TestBoundClaims(t *testing.T) {
	l := newClaimCache[*konductorv1.Lease](konductorv1.KindLease)
	check := func(after string, want ...types.UID) {
		t.Helper()
		var got []types.UID
		l.forEachClaimOf("pod", func(_ *targetState[*konductorv1.Lease], claim types.UID) { got = append(got, claim) })
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("after %s the claims are %v, want %v", after, got, want)
		}
	}
	key := types.NamespacedName{Namespace: "default", Name: "db"}
	for _, claim := range []types.UID{"a", "b", "a", "c", "b"} {
		l.bindClaim("pod", claim, key)
	}
	check("all are bound", "a", "b", "c")
	l.unbindClaim("pod", "a")
	check("the first is gone", "b", "c")
	l.unbindClaim("pod", "b")
	l.bindClaim("pod", "a", key)
	check("another came", "a", "c")
	l.unbindClaim("pod", "a")
	l.unbindClaim("pod", "c")
	check("all are gone")
	if len(l.claimsByBound) != 0 {
		t.Errorf("%d Pods are kept", len(l.claimsByBound))
	}
}

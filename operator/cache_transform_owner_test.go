package operator

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

func TestStripClaimKeepsOnlyTargetOwnerUID(t *testing.T) {
	ours := konductorv1.GroupVersion().String()
	long := strings.Repeat("x", 1<<20)
	claim := &konductorv1.Claim{Spec: konductorv1.ClaimSpec{Target: konductorv1.ClaimTarget{Kind: konductorv1.KindLease, Name: "db"}}}
	claim.OwnerReferences = []metav1.OwnerReference{
		{APIVersion: "v1", Kind: "ConfigMap", Name: long, UID: "a"},
		{APIVersion: ours, Kind: konductorv1.KindLease, Name: long, UID: "b"},
		{APIVersion: ours, Kind: konductorv1.KindLease, Name: "db", UID: "c"},
		{APIVersion: ours, Kind: konductorv1.KindLease, Name: "db", UID: types.UID(long)},
	}
	got, err := stripClaim(claim)
	if err != nil {
		t.Fatal(err)
	}
	kept, ok := got.(*konductorv1.Claim)
	if !ok {
		t.Fatalf("it has become a %T", got)
	}
	if len(kept.OwnerReferences) != 1 || kept.OwnerReferences[0] != (metav1.OwnerReference{APIVersion: ours, Kind: konductorv1.KindLease, UID: "c"}) {
		t.Errorf("of its owners are kept: %+v", kept.OwnerReferences)
	}
}

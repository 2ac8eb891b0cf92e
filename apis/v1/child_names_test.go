package v1_test

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"pgregory.net/rapid"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

func TestChildNames(t *testing.T) {
	lock := konductorv1.ClaimTarget{Kind: konductorv1.KindLease, Name: "lock"}
	slots := konductorv1.ClaimTarget{Kind: konductorv1.KindSemaphore, Name: "lock"}
	long := strings.Repeat("a", 253)
	tests := map[string]struct {
		one, other string
		same       bool
	}{
		"who arrives again finds its own arrival": {
			konductorv1.ArrivalName("b", "uid", "p"), konductorv1.ArrivalName("b", "uid", "p"), true},
		"another participant has another arrival": {
			konductorv1.ArrivalName("b", "uid", "p"), konductorv1.ArrivalName("b", "uid", "q"), false},
		"a barrier that is created again starts anew": {
			konductorv1.ArrivalName("b", "uid", "p"), konductorv1.ArrivalName("b", "uid2", "p"), false},
		"barriers whose long names begin alike are kept apart": {
			konductorv1.ArrivalName(long, "uid", "p"), konductorv1.ArrivalName(long, "uid2", "p"), false},
		"who asks again finds its own claim": {
			konductorv1.ClaimName(lock, "h", "pod"), konductorv1.ClaimName(lock, "h", "pod"), true},
		"another pod of the same name queues for itself": {
			konductorv1.ClaimName(lock, "h", "pod"), konductorv1.ClaimName(lock, "h", "pod2"), false},
		"without a pod is not with any pod": {
			konductorv1.ClaimName(lock, "h", "pod"), konductorv1.ClaimName(lock, "h", ""), false},
		"what belongs to the holder doesn't move to the pod": {
			konductorv1.ClaimName(lock, "ab", "c"), konductorv1.ClaimName(lock, "a", "bc"), false},
		"a lease and a semaphore of the same name are kept apart": {
			konductorv1.ClaimName(lock, "h", ""), konductorv1.ClaimName(slots, "h", ""), false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if (test.one == test.other) != test.same {
				t.Errorf("%s and %s", test.one, test.other)
			}
		})
	}
	for got, want := range map[string]string{
		konductorv1.ArrivalName("stage", "uid", "p"):       "stage-",
		konductorv1.ClaimName(lock, "h", ""):               "lease-lock-",
		konductorv1.ClaimName(slots, "h", ""):              "semaphore-lock-",
		konductorv1.ArrivalName("dots..-.", "uid", "p"):    "dots-",
		konductorv1.ArrivalName(long, "uid", "p")[235:237]: "a-",
	} {
		if !strings.HasPrefix(got, want) {
			t.Errorf("%s doesn't begin with %s", got, want)
		}
	}
}

func TestChildNamesAreValid(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		object := rapid.StringMatching(`[a-z0-9]([-a-z0-9]{0,60}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,60}[a-z0-9])?){0,3}`).Draw(t, "object")
		who := rapid.StringN(1, 320, -1).Draw(t, "who")
		target := konductorv1.ClaimTarget{Kind: rapid.SampledFrom([]string{konductorv1.KindLease, konductorv1.KindSemaphore}).Draw(t, "kind"), Name: object}
		for _, name := range []string{
			konductorv1.ArrivalName(object, "uid", who), konductorv1.ClaimName(target, who, types.UID(who)),
		} {
			if problems := validation.IsDNS1123Subdomain(name); len(problems) > 0 {
				t.Fatalf("%q is no name for an object: %v", name, problems)
			}
		}
	})
}

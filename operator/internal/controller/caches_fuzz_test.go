package controller

import (
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/costtest"
	"github.com/LogicIQ/konductor/internal/rules"
)

// FuzzCachesAreEmptiedAfterDeletion creates, changes and deletes claims and arrivals. Of each three bytes of the input the
// first is the operation, the second the number of objects less one, and the third their names and Pods. When all of them
// are gone, the caches must be empty.
func FuzzCachesAreEmptiedAfterDeletion(f *testing.F) {
	f.Add([]byte("\x00\xff\x01\x01\xff\x01\x02\xff\x01"))             // claims are created, granted and deleted
	f.Add([]byte("\x00\x40\x02\x03\x40\x02\x02\x40\x02"))             // they have a deletionTimestamp
	f.Add([]byte("\x00\x40\x03\x04\x40\x03\x02\x40\x03\x00\x40\x03")) // their Pods end
	f.Add([]byte("\x05\xff\x01\x06\xff\x01\x05\xff\x02"))             // arrivals are created and deleted
	f.Fuzz(func(t *testing.T, program []byte) {
		const most, perStep = 100, 20_000
		program = program[:min(len(program), 3*most)]
		steps := 1
		for i := 0; i+2 < len(program); i += 3 {
			steps += 1 + int(program[i+1])
		}
		cache := newClaimCache[*konductorv1.Lease](konductorv1.KindLease)
		prefilter := newDeadlockPrefilter()
		reconciler := &barrierReconciler{arrivalCaches: map[types.NamespacedName]*arrivalCache{}}
		claims, arrivals := map[types.UID]*konductorv1.Claim{}, map[types.UID]*konductorv1.Arrival{}
		created := 0
		claim := func(n int, with byte) *konductorv1.Claim {
			uid := types.UID(fmt.Sprint(n))
			if claims[uid] == nil {
				created++
				claims[uid] = &konductorv1.Claim{
					ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: fmt.Sprint(n), UID: types.UID(fmt.Sprintf("%d of %d", n, created))},
					Spec: konductorv1.ClaimSpec{
						Target: konductorv1.ClaimTarget{Kind: konductorv1.KindLease, Name: fmt.Sprint(with % 7)}, Holder: fmt.Sprint(with % 5),
						BoundTo: &konductorv1.BoundObject{Name: "p", UID: types.UID(fmt.Sprint(with % 3))},
					},
				}
			}
			return claims[uid].DeepCopy()
		}
		applyArrival := func(a *konductorv1.Arrival, take func(*arrivalCache, *konductorv1.Arrival)) {
			key := types.NamespacedName{Namespace: "n", Name: a.Spec.Barrier}
			take(reconciler.arrivalCacheFor(key), a)
			reconciler.removeUnusedCache(key)
		}
		removeClaim := func(n int, c *konductorv1.Claim) {
			cache.removeClaim(c)
			prefilter.recordChange("n", 0, func(corner *namespaceState) { prefilter.recordClaim(corner, c, true) })
			delete(claims, types.UID(fmt.Sprint(n)))
		}
		costtest.CheckLinear(t, steps, perStep, func() {
			for i := 0; i+2 < len(program); i += 3 {
				with := program[i+2]
				for n := range 1 + int(program[i+1]) {
					c := claim(n, with)
					a := &konductorv1.Arrival{ObjectMeta: metav1.ObjectMeta{Namespace: "n", UID: types.UID(fmt.Sprint(n, with))}}
					a.Spec.Barrier, a.Spec.Failed = fmt.Sprint(with%7), with%2 == 0
					switch program[i] % 7 {
					case 1:
						c.Status.Phase, c.Status.FencingToken = konductorv1.ClaimGranted, 7
					case 2:
						removeClaim(n, c)
						continue
					case 3:
						c.DeletionTimestamp = &metav1.Time{Time: time.Unix(0, 0)}
					case 4:
						cache.recordBoundEnded(types.UID(fmt.Sprint(with % 3)))
						continue
					case 5:
						arrivals[a.UID] = a
						applyArrival(a, (*arrivalCache).addArrival)
						continue
					case 6:
						applyArrival(a, (*arrivalCache).removeArrival)
						delete(arrivals, a.UID)
						continue
					}
					cache.observeClaim(c, rules.Instant{})
					cache.recordResponse(c, rules.Instant{})
					prefilter.recordChange("n", 0, func(corner *namespaceState) { prefilter.recordClaim(corner, c, false) })
				}
			}
		})
		for name, c := range claims {
			var n int
			if _, err := fmt.Sscan(string(name), &n); err != nil {
				t.Fatal(err)
			}
			removeClaim(n, c)
		}
		for _, a := range arrivals {
			applyArrival(a, (*arrivalCache).removeArrival)
		}
		if len(cache.targets)+len(cache.claimsByBound)+len(prefilter.namespaces)+len(prefilter.holderKeyByClaim)+len(reconciler.arrivalCaches) != 0 {
			t.Errorf("when all is gone %d accounts are kept, %d Pods, %d namespaces, %d claims of them and %d barriers",
				len(cache.targets), len(cache.claimsByBound), len(prefilter.namespaces), len(prefilter.holderKeyByClaim), len(reconciler.arrivalCaches))
		}
	})
}

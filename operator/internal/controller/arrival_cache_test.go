package controller

import (
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

func TestCannotChangePhase(t *testing.T) {
	waiting := konductorv1.BarrierStatus{Phase: konductorv1.BarrierWaiting, ObservedGeneration: 2}
	for name, tt := range map[string]struct {
		status          konductorv1.BarrierStatus
		arrived, failed int
		want            bool
	}{
		"too few have come":                               {waiting, 2, 0, true},
		"too few have come, and one may fail":             {waiting, 1, 1, true},
		"enough have come":                                {waiting, 3, 0, false},
		"enough have come, if the failed counted":         {waiting, 2, 1, false},
		"too many have failed":                            {waiting, 0, 2, false},
		"it has not been looked at since its spec is new": {konductorv1.BarrierStatus{Phase: konductorv1.BarrierWaiting, ObservedGeneration: 1}, 1, 0, false},
		"it is new":          {konductorv1.BarrierStatus{}, 1, 0, false},
		"it has timed out":   {konductorv1.BarrierStatus{Phase: konductorv1.BarrierTimeout, ObservedGeneration: 2}, 1, 0, false},
		"it has failed once": {konductorv1.BarrierStatus{Phase: konductorv1.BarrierFailed, ObservedGeneration: 2}, 1, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			b := &konductorv1.Barrier{
				ObjectMeta: metav1.ObjectMeta{Generation: 2},
				Spec:       konductorv1.BarrierSpec{Expected: 4, Quorum: ptr.To(int32(3))},
				Status:     tt.status,
			}
			a := &arrivalCache{arrivals: map[types.UID]cachedArrival{}}
			var last *konductorv1.Arrival
			for i := range tt.arrived + tt.failed {
				last = &konductorv1.Arrival{
					ObjectMeta: metav1.ObjectMeta{UID: types.UID(fmt.Sprint(i)), ResourceVersion: fmt.Sprint(i + 1)},
					Spec:       konductorv1.ArrivalSpec{Participant: fmt.Sprint(i), Failed: i >= tt.arrived},
				}
				a.addArrival(last)
				a.addArrival(last) // observed again
			}
			if got := a.cannotChangePhase(b); got != tt.want {
				t.Errorf("got %t", got)
			}
			if a.removeArrival(last); a.failedCount != max(tt.failed-1, 0) {
				t.Errorf("after the last was taken back %d have failed", a.failedCount)
			}
			if a.removeArrival(last); a.failedCount < 0 {
				t.Error("an arrival was taken back twice")
			}
		})
	}
}

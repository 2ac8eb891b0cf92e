package rules_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/costtest"
	"github.com/LogicIQ/konductor/internal/rules"
)

// FuzzClaimSet changes the claims on one semaphore as the input says: of each three bytes the first is the operation, the second
// to how many claims in a row (of a thousand) it applies, and the third its argument.
func FuzzClaimSet(f *testing.F) {
	f.Add([]byte("\x00\xff\x01\x02\xff\x00"))                         // created and deleted
	f.Add([]byte("\x00\xff\x01\x03\x00\x0a\x01\xff\x00\x02\xff\x00")) // granted and deleted
	f.Add([]byte(strings.Repeat("\x00\xff\x03\x03\x00\x05\x02\xff\x00", 20)))
	f.Add([]byte("\x00\xff\xff\x03\x00\x01\x04\xff\x00\x03\x00\x7f"))
	f.Fuzz(func(t *testing.T, program []byte) {
		const most, perStep = 100, 50_000
		program = program[:min(len(program), 3*most)]
		claims := rules.NewClaimSet()
		semaphore := &konductorv1.Semaphore{ObjectMeta: metav1.ObjectMeta{Name: "s", UID: "s", Generation: 1}}
		n, steps := 0, 0
		for i := 0; i+2 < len(program); i += 3 {
			steps += 1 + int(program[i+1])
		}
		costtest.CheckLinear(t, steps, perStep, func() {
			for i := 0; i+2 < len(program); i += 3 {
				with := int32(program[i+2])
				for range 1 + int(program[i+1]) {
					n++
					uid := types.UID(fmt.Sprint(n % 1000))
					switch program[i] % 6 {
					case 0:
						claims.Observe(rules.Claim{UID: uid, Name: string(uid), Permits: 1 + with, Priority: with % 3, CreationRevision: uint64(n)}, 0)
					case 1:
						claims.ObserveBoundEnd(uid)
					case 2:
						claims.ObserveDeletion(uid)
					case 4:
						claims.SetBoundKnown(uid, with%2 == 0)
					case 5:
						claims.ObserveDeletion(types.UID(fmt.Sprint("other", n)))
					}
				}
				if program[i]%6 == 3 {
					semaphore.Spec.Permits = with
					status, act := rules.DecideSemaphore(semaphore, claims, uint64(n+1), rules.Instant{Monotonic: time.Duration(n) * time.Second})
					semaphore.Status = status
					for _, c := range act.Granted {
						claims.RecordGrant(c.UID, time.Duration(n)*time.Second)
					}
					claims.PruneTombstones(status.Holders)
				}
			}
		})
	})
}

// FuzzDecideBarrier counts arrivals at a barrier.
func FuzzDecideBarrier(f *testing.F) {
	f.Add("a\nb\na\n!c", int32(3), int32(2), int64(10))
	f.Add(strings.Repeat("a\n", 10_000), int32(1_000_000), int32(1_000_000), int64(0))
	f.Add(strings.Repeat("!x", 1)+strings.Repeat("y", 300), int32(1), int32(1), int64(-5))
	f.Fuzz(func(t *testing.T, text string, expected, quorum int32, timeout int64) {
		barrier := &konductorv1.Barrier{ObjectMeta: metav1.ObjectMeta{Name: "b", Generation: 1}}
		barrier.Spec.Expected = max(expected, 1)
		q := min(max(quorum, 1), barrier.Spec.Expected)
		barrier.Spec.Quorum = &q
		if timeout > 0 {
			barrier.Spec.Timeout = konductorv1.NewDuration(time.Duration(timeout))
		}
		costtest.CheckLinear(t, len(text), 2000, func() {
			var arrivals []rules.Arrival
			for name := range strings.SplitSeq(text, "\n") {
				name, failed := strings.CutPrefix(name, "!")
				arrivals = append(arrivals, rules.Arrival{Participant: name, Failed: failed, Reason: name})
			}
			d := rules.DecideBarrier(barrier, arrivals, rules.Instant{})
			if int(d.Status.Arrived+d.Status.Failed) > len(arrivals) || len(d.Status.Arrivals) > konductorv1.MaxListedArrivals {
				t.Errorf("%d arrived, %d failed, %d are listed, of %d", d.Status.Arrived, d.Status.Failed, len(d.Status.Arrivals), len(arrivals))
			}
		})
	})
}

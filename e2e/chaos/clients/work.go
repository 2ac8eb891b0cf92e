package clients

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/e2e/chaos/history"
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// Sleep waits for d, and reports whether ctx is not done yet.
func Sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// RandomDuration returns a duration of at least least and less than most.
func RandomDuration(rng *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(rng.Int64N(int64(most-least)))
}

// doWork changes the register that the lease protects, a few times, as slowly as real work.
func (p *randomClient) doWork(ctx context.Context, r request, token int64) {
	register := p.env.Registers[r.name]
	if r.kind != konductorv1.KindLease || register == nil {
		Sleep(ctx, p.randomDuration(time.Millisecond, 120*time.Millisecond))
		return
	}
	for range 1 + p.rng.IntN(3) {
		value, ok := register.Read(token)
		Sleep(ctx, p.randomDuration(time.Millisecond, 40*time.Millisecond))
		if !ok || !register.Write(token, value+1) {
			return
		}
	}
}

// createDuplicateArrival creates a second Arrival of the same participant directly, which the API allows and which must not
// count.
func (p *randomClient) createDuplicateArrival(ctx context.Context, name, participant string, failed bool) {
	barrier := &konductorv1.Barrier{}
	if err := p.env.Objects.Get(ctx, client.ObjectKey{Namespace: p.env.Namespace, Name: name}, barrier); err != nil {
		return
	}
	owner := metav1.OwnerReference{
		APIVersion: konductorv1.GroupVersion().String(), Kind: konductorv1.KindBarrier, Name: name, UID: barrier.UID,
	}
	pending := p.env.Recorder.Begin(history.Op{
		Client: p.name, Namespace: p.env.Namespace, Action: history.Arrive, Kind: konductorv1.KindBarrier, Object: name,
		Holder: participant, AsFailed: failed, Detail: "by hand",
	})
	err := p.env.Objects.Create(ctx, &konductorv1.Arrival{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.env.Namespace, GenerateName: "by-hand-", OwnerReferences: []metav1.OwnerReference{owner}},
		Spec:       konductorv1.ArrivalSpec{Barrier: name, BarrierUID: barrier.UID, Participant: participant, Failed: failed},
	})
	switch {
	case err == nil:
		pending.Complete(history.OK, "", 0, "by hand")
	case apierrors.IsNotFound(err):
		pending.Complete(history.Fail, history.NotFound, 0, err.Error())
	default:
		// The API server is unavailable. Whether the Arrival was created is seen in the revisions.
		pending.Complete(history.Unknown, "by hand", 0, err.Error())
	}
}

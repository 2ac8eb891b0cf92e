package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/e2e/chaos/clients"
	"github.com/LogicIQ/konductor/e2e/chaos/history"
)

// admin does what people with all rights do to objects that others use. Each of its requests is repeated until it is
// certain what came of it.
type admin struct {
	place *clients.Place
	rng   *rand.Rand
	diary *Diary
}

const adminName = "admin"

// Populate creates what clients contend for.
func Populate(ctx context.Context, place *clients.Place) error {
	a := admin{place: place}
	for _, name := range place.Leases {
		if err := a.create(ctx, lease(place.Namespace, name), 1); err != nil {
			return err
		}
	}
	for name, permits := range place.Semaphores {
		if err := a.create(ctx, semaphore(place.Namespace, name, permits), permits); err != nil {
			return err
		}
	}
	return nil
}

// Barriers creates one barrier after another to meet at, until ctx is done; and deletes some while others meet there.
func Barriers(ctx context.Context, rng *rand.Rand, diary *Diary, place *clients.Place) error {
	a := admin{place, rng, diary}
	lasting := context.WithoutCancel(ctx)
	for n := 0; ; n++ {
		b := &konductorv1.Barrier{ObjectMeta: metav1.ObjectMeta{Namespace: place.Namespace, Name: fmt.Sprintf("barrier-%03d", n)}}
		b.Spec.Expected = 2 + rng.Int32N(5)
		if rng.IntN(2) == 0 {
			quorum := 1 + rng.Int32N(b.Spec.Expected)
			b.Spec.Quorum = &quorum
		}
		if rng.IntN(3) == 0 {
			b.Spec.Timeout = konductorv1.NewDuration(between(rng, time.Second, 5*time.Second).Truncate(time.Millisecond))
		}
		if err := a.create(lasting, b, 0); err != nil {
			return err
		}
		place.Barriers.Add(b.Name)
		if !pass(ctx, between(rng, time.Second, 3*time.Second)) {
			return nil
		}
		if rng.IntN(6) == 0 {
			diary.note("barrier deleted and created again", b.Name)
			again := &konductorv1.Barrier{ObjectMeta: metav1.ObjectMeta{Namespace: b.Namespace, Name: b.Name}, Spec: b.Spec}
			if err := a.remove(lasting, b, history.Delete, ""); err != nil {
				return err
			}
			pass(ctx, between(rng, 0, 500*time.Millisecond))
			if err := a.create(lasting, again, 0); err != nil {
				return err
			}
		}
	}
}

// Objects deletes claims of others, deletes and re-creates leases and semaphores, and resizes semaphores, until ctx is
// done.
func Objects(ctx context.Context, rng *rand.Rand, diary *Diary, place *clients.Place) error {
	a := admin{place, rng, diary}
	deck := []fault{a.breakClaim, a.breakClaim, a.resize, a.resize, a.resize, a.recreateSemaphore}
	if len(place.Leases) > 0 {
		deck = append(deck, a.recreateLease)
	}
	return deal(ctx, rng, 200*time.Millisecond, 2*time.Second, deck...)
}

func lease(namespace, name string) *konductorv1.Lease {
	return &konductorv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
}

func semaphore(namespace, name string, permits int32) *konductorv1.Semaphore {
	return &konductorv1.Semaphore{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: konductorv1.SemaphoreSpec{Permits: permits},
	}
}

// breakClaim deletes somebody's claim, whether it waits or holds.
func (a admin) breakClaim(ctx context.Context) error {
	claims := &konductorv1.ClaimList{}
	err := a.until(ctx, func(ctx context.Context) error {
		return a.place.Objects.List(ctx, claims, client.InNamespace(a.place.Namespace))
	})
	if err != nil {
		return err
	}
	var live []*konductorv1.Claim
	for i := range claims.Items {
		if c := &claims.Items[i]; c.Status.Phase == konductorv1.ClaimGranted || c.Status.Phase == konductorv1.ClaimPending {
			live = append(live, c)
		}
	}
	if len(live) == 0 {
		return nil
	}
	c := live[a.rng.IntN(len(live))]
	a.diary.note("claim deleted by another", c.Name)
	lasting := context.WithoutCancel(ctx)
	if err := a.markBroken(lasting, c); err != nil {
		return err
	}
	return a.remove(lasting, c, history.Break, c.Spec.Holder)
}

// markBroken says in a claim who is about to delete it: without, nobody may. It may be gone by now.
func (a admin) markBroken(ctx context.Context, c *konductorv1.Claim) error {
	patch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"uid":%q,"annotations":{%q:%q}}}`,
		c.UID, konductorv1.BrokenByAnnotation, a.place.Admin))
	return a.until(ctx, func(ctx context.Context) error {
		err := a.place.Objects.Patch(ctx, c.DeepCopy(), patch)
		if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
			return nil
		}
		return err
	})
}

func (a admin) recreateLease(ctx context.Context) error {
	name := a.place.Leases[a.rng.IntN(len(a.place.Leases))]
	a.diary.note("lease deleted and created again", name)
	return a.recreate(ctx, lease(a.place.Namespace, name), lease(a.place.Namespace, name), 1)
}

func (a admin) recreateSemaphore(ctx context.Context) error {
	name := a.semaphore()
	a.diary.note("semaphore deleted and created again", name)
	permits := a.place.Semaphores[name]
	return a.recreate(ctx, semaphore(a.place.Namespace, name, 0), semaphore(a.place.Namespace, name, permits), permits)
}

func (a admin) semaphore() string {
	names := make([]string, 0, len(a.place.Semaphores))
	for name := range a.place.Semaphores {
		names = append(names, name)
	}
	slices.Sort(names)
	return names[a.rng.IntN(len(names))]
}

// recreate deletes before and creates after, most often after a pause.
func (a admin) recreate(ctx context.Context, before, after client.Object, permits int32) error {
	lasting := context.WithoutCancel(ctx)
	if err := a.remove(lasting, before, history.Delete, ""); err != nil {
		return err
	}
	if a.rng.IntN(3) > 0 {
		pass(ctx, between(a.rng, 0, time.Second))
	}
	return a.create(lasting, after, permits)
}

// resize changes how many permits a semaphore has, to none as well, and in the end back.
func (a admin) resize(ctx context.Context) error {
	name := a.semaphore()
	most := a.place.Semaphores[name]
	a.diary.note("semaphore resized", name)
	if err := a.resizeTo(ctx, name, a.rng.Int32N(most+1)); err != nil {
		return err
	}
	pass(ctx, between(a.rng, 100*time.Millisecond, 1500*time.Millisecond))
	return a.resizeTo(ctx, name, most)
}

func (a admin) resizeTo(ctx context.Context, name string, permits int32) error {
	pending := a.place.Recorder.Begin(a.op(history.Resize, semaphore(a.place.Namespace, name, permits), permits, ""))
	patch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"spec":{"permits":%d}}`, permits))
	err := a.until(ctx, func(ctx context.Context) error {
		return a.place.Objects.Patch(ctx, semaphore(a.place.Namespace, name, 0), patch)
	})
	pending.End(history.OK, "", 0, "")
	return err
}

// remove deletes obj, in that incarnation if it has a UID.
func (a admin) remove(ctx context.Context, obj client.Object, action history.Action, holder string) error {
	pending := a.place.Recorder.Begin(a.op(action, obj, 0, holder))
	err := a.until(ctx, func(ctx context.Context) error {
		var opts []client.DeleteOption
		if uid := obj.GetUID(); uid != "" {
			opts = append(opts, client.Preconditions{UID: &uid})
		}
		err := a.place.Objects.Delete(ctx, obj, opts...)
		if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
			return nil
		}
		return err
	})
	pending.End(history.OK, "", 0, "")
	return err
}

func (a admin) create(ctx context.Context, obj client.Object, permits int32) error {
	pending := a.place.Recorder.Begin(a.op(history.Create, obj, permits, ""))
	err := a.until(ctx, func(ctx context.Context) error {
		obj.SetResourceVersion("")
		err := a.place.Objects.Create(ctx, obj)
		if apierrors.IsAlreadyExists(err) {
			return nil
		}
		return err
	})
	pending.End(history.OK, "", 0, "")
	return err
}

// op describes what is done to obj; a claim counts as what it is on.
func (a admin) op(action history.Action, obj client.Object, permits int32, holder string) history.Op {
	op := history.Op{Client: adminName, Namespace: a.place.Namespace, Action: action, Object: obj.GetName(), Permits: permits, Holder: holder}
	switch o := obj.(type) {
	case *konductorv1.Lease:
		op.Kind = konductorv1.KindLease
	case *konductorv1.Semaphore:
		op.Kind = konductorv1.KindSemaphore
	case *konductorv1.Barrier:
		op.Kind = konductorv1.KindBarrier
	case *konductorv1.Claim:
		op.Kind, op.Object = o.Spec.Target.Kind, o.Spec.Target.Name
	}
	return op
}

// until repeats a request until it is answered for good: while the API server is away it is not.
func (a admin) until(ctx context.Context, request func(context.Context) error) error {
	lasting, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
	defer cancel()
	for {
		attempt, cancel := context.WithTimeout(lasting, 5*time.Second)
		err := request(attempt)
		cancel()
		if err == nil || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) {
			return err
		}
		if !pass(lasting, 50*time.Millisecond) {
			return fmt.Errorf("the admin's request was never answered: %w", err)
		}
	}
}

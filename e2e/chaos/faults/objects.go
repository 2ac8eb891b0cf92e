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

// admin does what an administrator does to objects that others use. Each request is repeated until its result is certain.
type admin struct {
	env      *clients.Env
	rng      *rand.Rand
	faultLog *FaultLog
}

const adminClientName = "admin"

// CreateObjects creates the leases and semaphores that clients contend for.
func CreateObjects(ctx context.Context, env *clients.Env) error {
	a := admin{env: env}
	for _, name := range env.Leases {
		if err := a.createRecorded(ctx, newLease(env.Namespace, name), 1); err != nil {
			return err
		}
	}
	for name, permits := range env.Semaphores {
		if err := a.createRecorded(ctx, newSemaphore(env.Namespace, name, permits), permits); err != nil {
			return err
		}
	}
	return nil
}

// ChurnBarriers creates one barrier after another, until ctx is done, and deletes some while clients use them.
func ChurnBarriers(ctx context.Context, rng *rand.Rand, faultLog *FaultLog, env *clients.Env) error {
	a := admin{env, rng, faultLog}
	uncancelled := context.WithoutCancel(ctx)
	for n := 0; ; n++ {
		b := &konductorv1.Barrier{ObjectMeta: metav1.ObjectMeta{Namespace: env.Namespace, Name: fmt.Sprintf("barrier-%03d", n)}}
		b.Spec.Expected = 2 + rng.Int32N(5)
		if rng.IntN(2) == 0 {
			quorum := 1 + rng.Int32N(b.Spec.Expected)
			b.Spec.Quorum = &quorum
		}
		if rng.IntN(3) == 0 {
			b.Spec.Timeout = konductorv1.NewDuration(clients.RandomDuration(rng, time.Second, 5*time.Second).Truncate(time.Millisecond))
		}
		if err := a.createRecorded(uncancelled, b, 0); err != nil {
			return err
		}
		env.Barriers.Add(b.Name)
		if !clients.Sleep(ctx, clients.RandomDuration(rng, time.Second, 3*time.Second)) {
			return nil
		}
		if rng.IntN(6) == 0 {
			faultLog.record("barrier deleted and created again", b.Name)
			again := &konductorv1.Barrier{ObjectMeta: metav1.ObjectMeta{Namespace: b.Namespace, Name: b.Name}, Spec: b.Spec}
			if err := a.deleteRecorded(uncancelled, b, history.Delete, ""); err != nil {
				return err
			}
			clients.Sleep(ctx, clients.RandomDuration(rng, 0, 500*time.Millisecond))
			if err := a.createRecorded(uncancelled, again, 0); err != nil {
				return err
			}
		}
	}
}

// DisturbObjects deletes claims of others, deletes and re-creates leases and semaphores, and resizes semaphores, until ctx is
// done.
func DisturbObjects(ctx context.Context, rng *rand.Rand, faultLog *FaultLog, env *clients.Env) error {
	a := admin{env, rng, faultLog}
	faults := []fault{a.breakClaim, a.breakClaim, a.resize, a.resize, a.resize, a.recreateSemaphore}
	if len(env.Leases) > 0 {
		faults = append(faults, a.recreateLease)
	}
	return runShuffled(ctx, rng, 200*time.Millisecond, 2*time.Second, faults...)
}

func newLease(namespace, name string) *konductorv1.Lease {
	return &konductorv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
}

func newSemaphore(namespace, name string, permits int32) *konductorv1.Semaphore {
	return &konductorv1.Semaphore{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: konductorv1.SemaphoreSpec{Permits: permits},
	}
}

// breakClaim deletes another participant's claim, whether it is pending or granted.
func (a admin) breakClaim(ctx context.Context) error {
	claims := &konductorv1.ClaimList{}
	err := a.retryUntilAnswered(ctx, func(ctx context.Context) error {
		return a.env.Objects.List(ctx, claims, client.InNamespace(a.env.Namespace))
	})
	if err != nil {
		return err
	}
	var live []*konductorv1.Claim
	for i := range claims.Items {
		c := &claims.Items[i]
		// A held Pod runs on without a hold that was broken. That is documented.
		isOfPod := c.Spec.NoTTL && c.Spec.BoundTo.Kind == konductorv1.KindPod
		if !isOfPod && (c.Status.Phase == konductorv1.ClaimGranted || c.Status.Phase == konductorv1.ClaimPending) {
			live = append(live, c)
		}
	}
	if len(live) == 0 {
		return nil
	}
	c := live[a.rng.IntN(len(live))]
	a.faultLog.record("claim deleted by another", c.Name)
	uncancelled := context.WithoutCancel(ctx)
	if err := a.annotateBreak(uncancelled, c); err != nil {
		return err
	}
	return a.deleteRecorded(uncancelled, c, history.Break, c.Spec.Holder)
}

// annotateBreak records in a claim who is about to delete it; without that, the deletion is rejected. The claim may be gone by
// now.
func (a admin) annotateBreak(ctx context.Context, c *konductorv1.Claim) error {
	patch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"uid":%q,"annotations":{%q:%q}}}`,
		c.UID, konductorv1.BrokenByAnnotation, a.env.AdminUser))
	return a.retryUntilAnswered(ctx, func(ctx context.Context) error {
		err := a.env.Objects.Patch(ctx, c.DeepCopy(), patch)
		if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
			return nil
		}
		return err
	})
}

func (a admin) recreateLease(ctx context.Context) error {
	name := a.env.Leases[a.rng.IntN(len(a.env.Leases))]
	a.faultLog.record("lease deleted and created again", name)
	return a.recreate(ctx, newLease(a.env.Namespace, name), newLease(a.env.Namespace, name), 1)
}

func (a admin) recreateSemaphore(ctx context.Context) error {
	name := a.randomSemaphore()
	a.faultLog.record("semaphore deleted and created again", name)
	permits := a.env.Semaphores[name]
	return a.recreate(ctx, newSemaphore(a.env.Namespace, name, 0), newSemaphore(a.env.Namespace, name, permits), permits)
}

func (a admin) randomSemaphore() string {
	names := make([]string, 0, len(a.env.Semaphores))
	for name := range a.env.Semaphores {
		names = append(names, name)
	}
	slices.Sort(names)
	return names[a.rng.IntN(len(names))]
}

// recreate deletes before and creates after, usually after a pause.
func (a admin) recreate(ctx context.Context, before, after client.Object, permits int32) error {
	uncancelled := context.WithoutCancel(ctx)
	if err := a.deleteRecorded(uncancelled, before, history.Delete, ""); err != nil {
		return err
	}
	if a.rng.IntN(3) > 0 {
		clients.Sleep(ctx, clients.RandomDuration(a.rng, 0, time.Second))
	}
	return a.createRecorded(uncancelled, after, permits)
}

// resize changes a semaphore's permits, sometimes to zero, and finally back.
func (a admin) resize(ctx context.Context) error {
	name := a.randomSemaphore()
	most := a.env.Semaphores[name]
	a.faultLog.record("semaphore resized", name)
	if err := a.resizeTo(ctx, name, a.rng.Int32N(most+1)); err != nil {
		return err
	}
	clients.Sleep(ctx, clients.RandomDuration(a.rng, 100*time.Millisecond, 1500*time.Millisecond))
	return a.resizeTo(ctx, name, most)
}

func (a admin) resizeTo(ctx context.Context, name string, permits int32) error {
	pending := a.env.Recorder.Begin(a.newOp(history.Resize, newSemaphore(a.env.Namespace, name, permits), permits, ""))
	patch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"spec":{"permits":%d}}`, permits))
	err := a.retryUntilAnswered(ctx, func(ctx context.Context) error {
		return a.env.Objects.Patch(ctx, newSemaphore(a.env.Namespace, name, 0), patch)
	})
	pending.Complete(history.OK, "", 0, "")
	return err
}

// deleteRecorded deletes obj, in that incarnation if it has a UID.
func (a admin) deleteRecorded(ctx context.Context, obj client.Object, action history.Action, holder string) error {
	pending := a.env.Recorder.Begin(a.newOp(action, obj, 0, holder))
	err := a.retryUntilAnswered(ctx, func(ctx context.Context) error {
		var opts []client.DeleteOption
		if uid := obj.GetUID(); uid != "" {
			opts = append(opts, client.Preconditions{UID: &uid})
		}
		err := a.env.Objects.Delete(ctx, obj, opts...)
		if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
			return nil
		}
		return err
	})
	pending.Complete(history.OK, "", 0, "")
	return err
}

func (a admin) createRecorded(ctx context.Context, obj client.Object, permits int32) error {
	pending := a.env.Recorder.Begin(a.newOp(history.Create, obj, permits, ""))
	err := a.retryUntilAnswered(ctx, func(ctx context.Context) error {
		obj.SetResourceVersion("")
		err := a.env.Objects.Create(ctx, obj)
		if apierrors.IsAlreadyExists(err) {
			return nil
		}
		return err
	})
	pending.Complete(history.OK, "", 0, "")
	return err
}

// newOp describes an action on obj; for a claim the object is its target.
func (a admin) newOp(action history.Action, obj client.Object, permits int32, holder string) history.Op {
	op := history.Op{Client: adminClientName, Namespace: a.env.Namespace, Action: action, Object: obj.GetName(), Permits: permits, Holder: holder}
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

// retryUntilAnswered repeats a request until its result is final: while the API server is unavailable it is not.
func (a admin) retryUntilAnswered(ctx context.Context, request func(context.Context) error) error {
	uncancelled, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
	defer cancel()
	for {
		attempt, cancel := context.WithTimeout(uncancelled, 5*time.Second)
		err := request(attempt)
		cancel()
		if err == nil || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) {
			return err
		}
		if !clients.Sleep(uncancelled, 50*time.Millisecond) {
			return fmt.Errorf("the admin's request was never answered: %w", err)
		}
	}
}

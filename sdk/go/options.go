package konductor

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// The types of options, one for each group of calls that take the same. An option that belongs to several groups has all
// their types, so that a call accepts exactly the options that it uses.

// AcquireOption is an option of every call that acquires. TryAcquireLease takes no others.
type AcquireOption interface {
	AcquireAllOption
	TryAcquireSemaphoreOption
	forTryAcquireLease()
}

// AcquireAllOption is an option of AcquireAll and WithLease: every AcquireOption, WithTimeout and FailIfMissing.
type AcquireAllOption interface {
	AcquireLeaseOption
	WithSemaphoreOption
	forAcquireAll()
}

// AcquireLeaseOption is an option of AcquireLease: every AcquireAllOption, and Detached. AcquireSemaphore takes it too, and
// AcquireLeaseOptions is a list for both.
type AcquireLeaseOption interface {
	AcquireSemaphoreOption
	forAcquireLease()
}

// AcquireSemaphoreOption is an option of AcquireSemaphore: every AcquireLeaseOption, and WithPermits.
type AcquireSemaphoreOption interface {
	option
	forAcquireSemaphore()
}

// WithSemaphoreOption is an option of WithSemaphore: every AcquireAllOption, and WithPermits.
type WithSemaphoreOption interface {
	AcquireSemaphoreOption
	forWithSemaphore()
}

// TryAcquireSemaphoreOption is an option of TryAcquireSemaphore: every AcquireOption, and WithPermits.
type TryAcquireSemaphoreOption interface {
	WithSemaphoreOption
	forTryAcquireSemaphore()
}

// AcquireLeaseOptions are options in a list that is itself an option, for a caller that passes the same ones to AcquireLease
// and AcquireSemaphore.
type AcquireLeaseOptions []AcquireLeaseOption

// HolderOption is an option of Holder and Participant, and of every call that acts under a holder's name: acquire, arrive,
// renew, release and break.
type HolderOption interface {
	AcquireOption
	ArriveOption
	DetachedHoldOption
	BreakOption
	forHolder()
}

// WaitOption is an option of WaitBarrier and WaitGate, and of every call that can wait: arrive, and acquire without Try.
type WaitOption interface {
	AcquireAllOption
	ArriveOption
	forWait()
}

// ArriveOption is an option of ArriveBarrier: every HolderOption and WaitOption, AsFailed, OnlyUID and DryRun.
type ArriveOption interface {
	option
	forArrive()
}

// DetachedHoldOption is an option of the calls on a hold that an earlier Detached acquire left: RenewLease, ReleaseLease,
// RenewSemaphore and ReleaseSemaphore. These are WithHolder, OnlyUID and DryRun.
type DetachedHoldOption interface {
	option
	forDetachedHold()
}

// BreakOption is an option of BreakLease and BreakSemaphore: WithHolder, OnlyClaims and DryRun.
type BreakOption interface {
	option
	forBreak()
}

// DeleteOption is an option of DeleteBarrier and DeleteGate: OnlyUID and DryRun.
type DeleteOption interface {
	DeleteTargetOption
	forDelete()
}

// DeleteTargetOption is an option of DeleteLease and DeleteSemaphore: every DeleteOption, and UnlessHeld.
type DeleteTargetOption interface {
	option
	forDeleteTarget()
}

// ResizeOption is an option of ResizeSemaphore: OnlyUID, OnlyFromPermits and DryRun.
type ResizeOption interface {
	option
	forResize()
}

// BarrierOption is an option of NewBarrier: every GateOption, and WithQuorum.
type BarrierOption interface {
	CreateBarrierOption
	forBarrier()
}

// CreateBarrierOption is an option of CreateBarrier: every BarrierOption, and DryRun.
type CreateBarrierOption interface {
	option
	forCreateBarrier()
}

// GateOption is an option of NewGate: WithTimeoutAfterCreation and WithTTLAfterFinished.
type GateOption interface {
	BarrierOption
	CreateGateOption
	forGate()
}

// CreateGateOption is an option of CreateGate: every GateOption, and DryRun.
type CreateGateOption interface {
	option
	forCreateGate()
}

// TargetOption is an option of NewLease and NewSemaphore: WithTTL and WithMaxPriority.
type TargetOption interface {
	CreateTargetOption
	forTarget()
}

// CreateTargetOption is an option of CreateLease and CreateSemaphore: every TargetOption, and DryRun.
type CreateTargetOption interface {
	option
	forCreateTarget()
}

// TTLOption is an option of every call that acquires, and of the calls that make a lease or a semaphore.
type TTLOption interface {
	AcquireOption
	TargetOption
}

// UIDOption is an option of every call that acts on an object that may have been replaced: arrive, renew, release, resize
// and delete.
type UIDOption interface {
	ArriveOption
	DetachedHoldOption
	ResizeOption
	DeleteOption
}

// DryRunOption is an option of every call that writes, except of those that acquire.
type DryRunOption interface {
	CreateBarrierOption
	CreateGateOption
	CreateTargetOption
	ArriveOption
	DetachedHoldOption
	BreakOption
	ResizeOption
	DeleteOption
}

// WithHolder sets the name under which to acquire or to arrive, instead of the Pod's, its Job's or the host's: 1 to 320
// bytes, without control characters and without <, > and &. For a break it is the name of the holder whose hold to break.
// An empty name has no effect.
func WithHolder(name string) HolderOption {
	return holderOption{set: func(o *options) { o.holder = name }}
}

// WithTimeout limits the duration of the whole call, including the wait for an object that doesn't exist yet. As in kubectl
// wait, zero checks once and doesn't wait. A negative timeout is no limit, which is also the default.
func WithTimeout(d time.Duration) WaitOption {
	return waitOption{set: func(o *options) { o.timeout, o.hasTimeout = d, d >= 0 }}
}

// FailIfMissing makes a call return a *NotFoundError if the object doesn't exist, instead of waiting for it.
func FailIfMissing() WaitOption {
	return waitOption{set: func(o *options) { o.failIfMissing = true }}
}

// WithTTL sets how long a hold lasts without renewal, at least 1 s. For a lease or a semaphore it is the default of its
// holds.
func WithTTL(d time.Duration) TTLOption {
	return ttlOption{set: func(o *options) { o.ttl = d }}
}

// WithDefaultTTL sets the TTL, at least 1 s, of a hold that gets none from WithTTL or the object and is bound to no Pod.
// Without it such a hold lasts 10 minutes.
func WithDefaultTTL(d time.Duration) AcquireOption {
	return acquireOption{set: func(o *options) { o.defaultTTL = d }}
}

// WithPriority sets the priority in the queue, from -1 000 000 to 1 000 000; 0 by default. Claims of higher priority are
// served first. A lease or semaphore can limit it, see WithMaxPriority.
func WithPriority(p int32) AcquireOption {
	return acquireOption{set: func(o *options) { o.priority = p }}
}

// StopWithin sets how long the work takes to stop when the hold is lost. The hold counts as lost that much earlier, so that
// the work has stopped before another can hold. It is at most half of the TTL; otherwise the acquire returns a *TTLError.
// With or without it, a tenth of the TTL is left as a margin.
func StopWithin(d time.Duration) AcquireOption {
	return acquireOption{set: func(o *options) { o.stopWithin = d }}
}

// OnRenewal makes the hold call renewed each time its deadline has moved. The function must not block, since it runs in the
// goroutine that renews the hold.
func OnRenewal(renewed func(*Hold)) AcquireOption {
	return acquireOption{set: func(o *options) { o.onRenewal = renewed }}
}

// Detached leaves the hold in place when the process ends. Nothing renews or watches it in the background, so Hold.Lost
// stays open unless Hold.Renew finds it lost. The hold lasts until it is released, its TTL passes, or its Pod ends.
func Detached() AcquireLeaseOption {
	return detachedOption{set: func(o *options) { o.detached = true }}
}

// WithMaxPriority sets the highest priority that a claim on a lease or semaphore may ask for, from 0 to 1 000 000
// (spec.maxPriority). A claim that asks for more is refused: the acquire returns a *RefusedError. Without it every priority
// is allowed.
func WithMaxPriority(p int32) TargetOption {
	return targetOption{set: func(o *options) { o.maxPriority = &p }}
}

// WithPermits sets how many permits of a semaphore to acquire, all at the same time; 1 by default.
func WithPermits(n int32) TryAcquireSemaphoreOption {
	return permitsOption{set: func(o *options) { o.permits = n }}
}

// AsFailed makes ArriveBarrier report the participant as failed: it can't do its part. The reason is for people and may be
// empty.
func AsFailed(reason string) ArriveOption {
	return arriveOption{set: func(o *options) { o.arriveFailed, o.failedReason = true, reason }}
}

// WithQuorum makes a barrier open when n participants have arrived instead of all.
func WithQuorum(n int32) BarrierOption {
	return barrierOption{set: func(o *options) { o.quorum = n }}
}

// WithTimeoutAfterCreation makes a barrier or gate time out that long after its creation (spec.timeout).
func WithTimeoutAfterCreation(d time.Duration) GateOption {
	return gateOption{set: func(o *options) { o.timeoutAfterCreation = d }}
}

// WithTTLAfterFinished makes the operator delete a barrier or gate that long after it opened, failed or timed out.
func WithTTLAfterFinished(d time.Duration) GateOption {
	return gateOption{set: func(o *options) { o.ttlAfterFinished = d }}
}

// OnlyClaims limits a break to the holds of these Claims, so that it breaks only holds that the caller has seen. A client
// that has acquired the lease or a permit since then keeps it, even under the same name.
func OnlyClaims(uids ...types.UID) BreakOption {
	return breakOption{set: func(o *options) { o.onlyClaims = append([]types.UID{}, uids...) }}
}

// OnlyUID limits a call to the object with that UID, so that it acts on the object that the caller has seen. If another
// object has the name by now, the call does nothing and returns a *NotFoundError. An empty uid has no effect.
func OnlyUID(uid types.UID) UIDOption {
	return uidOption{set: func(o *options) { o.onlyUID = uid }}
}

// UnlessHeld makes the deletion of a lease or semaphore return a *BusyError, and delete nothing, if it is held.
func UnlessHeld() DeleteTargetOption {
	return deleteTargetOption{set: func(o *options) { o.unlessHeld = true }}
}

// OnlyFromPermits makes ResizeSemaphore return a *ConflictError, and change nothing, unless the semaphore has n permits.
func OnlyFromPermits(n int32) ResizeOption {
	return resizeOption{set: func(o *options) { o.onlyFromPermits = &n }}
}

// DryRun makes the API server check a write without persisting it.
func DryRun() DryRunOption {
	return dryRunOption{set: func(o *options) { o.dryRun = []string{"All"} }}
}

// options are the options of one call.
type options struct {
	holder               string
	timeout              time.Duration
	hasTimeout           bool
	failIfMissing        bool
	ttl                  time.Duration
	defaultTTL           time.Duration
	priority             int32
	maxPriority          *int32
	permits              int32
	detached             bool
	stopWithin           time.Duration
	onRenewal            func(*Hold)
	arriveFailed         bool
	failedReason         string
	quorum               int32
	ttlAfterFinished     time.Duration
	timeoutAfterCreation time.Duration
	dryRun               []string
	onlyClaims           []types.UID
	onlyUID              types.UID
	unlessHeld           bool
	onlyFromPermits      *int32
}

// option changes the options of one call.
type option interface{ applyTo(*options) }

func applyOptions[O option](opts []O) options {
	o := options{permits: 1}
	for _, opt := range opts {
		opt.applyTo(&o)
	}
	return o
}

// The options are of these types, one for each set of calls that options have in common. Each embeds the interface of that
// set, as nil, for its methods that only mark the calls and that nothing calls.
type (
	holderOption struct {
		HolderOption
		set func(*options)
	}
	waitOption struct {
		WaitOption
		set func(*options)
	}
	ttlOption struct {
		TTLOption
		set func(*options)
	}
	acquireOption struct {
		AcquireOption
		set func(*options)
	}
	detachedOption struct {
		AcquireLeaseOption
		set func(*options)
	}
	permitsOption struct {
		TryAcquireSemaphoreOption
		set func(*options)
	}
	arriveOption struct {
		ArriveOption
		set func(*options)
	}
	barrierOption struct {
		BarrierOption
		set func(*options)
	}
	gateOption struct {
		GateOption
		set func(*options)
	}
	targetOption struct {
		TargetOption
		set func(*options)
	}
	breakOption struct {
		BreakOption
		set func(*options)
	}
	uidOption struct {
		UIDOption
		set func(*options)
	}
	deleteTargetOption struct {
		DeleteTargetOption
		set func(*options)
	}
	resizeOption struct {
		ResizeOption
		set func(*options)
	}
	dryRunOption struct {
		DryRunOption
		set func(*options)
	}
)

func (o holderOption) applyTo(all *options)       { o.set(all) }
func (o waitOption) applyTo(all *options)         { o.set(all) }
func (o ttlOption) applyTo(all *options)          { o.set(all) }
func (o acquireOption) applyTo(all *options)      { o.set(all) }
func (o detachedOption) applyTo(all *options)     { o.set(all) }
func (o permitsOption) applyTo(all *options)      { o.set(all) }
func (o arriveOption) applyTo(all *options)       { o.set(all) }
func (o barrierOption) applyTo(all *options)      { o.set(all) }
func (o gateOption) applyTo(all *options)         { o.set(all) }
func (o targetOption) applyTo(all *options)       { o.set(all) }
func (o breakOption) applyTo(all *options)        { o.set(all) }
func (o uidOption) applyTo(all *options)          { o.set(all) }
func (o deleteTargetOption) applyTo(all *options) { o.set(all) }
func (o resizeOption) applyTo(all *options)       { o.set(all) }
func (o dryRunOption) applyTo(all *options)       { o.set(all) }

func (l AcquireLeaseOptions) applyTo(all *options) {
	for _, o := range l {
		o.applyTo(all)
	}
}

func (AcquireLeaseOptions) forAcquireLease()     {}
func (AcquireLeaseOptions) forAcquireSemaphore() {}

// durationOrNil returns d as an API field, or nil for zero.
func durationOrNil(d time.Duration) *konductorv1.Duration {
	if d == 0 {
		return nil
	}
	return konductorv1.NewDuration(d)
}

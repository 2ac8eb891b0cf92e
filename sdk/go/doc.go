// Package konductor is the Go SDK of Konductor: barriers, gates, leases and
// semaphores for programs that run in, or next to, a Kubernetes cluster.
//
//	client, err := konductor.New(nil) // in a Pod: its ServiceAccount; elsewhere: kubeconfig
//	err = client.WaitGate(ctx, "dependencies-ready")
//	err = client.ArriveBarrier(ctx, "stage-complete")
//
//	err = client.WithLease(ctx, "db-migration", func(ctx context.Context) error {
//		return migrate(ctx, konductor.HoldFromContext(ctx).Token())
//	}, konductor.WithTTL(time.Minute))
//
//	hold, err := client.AcquireLease(ctx, "db-migration") // the same, step by step
//	defer hold.Release(context.WithoutCancel(ctx))
//	migrate(hold.Context(), hold.Token())
//
// Package resourcelock, below this one, elects the leader of a controller.
//
// # Guarantees
//
// At any revision of the API, the number of current grants is at most the number
// of permits (one for a Lease). Each grant has a larger token than every grant
// before it. A holder that obeys its deadline has stopped before its grant is
// given to another. A paused process can still act on a lock it has lost: only a
// check of the token at the resource prevents that.
//
// # Waiting
//
// Every wait reads one object by its name and then watches it from the revision
// of that read, so no change is lost and nothing is polled. A wait ends as soon
// as its context does. It waits for an object that does not exist yet, unless
// FailIfMissing is given.
//
// # Outages
//
// One rule decides what ends a call. Until the API server has answered a Client
// for the first time, a call tries for up to 30 s. After that, only a definite
// answer ends a call; everything else is retried for as long as the caller's
// context or the hold lasts. A missing right, for example, is a definite answer
// only after an API server that is ready has refused it for 30 s.
// docs/outages.md has the whole rule.
//
// # Identity
//
// In a Pod, the SDK knows the Pod from its ServiceAccount token, binds holds to
// it, and arrives at barriers under the name of the Job that owns the Pod, so
// that a retried Pod counts once. Elsewhere it uses the host's name, with a
// suffix for the machine and the user. WithHolder overrides both. The same
// holder in the same Pod is the same identity: acquiring again returns the
// existing hold, with the same token, and Hold.Found reports that.
//
// # Options
//
// Each group of calls has its own type of options, for example
// AcquireLeaseOption, and an option has the types of all calls that use it. A
// call with an option that it can't use doesn't compile.
//
// # Errors
//
// Each kind of failure has a type: *NotFoundError, *TimeoutError,
// *UnansweredError, *ForbiddenError, *UninstalledError, *BusyError,
// *ConflictError, *FailedError, *LostError, and *RefusedError, *TermsError and
// *TTLError for claims that can't be granted as they are. Use errors.As.
//
// The errors are also those of Go and of Kubernetes. errors.Is with
// context.DeadlineExceeded is true for every call that ran out of time, by its
// own timeout or its context's, and with context.Canceled for one whose context
// was canceled. The functions of k8s.io/apimachinery/pkg/api/errors tell
// IsNotFound, IsForbidden, IsUnauthorized, IsAlreadyExists and IsConflict.
package konductor

// Package konductor is the Go SDK of Konductor: barriers, gates, leases and
// semaphores for programs that run in, or next to, a Kubernetes cluster.
//
//	client, err := konductor.New(nil) // in a Pod: its ServiceAccount; elsewhere: kubeconfig
//	err = client.WaitGate(ctx, "dependencies-ready")
//	err = client.ArriveBarrier(ctx, "stage-complete")
//
//	hold, err := client.AcquireLease(ctx, "db-migration", konductor.WithTTL(time.Minute))
//	defer hold.Release(context.WithoutCancel(ctx))
//	migrate(hold.Context(), hold.Token())
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
// # Errors
//
// Each kind of failure has a type: *NotFoundError, *TimeoutError,
// *ForbiddenError, *UninstalledError, *BusyError, *FailedError, *LostError, and
// *RefusedError, *TermsError and *TTLError for claims that can't be granted as
// they are. Use errors.As. When a context ends, the error wraps the context's.
package konductor

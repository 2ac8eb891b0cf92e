// Package konductor is the Go SDK of Konductor: barriers, gates, leases and
// semaphores for whatever runs in, or next to, a Kubernetes cluster.
//
//	client, err := konductor.New(nil) // in a Pod: its ServiceAccount; elsewhere: kubeconfig
//	err = client.WaitGate(ctx, "dependencies-ready")
//	err = client.ArriveBarrier(ctx, "stage-complete")
//
//	hold, err := client.AcquireLease(ctx, "db-migration", konductor.WithTTL(time.Minute))
//	defer hold.Release(context.WithoutCancel(ctx))
//	migrate(hold.Context(), hold.Token())
//
// # What is promised
//
// At any revision of the API, at most permits grants (one, for a Lease) are
// current; each grant carries a larger token than every grant before it; a
// holder that obeys its deadline has stopped before its grant is given to
// another. A paused process can still act on a lock it has lost: only a check of
// the token at the resource stops that.
//
// # Waiting
//
// Every wait is a list and then a watch of one object by its name, from the
// revision of the list, so no change is lost and nothing is polled. It goes on
// through restarts of the API server, ends at once when its context does, and
// waits for an object that does not exist yet unless told otherwise
// (FailIfMissing).
//
// # Who takes part
//
// In a Pod, the SDK knows the Pod from its ServiceAccount token, binds holds to
// it, and names its owning Job as participant at a barrier, so that a retried
// Pod counts once. Elsewhere the host's name stands in; WithHolder says
// otherwise. The same holder in the same Pod is the same identity: acquiring
// again finds the hold that is there, with the same token.
//
// # Errors
//
// Each way to fail has a type: *NotFoundError, *TimeoutError, *ForbiddenError,
// *BusyError, *FailedError, *LostError, and *RefusedError, *TermsError and
// *TTLError for claims that can't be granted as they are. Use errors.As. When a context ends,
// the error wraps the context's.
package konductor

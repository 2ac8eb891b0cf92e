package konductor_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// Hold a lease while doing something that must not be done twice at a time.
func Example() {
	ctx := context.Background()

	client, err := konductor.New(nil) // in a Pod its ServiceAccount, elsewhere the kubeconfig
	if err != nil {
		return
	}
	hold, err := client.AcquireLease(ctx, "db-migration", konductor.WithTTL(time.Minute))
	if err != nil {
		return
	}
	defer func() { _ = hold.Release(context.WithoutCancel(ctx)) }()
	err = migrate(hold.Context(), hold.Token()) // the context ends when the hold is lost

	slog.Info("done", "error", err)
}

// In a Pod a client needs no configuration; elsewhere it uses the kubeconfig, as kubectl does.
func ExampleNew() {
	client, err := konductor.New(nil,
		konductor.InNamespace("etl"),
		konductor.NotifyFunc(func(sentence string) { fmt.Fprintln(os.Stderr, sentence) }))
	if err != nil {
		slog.Error("no cluster", "error", err)
		return
	}
	slog.Info("taking part", "namespace", client.Namespace(), "holder", client.Holder())
}

// Wait until everything that this process depends on is ready, and distinguish the ways in which that can fail.
func ExampleClient_WaitGate() {
	ctx := context.Background()
	client, err := konductor.New(nil)
	if err != nil {
		return
	}
	err = client.WaitGate(ctx, "dependencies-ready", konductor.WithTimeout(10*time.Minute))
	var timeout *konductor.TimeoutError
	var failed *konductor.FailedError
	switch {
	case err == nil:
		slog.Info("on we go")
	case errors.As(err, &timeout):
		slog.Error("not in time", "status", timeout.Status)
	case errors.As(err, &failed):
		slog.Error("it won't open any more", "message", failed.Message)
	default:
		slog.Error("can't wait", "error", err)
	}
}

// Create a gate on a Job, a barrier, and three free permits.
func ExampleClient_CreateGate() {
	ctx := context.Background()
	client, err := konductor.New(nil)
	if err != nil {
		return
	}
	permits := int32(3)
	_, err = client.CreateGate(ctx, "dependencies-ready", []konductorv1.GateCondition{
		{Type: konductorv1.GateOnJob, Name: "load"},
		{Type: konductorv1.GateOnBarrier, Name: "approved"},
		{Type: konductorv1.GateOnSemaphore, Name: "db-connections", Value: &permits},
	}, konductor.WithTimeoutAfterCreation(time.Hour), konductor.WithTTLAfterFinished(24*time.Hour))
	if err != nil {
		slog.Error("no gate", "error", err)
	}
}

// Arrive at a barrier, and continue when all others have arrived. A participant that can't do its part reports that, and
// spares the others the wait.
func ExampleClient_ArriveBarrier() {
	ctx := context.Background()
	client, err := konductor.New(nil)
	if err != nil {
		return
	}
	if err := extract(ctx); err != nil {
		_ = client.ArriveBarrier(ctx, "extracted", konductor.AsFailed(err.Error()))
		return
	}
	if err := client.ArriveBarrier(ctx, "extracted"); err != nil {
		return
	}
	if err := client.WaitBarrier(ctx, "extracted"); err != nil {
		return
	}
	slog.Info("all have extracted")
}

// Hold a lease while working. The work ends when the hold is lost, and what it writes carries the fencing token, so that
// the database can reject a holder that has lost its hold without noticing.
func ExampleClient_AcquireLease() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	client, err := konductor.New(nil)
	if err != nil {
		return
	}
	hold, err := client.AcquireLease(ctx, "db-migration", konductor.WithTTL(time.Minute))
	if err != nil {
		slog.Error("no lease", "error", err)
		return
	}
	// After SIGTERM the lease is kept until the work has stopped.
	defer func() {
		if err := hold.Release(context.WithoutCancel(ctx)); err != nil {
			slog.Error("others may have held the lease meanwhile", "error", err)
		}
	}()

	done := make(chan error, 1)
	go func() { done <- migrate(hold.Context(), hold.Token()) }()
	select {
	case err = <-done:
	case <-hold.Lost():
		slog.Error("the work is told to stop", "because", context.Cause(hold.Context()))
		err = <-done
	}
	slog.Info("done", "error", err)
}

// Work while holding a lease. The context of the work ends when the hold is lost, and the lease is released however the work
// ends.
func ExampleClient_WithLease() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	client, err := konductor.New(nil)
	if err != nil {
		return
	}
	err = client.WithLease(ctx, "db-migration", func(ctx context.Context) error {
		return migrate(ctx, konductor.HoldFromContext(ctx).Token())
	}, konductor.WithTTL(time.Minute), konductor.WithTimeout(10*time.Minute))

	var lost *konductor.LostError
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		slog.Error("others held the lease all the time", "error", err)
	case errors.As(err, &lost):
		slog.Error("others may have held the lease meanwhile", "error", err)
	case err != nil:
		slog.Error("the migration failed", "error", err)
	}
}

// Work with three permits of a semaphore.
func ExampleClient_WithSemaphore() {
	ctx := context.Background()
	client, err := konductor.New(nil)
	if err != nil {
		return
	}
	err = client.WithSemaphore(ctx, "db-connections", extract, konductor.WithPermits(3))
	slog.Info("done", "error", err)
}

// Pass the same options to leases and semaphores.
func ExampleAcquireLeaseOptions() {
	ctx := context.Background()
	client, err := konductor.New(nil)
	if err != nil {
		return
	}
	opts := konductor.AcquireLeaseOptions{konductor.WithTTL(time.Minute), konductor.WithPriority(10)}
	if os.Getenv("URGENT") != "" {
		opts = append(opts, konductor.WithPriority(100)) // of two, the last counts
	}
	lease, err := client.AcquireLease(ctx, "db-migration", opts)
	if err != nil {
		return
	}
	defer func() { _ = lease.Release(context.WithoutCancel(ctx)) }()
	permits, err := client.AcquireSemaphore(ctx, "db-connections", opts, konductor.WithPermits(3))
	if err != nil {
		return
	}
	defer func() { _ = permits.Release(context.WithoutCancel(ctx)) }()
}

// Create a semaphore unless it exists. The errors are also those of Kubernetes and of Go.
func ExampleClient_CreateSemaphore() {
	ctx := context.Background()
	client, err := konductor.New(nil)
	if err != nil {
		return
	}
	_, err = client.CreateSemaphore(ctx, "geocoder", 10, konductor.WithTTL(time.Minute), konductor.WithMaxPriority(100))
	if err != nil && !apierrors.IsAlreadyExists(err) {
		slog.Error("no semaphore", "error", err)
	}
}

// Acquire two of the permits of a rate-limited service, or do something else if they are not free right now.
func ExampleClient_TryAcquireSemaphore() {
	ctx := context.Background()
	client, err := konductor.New(nil)
	if err != nil {
		return
	}
	hold, err := client.TryAcquireSemaphore(ctx, "geocoder", konductor.WithPermits(2))
	var busy *konductor.BusyError
	if errors.As(err, &busy) {
		slog.Info("busy, using the cache")
		return
	}
	if err != nil {
		return
	}
	defer func() { _ = hold.Release(ctx) }()
	_ = extract(hold.Context())
}

func extract(context.Context) error        { return nil }
func migrate(context.Context, int64) error { return nil }

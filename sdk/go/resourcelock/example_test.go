package resourcelock_test

import (
	"context"
	"log/slog"
	"time"

	"k8s.io/client-go/tools/leaderelection"
	ctrl "sigs.k8s.io/controller-runtime"

	konductor "github.com/LogicIQ/konductor/sdk/go"
	"github.com/LogicIQ/konductor/sdk/go/resourcelock"
)

// A controller that uses controller-runtime: one replica leads.
func Example() {
	client, err := konductor.New(nil)
	if err != nil {
		return
	}
	ctx, stop := context.WithCancel(ctrl.SetupSignalHandler())
	defer stop()
	lock := resourcelock.New(client, "controller-leader", resourcelock.OnLost(func(error) { stop() }))
	manager, err := ctrl.NewManager(ctrl.GetConfigOrDie(), ctrl.Options{
		LeaderElection:                      true,
		LeaderElectionResourceLockInterface: lock,
		LeaderElectionReleaseOnCancel:       true,
	})
	if err != nil {
		return
	}
	// Reconcilers pass lock.Token() along to what refuses a former leader.
	err = manager.Start(ctx)
	slog.Info("stopped", "error", err)
}

// A program that uses client-go's leader election.
func ExampleNew() {
	client, err := konductor.New(nil)
	if err != nil {
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	lock := resourcelock.New(client, "controller-leader", resourcelock.OnLost(func(error) { stop() }))
	leaderelection.RunOrDie(ctx, leaderelection.LeaderElectionConfig{
		Lock:            lock,
		LeaseDuration:   15 * time.Second,
		RenewDeadline:   10 * time.Second,
		RetryPeriod:     2 * time.Second,
		ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(ctx context.Context) {
				token, _ := lock.Token()
				lead(ctx, token)
			},
			OnStoppedLeading: func() { slog.Info("not leading any more") },
		},
	})
}

func lead(context.Context, int64) {}

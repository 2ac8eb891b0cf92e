package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	konductor "github.com/LogicIQ/konductor/sdk/go"
)

const (
	// defaultHoldTTL is the TTL of holds outside of Pods when none is given. It is short because they are renewed.
	defaultHoldTTL = time.Minute
	// releaseTimeout is how long a release waits for an API server that can't be reached.
	releaseTimeout = 30 * time.Second
)

// holdFlags are the flags of commands that hold while they run: which leases and permits, and how.
type holdFlags struct {
	waitFlags
	leases, semaphores []string
	ttl                time.Duration
	priority           int32
	holder             string
}

func (h *holdFlags) addFlags(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&h.leases, "lease", nil, "acquire this lease (can be repeated)")
	cmd.Flags().StringArrayVar(&h.semaphores, "semaphore", nil, "acquire a permit of this semaphore, or NAME:N for N permits (can be repeated)")
	h.waitFlags.addFlags(cmd)
	addDurationFlag(cmd, &h.ttl, "ttl", 0, "time after which a hold expires unless renewed (default: the object's ttl; without one, the hold lasts until the Pod ends, or 1m outside of Pods)")
	cmd.Flags().Int32Var(&h.priority, "priority", 0, "queue priority; higher is served first (default 0)")
	cmd.Flags().StringVar(&h.holder, "holder", "", "name of the holder (default the Pod's name, else the host's name with a random suffix)")
}

// parseWanted returns what to hold.
func (h *holdFlags) parseWanted() ([]konductor.Wanted, error) {
	var all []konductor.Wanted
	for _, name := range h.leases {
		if name == "" {
			return nil, errors.New("--lease is empty: pass the name of a lease (is a variable unset?)")
		}
		all = append(all, konductor.OnLease(name))
	}
	for _, s := range h.semaphores {
		name, count, counted := strings.Cut(s, ":")
		permits := 1
		if counted {
			var err error
			if permits, err = strconv.Atoi(count); err != nil || permits < 1 || permits > math.MaxInt32 {
				return nil, fmt.Errorf("--semaphore %s: write NAME or NAME:N with N permits, at least 1, for example db:3", s)
			}
		}
		if name == "" {
			return nil, fmt.Errorf("--semaphore %q has no name: write NAME or NAME:N, for example db:3", s)
		}
		all = append(all, konductor.OnSemaphore(name, int32(permits)))
	}
	return all, nil
}

// acquireOptions returns the options to acquire with. Two processes that run on one host at the same time are two holders,
// unless they are given the same name. In a Pod they are one: a restarted container finds the hold it had.
func (h *holdFlags) acquireOptions(cmd *cobra.Command, client *konductor.Client) ([]konductor.AcquireAllOption, error) {
	holder, err := holderOption(cmd, h.holder)
	if err != nil {
		return nil, err
	}
	if h.holder == "" && client.Pod() == "" {
		holder = konductor.WithHolder(client.Holder() + "/" + strings.ToLower(rand.Text()[:6]))
	}
	opts := []konductor.AcquireAllOption{holder, konductor.WithTTL(h.ttl), konductor.WithDefaultTTL(defaultHoldTTL), konductor.WithPriority(h.priority)}
	for _, o := range h.options() {
		opts = append(opts, o)
	}
	return opts, nil
}

// notifyHolds prints what is held.
func (a *app) notifyHolds(holds *konductor.Holds) {
	for _, h := range holds.All() {
		a.notify(fmt.Sprintf("%s %s by %s, fencing token %d", h.Object(), acquiredText(h.Found()), h.Holder(), h.Token()))
	}
}

// acquiredText says how a hold was acquired. If it was found, its claim was made by an earlier call, or by another process
// of the same holder name.
func acquiredText(found bool) string {
	if found {
		return "already held"
	}
	return "acquired"
}

// releaseHolds releases the holds, and returns the *LostError of a hold that had been lost before.
func (a *app) releaseHolds(ctx context.Context, holds *konductor.Holds) error {
	patience := releaseTimeout
	if holds.Reason() != nil {
		patience = 0 // the operator releases it
	}
	// Also release after an interrupt.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	err := holds.Release(ctx)
	var lost *konductor.LostError
	switch {
	case holds.Reason() != nil:
		return holds.Reason()
	case errors.As(err, &lost):
		return lost
	case err != nil:
		a.notify(fmt.Sprintf("release failed, so others wait until the hold expires or its Pod ends: %v", err))
	}
	return nil
}

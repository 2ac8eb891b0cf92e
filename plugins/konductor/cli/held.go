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
	// heldTTL is the TTL of holds outside of Pods that nothing else gives one. It is short, since they are renewed.
	heldTTL = time.Minute
	// releaseWithin is how long to wait for an API server that is away to take back what is held.
	releaseWithin = 30 * time.Second
)

// held are the flags of what holds while it runs: which leases and permits, and on which terms.
type held struct {
	waiting
	leases, semaphores []string
	ttl                time.Duration
	priority           int32
	holder             string
}

func (h *held) addFlags(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&h.leases, "lease", nil, "hold this lease (can be repeated)")
	cmd.Flags().StringArrayVar(&h.semaphores, "semaphore", nil, "hold a permit of this semaphore, or NAME:N for N permits (can be repeated)")
	h.waiting.addFlags(cmd)
	durationFlag(cmd, &h.ttl, "ttl", 0, "how long a hold lasts without renewal (default the object's; else as long as the Pod, or 1m without one)")
	cmd.Flags().Int32Var(&h.priority, "priority", 0, "be served before all of lower priority")
	cmd.Flags().StringVar(&h.holder, "holder", "", "name of the holder (default the Pod's name, else the host's and a random part)")
}

// wanted returns what is to be held.
func (h *held) wanted() ([]konductor.Wanted, error) {
	var all []konductor.Wanted
	for _, name := range h.leases {
		if name == "" {
			return nil, errors.New("--lease is empty: is the variable set? Give the name of a lease")
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

// options returns the options to acquire with. Two that run on one host at the same time are not one holder, unless they
// are given the same name. In a Pod they are: a container that was restarted finds the hold it had.
func (h *held) options(cmd *cobra.Command, client *konductor.Client) ([]konductor.Option, error) {
	opts, err := holderOption(cmd, h.holder)
	if err != nil {
		return nil, err
	}
	if opts == nil && client.Pod() == "" {
		opts = append(opts, konductor.WithHolder(client.Holder()+"/"+strings.ToLower(rand.Text()[:6])))
	}
	opts = append(opts, h.waiting.options()...)
	return append(opts, konductor.WithTTL(h.ttl), konductor.WithDefaultTTL(heldTTL), konductor.WithPriority(h.priority)), nil
}

// sayHeld tells people what is held.
func (a *app) sayHeld(holds *konductor.Holds) {
	for _, h := range holds.All() {
		a.say(fmt.Sprintf("%s acquired by %s, fencing token %d", h.Object(), h.Holder(), h.Token()))
	}
}

// giveBack gives back what is held, and returns the *LostError of a hold that had been lost before.
func (a *app) giveBack(ctx context.Context, holds *konductor.Holds) error {
	patience := releaseWithin
	if holds.Reason() != nil {
		patience = 0 // the operator takes it back by itself
	}
	// Being told to end must not keep us from it.
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
		a.say(fmt.Sprintf("not given back, so others wait until it ends by itself: %v", err))
	}
	return nil
}

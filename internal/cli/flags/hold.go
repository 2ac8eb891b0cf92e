package flags

import (
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

// defaultHoldTTL is the TTL of holds outside of Pods when none is given. It is short because they are renewed.
const defaultHoldTTL = time.Minute

// Hold are the flags of commands that hold while they run: which leases and permits, and how.
type Hold struct {
	Wait
	Leases, Semaphores []string
	TTL                time.Duration
	Priority           int32
	Holder             string
}

// AddFlags adds the flags to a command.
func (h *Hold) AddFlags(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&h.Leases, "lease", nil, "acquire this lease (can be repeated)")
	cmd.Flags().StringArrayVar(&h.Semaphores, "semaphore", nil, "acquire a permit of this semaphore, or NAME:N for N permits (can be repeated)")
	h.Wait.AddFlags(cmd)
	AddDuration(cmd, &h.TTL, "ttl", 0, "time after which a hold expires unless renewed (default: the object's ttl; without one, the hold lasts until the Pod ends, or 1m outside of Pods)")
	cmd.Flags().Int32Var(&h.Priority, "priority", 0, "queue priority; higher is served first (default 0)")
	cmd.Flags().StringVar(&h.Holder, "holder", "", "name of the holder (default the Pod's name, else the host's name with a random suffix)")
}

// ParseWanted returns what to hold.
func (h *Hold) ParseWanted() ([]konductor.Wanted, error) {
	var all []konductor.Wanted
	for _, name := range h.Leases {
		if name == "" {
			return nil, errors.New("--lease is empty: pass the name of a lease (is a variable unset?)")
		}
		all = append(all, konductor.OnLease(name))
	}
	for _, s := range h.Semaphores {
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

// AcquireOptions returns the options to acquire with. Two processes that run on one host at the same time are two holders,
// unless they are given the same name. In a Pod they are one: a restarted container finds the hold it had.
func (h *Hold) AcquireOptions(cmd *cobra.Command, client *konductor.Client) ([]konductor.AcquireAllOption, error) {
	holder, err := HolderOption(cmd, h.Holder)
	if err != nil {
		return nil, err
	}
	if h.Holder == "" && client.Pod() == "" {
		holder = konductor.WithHolder(client.Holder() + "/" + strings.ToLower(rand.Text()[:6]))
	}
	opts := []konductor.AcquireAllOption{holder, konductor.WithTTL(h.TTL), konductor.WithDefaultTTL(defaultHoldTTL), konductor.WithPriority(h.Priority)}
	for _, o := range h.Options() {
		opts = append(opts, o)
	}
	return opts, nil
}

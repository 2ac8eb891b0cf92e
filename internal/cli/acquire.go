package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/cli/flags"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// acquireOutput is what acquire prints with -o json or yaml.
type acquireOutput struct {
	Kind         string `json:"kind"`
	Name         string `json:"name"`
	Namespace    string `json:"namespace"`
	Holder       string `json:"holder"`
	FencingToken int64  `json:"fencingToken"`
	TTL          string `json:"ttl,omitempty"`
	// AlreadyHeld says that this command found an existing claim.
	AlreadyHeld bool `json:"alreadyHeld,omitempty"`
}

func (a *app) acquireCommand(kind string) *cobra.Command {
	var w flags.Wait
	var ttl time.Duration
	var priority int32
	permits := int32(1)
	var holder, format string
	lower := strings.ToLower(kind)
	what, pronoun, available := "a lease", "it", "it is available"
	if kind == konductorv1.KindSemaphore {
		what, pronoun, available = "permits of a semaphore", "them", "they are available"
	}
	cmd := &cobra.Command{
		Use: "acquire NAME", Short: fmt.Sprintf("Acquire %s, waiting until %s", what, available), Args: flags.ExactlyOneName(lower),
		Long: fmt.Sprintf(`Acquire %s: wait until %s, hold %s, and print
the fencing token, a number that is larger than those of all earlier grants.

In a Pod, the hold ends when it is released or the Pod ends, and with a TTL also when it
isn't renewed in time. Outside of Pods it always has a TTL (10m unless one is set).

Acquiring again as the same holder in the same Pod returns the existing hold, and
prints "already held" instead of "acquired". Outside of Pods, the holder is named
after the host, with a suffix for the machine and the user. Two machines with the same
--holder are one holder: the second gets the hold of the first.`, what, available, pronoun),
		Example: a.formatExamples(fmt.Sprintf(`  # hold until the Pod ends
  koncli %[1]s acquire %[2]s

  # don't wait: exit with code 5 if it is not available
  if koncli %[1]s acquire %[2]s --timeout 0; then report; koncli %[1]s release %[2]s; else echo skipped; fi
`, lower, exampleTargetName(kind))),
		RunE: func(cmd *cobra.Command, args []string) error {
			defer a.tolerateClosedOutput()()
			if err := flags.ValidateTTL(cmd); err != nil {
				return err
			}
			if permits < 1 {
				return fmt.Errorf("--permits must be at least 1, not %d", permits)
			}
			switch format {
			case "", "json", "yaml", "name":
			default:
				return fmt.Errorf("-o must be json, yaml or name, not %q", format)
			}
			as, err := flags.HolderOption(cmd, holder)
			if err != nil {
				return err
			}
			client, err := a.connection.NewClient()
			if err != nil {
				return err
			}
			opts := konductor.AcquireLeaseOptions{as, konductor.WithTTL(ttl), konductor.WithPriority(priority), konductor.Detached()}
			for _, o := range w.Options() {
				opts = append(opts, o)
			}
			var hold *konductor.Hold
			if kind == konductorv1.KindSemaphore {
				hold, err = client.AcquireSemaphore(cmd.Context(), args[0], opts, konductor.WithPermits(permits))
			} else {
				hold, err = client.AcquireLease(cmd.Context(), args[0], opts)
			}
			if err != nil {
				return err
			}
			result := acquireOutput{Kind: kind, Name: args[0], Namespace: client.Namespace(), Holder: hold.Holder(), FencingToken: hold.Token(), AlreadyHeld: hold.Found()}
			if hold.TTL() > 0 {
				result.TTL = hold.TTL().String()
			}
			if err := a.printAcquired(result, format); err != nil {
				return releaseUnprinted(cmd.Context(), hold, err)
			}
			return nil
		},
	}
	w.AddFlags(cmd)
	flags.AddHiddenWait(cmd)
	flags.AddDuration(cmd, &ttl, "ttl", 0, fmt.Sprintf("time after which the hold expires unless renewed (default: the %s's ttl; without one, the hold lasts until the Pod ends, or 10m outside of Pods)", lower))
	cmd.Flags().Int32Var(&priority, "priority", 0, "queue priority; higher is served first (default 0)")
	if kind == konductorv1.KindSemaphore {
		cmd.Flags().Int32Var(&permits, "permits", 1, "number of permits to acquire")
	}
	cmd.Flags().StringVarP(&format, "output", "o", "", "output format: json, yaml or name (default the fencing token alone)")
	flags.AddHolder(cmd, &holder, "holder")
	return cmd
}

// releaseUnprinted releases a hold whose token could not be printed: the caller would never release it. A hold that existed
// before stays: its owner knows of it.
func releaseUnprinted(ctx context.Context, hold *konductor.Hold, why error) error {
	if hold.Found() {
		return fmt.Errorf("%s was already held and still is, but its fencing token couldn't be printed: %s", hold.Object(), why.Error())
	}
	// A broken pipe is an error here, as a full disk is.
	failed := fmt.Errorf("releasing %s, because its fencing token couldn't be printed: %s", hold.Object(), why.Error())
	return errors.Join(failed, hold.Release(ctx))
}

// printAcquired prints the token to stdout, for scripts, and the rest to stderr, for users.
func (a *app) printAcquired(r acquireOutput, format string) error {
	var text string
	switch format {
	case "json":
		b, err := json.MarshalIndent(r, "", "    ")
		if err != nil {
			return err
		}
		text = string(b) + "\n"
	case "yaml":
		b, err := yaml.Marshal(r)
		if err != nil {
			return err
		}
		text = string(b)
	case "name":
		text = fmt.Sprintf("%s.%s/%s\n", strings.ToLower(r.Kind), konductorv1.GroupName, r.Name)
	default:
		a.notify(fmt.Sprintf("%s/%s %s by %s", strings.ToLower(r.Kind), r.Name, acquiredText(r.AlreadyHeld), r.Holder))
		text = strconv.FormatInt(r.FencingToken, 10) + "\n"
	}
	_, err := fmt.Fprint(a.streams.Out, text)
	return err
}

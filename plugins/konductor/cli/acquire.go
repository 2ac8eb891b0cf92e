package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// acquired is what acquire prints with -o json or yaml.
type acquired struct {
	Kind         string `json:"kind"`
	Name         string `json:"name"`
	Namespace    string `json:"namespace"`
	Holder       string `json:"holder"`
	FencingToken int64  `json:"fencingToken"`
	TTL          string `json:"ttl,omitempty"`
}

func (a *app) acquireCommand(kind string, acquire func(*konductor.Client, context.Context, string, ...konductor.Option) (*konductor.Hold, error)) *cobra.Command {
	var w waiting
	var ttl time.Duration
	var priority int32
	permits := int32(1)
	var holder, format string
	lower := strings.ToLower(kind)
	cmd := &cobra.Command{
		Use: "acquire NAME", Short: fmt.Sprintf("Wait for a %s and hold it", lower), Args: oneName(lower),
		Long: fmt.Sprintf(`Wait for a %s, hold it, and print the fencing token: a number that is larger
than that of every grant before.

In a Pod the hold is bound to the Pod: it ends when the Pod has finished or is
gone, or when it is released. Elsewhere it ends after its TTL (10m unless given).
Acquiring again under the same name in the same Pod finds the same hold.`, lower),
		Example: a.examples(fmt.Sprintf(`  # hold for the rest of the Pod's life
  koncli %s acquire nightly

  # don't wait: exit code 5 when it is not to be had
  if koncli %s acquire nightly --timeout 0; then report; koncli %s release nightly; else echo skipped; fi
`, lower, lower, lower)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := positive(cmd, "ttl"); err != nil {
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
			opts, err := holderOption(cmd, holder)
			if err != nil {
				return err
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			opts = append(opts, w.options()...)
			opts = append(opts, konductor.WithTTL(ttl), konductor.WithPriority(priority), konductor.WithPermits(permits), konductor.Detached())
			hold, err := acquire(client, cmd.Context(), args[0], opts...)
			if err != nil {
				return err
			}
			result := acquired{Kind: kind, Name: args[0], Namespace: client.Namespace(), Holder: hold.Holder(), FencingToken: hold.Token()}
			if hold.TTL() > 0 {
				result.TTL = hold.TTL().String()
			}
			return a.printAcquired(result, format)
		},
	}
	w.addFlags(cmd)
	acceptWait(cmd)
	durationFlag(cmd, &ttl, "ttl", 0, fmt.Sprintf("how long the hold lasts without renewal (default the %s's; else as long as the Pod, or 10m without one)", lower))
	cmd.Flags().Int32Var(&priority, "priority", 0, "be served before all of lower priority")
	if kind == konductorv1.KindSemaphore {
		cmd.Flags().Int32Var(&permits, "permits", 1, "how many permits to hold")
	}
	cmd.Flags().StringVarP(&format, "output", "o", "", "json, yaml or name (default the fencing token alone)")
	addHolder(cmd, &holder, "holder")
	return cmd
}

// printAcquired prints the token to stdout, for scripts, and the rest to stderr, for people.
func (a *app) printAcquired(r acquired, format string) error {
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
		a.say(fmt.Sprintf("%s/%s acquired by %s", strings.ToLower(r.Kind), r.Name, r.Holder))
		text = strconv.FormatInt(r.FencingToken, 10) + "\n"
	}
	_, err := fmt.Fprint(a.streams.Out, text)
	return err
}

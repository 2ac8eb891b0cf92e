package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/LogicIQ/konductor/apis/waits"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

func (a *app) why() *cobra.Command {
	var format string
	drawn := &drawing{}
	cmd := &cobra.Command{
		Use: "why KIND/NAME", Short: "Say why something doesn't go on",
		Long: `Say why a barrier, gate, lease, semaphore, Job or Pod doesn't go on: the root
cause first, what would let it go on, and the command to look further; then the
whole chain that leads to it. It finds circles of waits, and what can never happen.

Waiting for a gate or a barrier writes nothing, so such waits are read off the
commands of containers that run; the output says where that is so. What you have
no right to read is left out, and it says that too.

It exits with 0 whatever it finds out, and with 2 when there is no such object.
The reasons, which -o json has as words that don't change, are in docs/why.md.`,
		Example: a.examples(`  # why doesn't the deploy Job of examples/gate start?
  koncli why job/deploy

  # who has the lease, what is that one doing, and who waits?
  koncli why lease/db-migration

  # for a script: is there something that never goes on by itself?
  koncli why gate dependencies-ready -o json | jq -e '.never | not'
`),
		Args: func(cmd *cobra.Command, args []string) error {
			_, err := whyArgs(cmd, args)
			return err
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, err := whyArgs(cmd, args)
			if err != nil {
				return err
			}
			if err := oneOf(format, "", "json", "yaml"); err != nil {
				return err
			}
			if ref.Namespace, err = a.namespace(); err != nil {
				return err
			}
			s, err := a.snapshot(cmd.Context(), ref.Namespace, ref.Kind)
			if err != nil {
				return err
			}
			d, err := waits.Analyze(s).Why(ref)
			var missing *waits.NotFoundError
			if errors.As(err, &missing) {
				return &konductor.NotFoundError{Kind: ref.Kind, Name: ref.Name, Namespace: ref.Namespace}
			} else if err != nil {
				return err
			}
			a.nameCommands(d.Chain, d.Roots)
			if format != "" {
				return encode(a.streams.Out, format, d)
			}
			signs, err := a.glyphs(drawn)
			if err != nil {
				return err
			}
			_, err = io.WriteString(a.streams.Out, whyText(d, s.Now, signs))
			return err
		},
	}
	cmd.Flags().StringVarP(&format, "output", "o", "", "json or yaml")
	drawn.addFlags(cmd)
	return cmd
}

// whyArgs reads KIND/NAME or KIND NAME.
func whyArgs(cmd *cobra.Command, args []string) (waits.Ref, error) {
	const kinds = "barrier, gate, lease, semaphore, job or pod"
	if len(args) == 0 {
		return waits.Ref{}, fmt.Errorf("say of what: %s KIND/NAME, for example %s job/deploy", cmd.CommandPath(), cmd.CommandPath())
	}
	if len(args) > 2 || (len(args) == 2 && strings.Contains(args[0], "/")) {
		return waits.Ref{}, fmt.Errorf("one object at a time, not %q: %s KIND/NAME", args, cmd.CommandPath())
	}
	ref, ok := waits.ParseRef(args...)
	kind, _, _ := strings.Cut(args[0], "/")
	switch {
	case !ok && len(args) == 1 && !strings.Contains(args[0], "/"):
		return ref, fmt.Errorf("%q has no kind: write KIND/NAME with %s as KIND", args[0], kinds)
	case !ok:
		return ref, unknownKind(kind, "barrier", "gate", "lease", "semaphore", "job", "pod")
	case ref.Name == "":
		return ref, fmt.Errorf("the name is missing: %s %s/NAME", cmd.CommandPath(), strings.ToLower(ref.Kind))
	}
	return ref, nil
}

func oneOf(format string, formats ...string) error {
	for _, f := range formats {
		if format == f {
			return nil
		}
	}
	return fmt.Errorf("-o must be %s, not %q", oneOfThese(formats[1:]), format)
}

// nameCommands puts the name that the program was called by into the commands that a diagnosis suggests.
func (a *app) nameCommands(chain *waits.Cause, roots []waits.Root) {
	for i := range roots {
		roots[i].Command = a.named(roots[i].Command)
	}
	seen := map[*waits.Cause]bool{}
	var each func(*waits.Cause)
	each = func(c *waits.Cause) {
		if seen[c] {
			return
		}
		seen[c] = true
		c.Command = a.named(c.Command)
		for _, b := range c.Because {
			each(b)
		}
	}
	each(chain)
}

func (a *app) named(command string) string {
	if rest, ok := strings.CutPrefix(command, "koncli "); ok {
		return a.name + " " + rest
	}
	return command
}

// encode writes a value as JSON or YAML.
func encode(w io.Writer, format string, v any) error {
	b, err := json.MarshalIndent(v, "", "    ")
	if err != nil {
		return err
	}
	if format == "yaml" {
		if b, err = yaml.JSONToYAML(b); err != nil {
			return err
		}
	} else {
		b = append(b, '\n')
	}
	_, err = w.Write(b)
	return err
}

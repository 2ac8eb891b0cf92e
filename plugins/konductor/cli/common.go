package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/apis/waits"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// waitCommand returns the verb wait of a kind that opens.
func (a *app) waitCommand(kind string, wait func(*konductor.Client, context.Context, string, ...konductor.Option) error) *cobra.Command {
	var w waiting
	lower := strings.ToLower(kind)
	cmd := &cobra.Command{
		Use: "wait NAME", Short: fmt.Sprintf("Wait until a %s is open", lower), Args: oneName(lower),
		Long: fmt.Sprintf(`Wait until a %s is open. It ends with exit code 6 as soon as the %s has
failed or timed out. A %s that does not exist yet is waited for.`, lower, lower, lower),
		Example: a.examples(fmt.Sprintf(`  # in an initContainer: start when it is open
  koncli %s wait stage-1-complete

  # give up after half an hour, with exit code 3
  koncli %s wait stage-1-complete --timeout 30m
`, lower, lower)),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			if err := wait(client, cmd.Context(), args[0], w.options()...); err != nil {
				return err
			}
			a.did(kind, args[0], "open")
			return nil
		},
	}
	w.addFlags(cmd)
	acceptWait(cmd)
	return cmd
}

// acceptWait accepts --wait where waiting is what is done anyway.
func acceptWait(cmd *cobra.Command) {
	cmd.Flags().Bool("wait", true, "wait, which is the default")
	cmd.Flags().Lookup("wait").Hidden = true
}

// deleteCommand returns the verb delete of a kind.
func (a *app) deleteCommand(kind string, remove func(*konductor.Client, context.Context, string, ...konductor.Option) error) *cobra.Command {
	var yes, ignoreNotFound bool
	out := newDone()
	lower := strings.ToLower(kind)
	cmd := &cobra.Command{
		Use: "delete NAME…", Short: fmt.Sprintf("Delete a %s", lower),
		Long: fmt.Sprintf(`Delete a %s. Those who wait for it end with exit code 2, and holds on it are
lost. On a terminal it asks first; elsewhere --yes is needed.`, lower),
		Example: a.examples(fmt.Sprintf("  koncli %s delete old-one\n  koncli %s delete one two --yes\n\n  # all that are done with\n  koncli %s list -l run=old -o name | xargs -r koncli %s delete --yes\n", lower, lower, lower, lower)),
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return fmt.Errorf("the name of the %s is missing: %s NAME", lower, cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			args, err := namesOf(kind, args)
			if err != nil {
				return err
			}
			client, err := a.writer(out)
			if err != nil {
				return err
			}
			if !yes && !out.pretends() {
				question := fmt.Sprintf("delete %s %s in namespace %s%s", lower, strings.Join(args, ", "), client.Namespace(), heldNow(cmd.Context(), client, kind, args))
				if err := a.confirm(false, question); err != nil {
					return err
				}
			}
			var failed error
			for _, name := range args {
				if out.clientOnly() {
					_, err = object(cmd.Context(), client, kind, name)
				} else {
					err = remove(client, cmd.Context(), name, out.options()...)
				}
				var missing *konductor.NotFoundError
				if ignoreNotFound && errors.As(err, &missing) {
					continue
				}
				if err == nil {
					err = out.done(kind, name, "deleted", a.streams.Out)
				}
				failed = errors.Join(failed, err)
			}
			return failed
		},
	}
	addYes(cmd, &yes)
	cmd.Flags().BoolVar(&ignoreNotFound, "ignore-not-found", false, "don't complain when there is none")
	out.addFlags(cmd)
	return cmd
}

// namesOf returns the names of objects of a kind that are given as NAME or, as -o name prints them, as TYPE/NAME.
func namesOf(kind string, args []string) ([]string, error) {
	names := make([]string, len(args))
	for i, arg := range args {
		names[i] = arg
		if !strings.Contains(arg, "/") {
			continue
		}
		ref, ok := waits.ParseRef(arg)
		switch lower := strings.ToLower(kind); {
		case !ok || ref.Kind != kind:
			return nil, fmt.Errorf("%s is no %s: give names, or %s/NAME", arg, lower, lower)
		case ref.Name == "":
			return nil, fmt.Errorf("the name of the %s is missing in %q", lower, arg)
		}
		names[i] = ref.Name
	}
	return names, nil
}

// heldNow says which of the objects are held, and by whom, as far as that can be found out.
func heldNow(ctx context.Context, client *konductor.Client, kind string, names []string) string {
	if kind != konductorv1.KindLease && kind != konductorv1.KindSemaphore {
		return ""
	}
	// The question is asked all the same.
	const moment = 2 * time.Second
	ctx, cancel := context.WithTimeout(ctx, moment)
	defer cancel()
	var held []string
	for _, name := range names {
		obj, err := object(ctx, client, kind, name)
		if err != nil {
			continue
		}
		var by []string
		switch o := obj.(type) {
		case *konductorv1.Lease:
			if o.Status.Holder != "" {
				by = append(by, o.Status.Holder)
			}
		case *konductorv1.Semaphore:
			for i := range o.Status.Holders {
				by = append(by, o.Status.Holders[i].Holder)
			}
		}
		const named = 3
		if len(by) > named {
			by = append(by[:named], fmt.Sprintf("%d more", len(by)-named))
		}
		if len(by) > 0 {
			held = append(held, fmt.Sprintf("%s is held by %s", name, strings.Join(by, ", ")))
		}
	}
	if len(held) == 0 {
		return ""
	}
	return ", although " + strings.Join(held, " and ")
}

// addYes adds the flag that takes the place of an answer.
func addYes(cmd *cobra.Command, yes *bool) {
	cmd.Flags().BoolVarP(yes, "yes", "y", false, "don't ask")
}

// create does what all create verbs have in common: it prints the object that would be created, or creates it and prints
// that.
func create[T runtime.Object](ctx context.Context, a *app, out *output, opts []konductor.Option,
	plan func(...konductor.Option) T, do func(context.Context, *konductor.Client, ...konductor.Option) (T, error),
) error {
	if err := out.complete(); err != nil {
		return err
	}
	opts = append(opts, out.options()...)
	if out.clientOnly() {
		return out.print(plan(opts...), a.streams.Out)
	}
	client, err := a.client()
	if err != nil {
		return err
	}
	obj, err := do(ctx, client, opts...)
	if err != nil {
		return err
	}
	return out.print(obj, a.streams.Out)
}

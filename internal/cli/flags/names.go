package flags

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/LogicIQ/konductor/internal/view"
	"github.com/LogicIQ/konductor/internal/waitgraph"
)

// ExactlyOneName requires the NAME of an object as the only argument.
func ExactlyOneName(kind string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) == 0:
			return fmt.Errorf("the name of the %s is missing: %s NAME", kind, cmd.CommandPath())
		case len(args) > 1:
			return fmt.Errorf("one %s at a time, not %q: %s NAME", kind, args, cmd.CommandPath())
		case args[0] == "":
			return fmt.Errorf("the name of the %s is empty: %s NAME", kind, cmd.CommandPath())
		}
		return nil
	}
}

// ParseNames returns object names given as NAME or, as -o name prints them, as TYPE/NAME.
func ParseNames(kind string, args []string) ([]string, error) {
	names := make([]string, len(args))
	for i, arg := range args {
		names[i] = arg
		if !strings.Contains(arg, "/") {
			continue
		}
		ref, ok := waitgraph.ParseRef(arg)
		switch lower := strings.ToLower(kind); {
		case !ok || ref.Kind != kind:
			return nil, fmt.Errorf("%s is not a %s: pass NAME or %s/NAME", arg, lower, lower)
		case ref.Name == "":
			return nil, fmt.Errorf("the name of the %s is missing in %q", lower, arg)
		}
		names[i] = ref.Name
	}
	return names, nil
}

// ParsePrimitiveKind returns the primitive that a word names.
func ParsePrimitiveKind(word string) (kind string, ok bool) {
	ref, ok := waitgraph.ParseRef(word)
	return ref.Kind, ok && slices.Contains(view.PrimitiveKinds(), ref.Kind)
}

// AddUID adds --uid, which requires the object to have that UID.
func AddUID(cmd *cobra.Command, uid *string, kind string) {
	cmd.Flags().StringVar(uid, "uid", "", fmt.Sprintf("act only if the %s has this UID; exit with code 2 if it was deleted or replaced", kind))
}

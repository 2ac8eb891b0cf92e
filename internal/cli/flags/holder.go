package flags

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// AddHolder adds --holder, the name of a holder or participant.
func AddHolder(cmd *cobra.Command, holder *string, what string) {
	usage := "name of the " + what + " (default the Pod's name, else the host's name with a suffix for machine and user)"
	if what == "participant" {
		usage = "name of the participant (default the Pod's Job, else the Pod, else the host and user)"
	}
	cmd.Flags().StringVar(holder, "holder", "", usage)
}

// HolderOption returns the option for --holder. An empty name that was given is an error: it is most likely an unset
// variable, and the default would make one holder out of several.
func HolderOption(cmd *cobra.Command, holder string) (konductor.HolderOption, error) {
	if holder == "" && cmd.Flags().Changed("holder") {
		return nil, errors.New("--holder is empty: pass a name, or omit --holder for the default (is a variable unset?)")
	}
	if len(holder) > 320 {
		return nil, fmt.Errorf("--holder has %d characters: use at most 320", len(holder))
	}
	return konductor.WithHolder(holder), nil
}

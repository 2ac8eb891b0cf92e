package flags

import (
	"github.com/spf13/cobra"
)

// AddYes adds the flag that skips the confirmation.
func AddYes(cmd *cobra.Command, yes *bool) {
	cmd.Flags().BoolVarP(yes, "yes", "y", false, "skip the confirmation prompt")
}

package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

func (a *app) semaphoreBreak() *cobra.Command {
	var yes bool
	var holder string
	cmd := &cobra.Command{
		Use: "break NAME --holder HOLDER", Short: "Take a holder's permits away", Args: oneName("semaphore"),
		Long: `Take the permits of a holder away, and give them to the next in the queue. The
holder learns of it, but may go on working until it does. Who did it stands in an
Event of the semaphore. It needs the right to "break" the semaphore.`,
		Example: a.examples("  koncli semaphore break db-connections --holder load-7\n  koncli semaphore break db-connections --holder load-7 --yes\n"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if holder == "" {
				return errors.New("say from whom: --holder HOLDER, as 'semaphore status' names it")
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			question := fmt.Sprintf("take the permits of semaphore %s in namespace %s away from %s", args[0], client.Namespace(), holder)
			if err := a.confirm(yes, question); err != nil {
				return err
			}
			if err := client.BreakSemaphore(cmd.Context(), args[0], holder); err != nil {
				return err
			}
			a.did(konductorv1.KindSemaphore, args[0], "taken away from "+holder)
			return nil
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "don't ask")
	cmd.Flags().StringVar(&holder, "holder", "", "from whom to take the permits")
	return cmd
}

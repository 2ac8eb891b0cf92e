package main

import (
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/LogicIQ/konductor/e2e/cluster/image"
)

func (e *cli) newImageCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "image",
		Short: "Build images and put them on the node",
		Args:  cobra.NoArgs,
	}
	cmd.AddCommand(e.newImageBuildCommand(), e.newImageLoadCommand())
	return cmd
}

func (e *cli) newImageBuildCommand() *cobra.Command {
	var binary, tag, file string
	cmd := &cobra.Command{
		Use:   "build --binary PATH --tag NAME -o FILE.tar",
		Short: "Make an image of a static program",
		Long: `Make an image of a static program: the program at /koncli, certificate authorities,
user 65532, no shell. The same program gives the same image, byte for byte.`,
		Example: `  CGO_ENABLED=0 go build -o /tmp/koncli ./plugins/...
  go run ./cmd/cluster image build --binary /tmp/koncli --tag logiciq/koncli:dev -o /tmp/koncli.tar
  go run ./cmd/cluster image load /tmp/koncli.tar`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			i, err := image.ProgramImage(tag, "koncli", binary)
			if err != nil {
				return err
			}
			if err := image.WriteArchive(file, i); err != nil {
				return err
			}
			info, err := os.Stat(file)
			if err != nil {
				return err
			}
			e.logf("%s: %s, %.1f MB", file, tag, float64(info.Size())/1e6)
			return nil
		},
	}
	cmd.Flags().StringVar(&binary, "binary", "", "the program")
	cmd.Flags().StringVar(&tag, "tag", "", "name of the image, such as logiciq/koncli:dev")
	cmd.Flags().StringVarP(&file, "output", "o", "", "the archive to write")
	for _, flag := range []string{"binary", "tag", "output"} {
		_ = cmd.MarkFlagRequired(flag) // it exists
	}
	return cmd
}

func (e *cli) newImageLoadCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "load FILE.tar",
		Short: "Put the images of an archive on the node",
		Long: `Put the images of an archive on the node, as "image build" or "docker save" write it.
A short name is completed: logiciq/koncli:dev becomes docker.io/logiciq/koncli:dev,
as it does in a Pod. Use imagePullPolicy IfNotPresent or Never: there is no registry.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := e.openCluster()
			if err != nil {
				return err
			}
			start := time.Now()
			if err := c.LoadImage(cmd.Context(), args[0]); err != nil {
				return err
			}
			e.logf("loaded %s in %s", args[0], time.Since(start).Round(10*time.Millisecond))
			return nil
		},
	}
}

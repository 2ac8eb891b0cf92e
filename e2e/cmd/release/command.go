package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/LogicIQ/konductor/e2e/cluster/image"
	"github.com/LogicIQ/konductor/e2e/release"
)

type cli struct{ out, errOut io.Writer }

func newCommand(out, errOut io.Writer) *cobra.Command {
	e := &cli{out, errOut}
	root := &cobra.Command{
		Use:           "release",
		Short:         "Make the parts of a release that goreleaser doesn't",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(e.newImageCommand(), e.newPushCommand(), e.newSBOMCommand(), e.newNotesCommand())
	return root
}

// releaseFlags are the flags that describe the release.
type releaseFlags struct{ version, created string }

func (m *releaseFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&m.version, "version", "", "the release's version, without a v")
	cmd.Flags().StringVar(&m.created, "created", "", "the time that it bears, such as 2006-01-02T15:04:05Z: the commit's")
}

func (m *releaseFlags) creationTime() (time.Time, error) {
	if m.version == "" {
		return time.Time{}, errors.New("--version is missing: give the release's version, such as 1.2.3")
	}
	t, err := time.Parse(time.RFC3339, m.created)
	if err != nil {
		return time.Time{}, fmt.Errorf("--created %q is no time: write it as 2006-01-02T15:04:05Z", m.created)
	}
	return t, nil
}

func (e *cli) newImageCommand() *cobra.Command {
	var m releaseFlags
	i := release.Image{Programs: map[string]string{}}
	var dir, archive string
	cmd := &cobra.Command{
		Use:   "image -o DIR linux/ARCH=PROGRAM...",
		Short: "Write the image for all architectures as an OCI layout",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			created, err := m.creationTime()
			if err != nil {
				return err
			}
			i.Version, i.Created = m.version, created
			for _, arg := range args {
				platform, file, ok := strings.Cut(arg, "=")
				arch, linux := strings.CutPrefix(platform, "linux/")
				if !ok || !linux || arch == "" || file == "" {
					return fmt.Errorf("%q is no program for a platform: write linux/amd64=PATH", arg)
				}
				i.Programs[arch] = file
			}
			digest, err := i.Write(dir)
			if err != nil {
				return err
			}
			if archive != "" {
				if err := image.PackOCIArchive(archive, dir); err != nil {
					return err
				}
			}
			fmt.Fprintln(e.out, digest)
			return nil
		},
	}
	m.register(cmd)
	cmd.Flags().StringVar(&i.Tag, "tag", "", "name of the image, such as ghcr.io/logiciq/koncli:v1.2.3")
	cmd.Flags().StringVar(&i.Revision, "revision", "", "the commit")
	cmd.Flags().StringVar(&i.License, "license", "LICENSE", "the licence to put into it")
	cmd.Flags().StringVarP(&dir, "output", "o", "", "the folder to write, which is replaced")
	cmd.Flags().StringVar(&archive, "archive", "", "also write it as one file, an OCI archive")
	for _, flag := range []string{"tag", "output"} {
		_ = cmd.MarkFlagRequired(flag) // it exists
	}
	return cmd
}

func (e *cli) newPushCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "push DIR NAME...",
		Short: "Upload an OCI layout under one or more names",
		Args:  cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			digest, err := release.Push(cmd.Context(), args[0], args[1:]...)
			if err != nil {
				return err
			}
			fmt.Fprintln(e.out, digest)
			return nil
		},
	}
}

func (e *cli) newSBOMCommand() *cobra.Command {
	var m releaseFlags
	cmd := &cobra.Command{
		Use:   "sbom ARCHIVE FILE.json",
		Short: "Write the bill of materials of the program in an archive",
		Args:  cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			created, err := m.creationTime()
			if err != nil {
				return err
			}
			bom, err := release.NewBOM(args[0], m.version, created)
			if err != nil {
				return err
			}
			out, err := os.Create(args[1])
			if err != nil {
				return err
			}
			return errors.Join(release.WriteBOM(out, bom), out.Close())
		},
	}
	m.register(cmd)
	return cmd
}

func (e *cli) newNotesCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "notes CHANGELOG VERSION",
		Short: "Print what the changelog says of a version",
		Args:  cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			changelog, err := os.ReadFile(args[0])
			if err != nil {
				return err
			}
			notes, err := release.Notes(string(changelog), strings.TrimPrefix(args[1], "v"))
			if err != nil {
				return err
			}
			fmt.Fprint(e.out, notes)
			return nil
		},
	}
}

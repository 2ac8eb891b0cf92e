package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/LogicIQ/konductor/e2e/cluster/image"
	"github.com/LogicIQ/konductor/e2e/release"
)

type env struct{ out, talk io.Writer }

func newCommand(out, talk io.Writer) *cobra.Command {
	e := &env{out, talk}
	root := &cobra.Command{
		Use:           "release",
		Short:         "Make the parts of a release that goreleaser doesn't",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(e.image(), e.push(), e.sbom(), e.notes(), e.again())
	return root
}

// made are the flags that say what is released.
type made struct{ version, created string }

func (m *made) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&m.version, "version", "", "the release's version, without a v")
	cmd.Flags().StringVar(&m.created, "created", "", "the time that it bears, such as 2006-01-02T15:04:05Z: the commit's")
}

func (m *made) time() (time.Time, error) {
	if m.version == "" {
		return time.Time{}, errors.New("--version is missing: give the release's version, such as 1.2.3")
	}
	t, err := time.Parse(time.RFC3339, m.created)
	if err != nil {
		return time.Time{}, fmt.Errorf("--created %q is no time: write it as 2006-01-02T15:04:05Z", m.created)
	}
	return t, nil
}

func (e *env) image() *cobra.Command {
	var m made
	i := release.Image{Programs: map[string]string{}}
	var dir, archive string
	cmd := &cobra.Command{
		Use:   "image -o DIR linux/ARCH=PROGRAM...",
		Short: "Write the image for all architectures as an OCI layout",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			created, err := m.time()
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
				if err := image.Pack(archive, dir); err != nil {
					return err
				}
			}
			fmt.Fprintln(e.out, digest)
			return nil
		},
	}
	m.flags(cmd)
	cmd.Flags().StringVar(&i.Tag, "tag", "", "name of the image, such as ghcr.io/logiciq/koncli:v1.2.3")
	cmd.Flags().StringVar(&i.Revision, "revision", "", "the commit")
	cmd.Flags().StringVar(&i.License, "license", "LICENSE", "the licence to put into it")
	cmd.Flags().StringVarP(&dir, "output", "o", "", "the folder to write, which is replaced")
	cmd.Flags().StringVar(&archive, "archive", "", "also write it as one file, an OCI archive")
	for _, flag := range []string{"tag", "output"} {
		if err := cmd.MarkFlagRequired(flag); err != nil {
			cmd.RunE = func(*cobra.Command, []string) error { return fmt.Errorf("flag %s: %w", flag, err) }
		}
	}
	return cmd
}

func (e *env) push() *cobra.Command {
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

func (e *env) sbom() *cobra.Command {
	var m made
	cmd := &cobra.Command{
		Use:   "sbom ARCHIVE FILE.json",
		Short: "Write the bill of materials of the program in an archive",
		Args:  cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			created, err := m.time()
			if err != nil {
				return err
			}
			bom, err := release.Bill(args[0], m.version, created)
			if err != nil {
				return err
			}
			out, err := os.Create(args[1])
			if err != nil {
				return err
			}
			return errors.Join(release.WriteBill(out, bom), out.Close())
		},
	}
	m.flags(cmd)
	return cmd
}

func (e *env) notes() *cobra.Command {
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

func (e *env) again() *cobra.Command {
	var dist string
	cmd := &cobra.Command{
		Use:   "again CHECKOUT COMMAND...",
		Short: "Build a second time in a copy of the checkout, and compare",
		Long: `Copy the checkout to another folder, run the command there, and compare what both
have in the folder of the release, byte for byte.`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			checkout, err := filepath.Abs(args[0])
			if err != nil {
				return err
			}
			tmp, err := os.MkdirTemp("", "konductor-again-")
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
			copied := filepath.Join(tmp, "konductor")
			if err := release.Copy(cmd.Context(), checkout, copied); err != nil {
				return err
			}
			build := exec.CommandContext(cmd.Context(), args[1], args[2:]...)
			build.Dir, build.Stdout, build.Stderr = copied, e.talk, e.talk
			if err := build.Run(); err != nil {
				return fmt.Errorf("%s: %w", strings.Join(args[1:], " "), err)
			}
			differ, err := release.Differences(filepath.Join(checkout, dist), filepath.Join(copied, dist))
			if err != nil {
				return err
			}
			if len(differ) > 0 {
				return fmt.Errorf("the second build differs in %s", strings.Join(differ, ", "))
			}
			fmt.Fprintf(e.talk, "two builds of %s in two folders: the same bytes\n", dist)
			return nil
		},
	}
	cmd.Flags().SetInterspersed(false) // the command's flags are its own
	cmd.Flags().StringVar(&dist, "dist", "bin/dist", "the folder of the release, in the checkout")
	return cmd
}

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/yaml"
)

// buildVersion is the version of a released binary, set by the linker.
var buildVersion string //nolint:gochecknoglobals // the linker can set nothing else

// version returns the version of this binary: the released one, else the one that the Go toolchain recorded.
func version() string {
	if buildVersion != "" {
		return buildVersion
	}
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "v0.0.0-dev"
	}
	return info.Main.Version
}

type versionOutput struct {
	Client     string `json:"client"`
	GoVersion  string `json:"goVersion"`
	Platform   string `json:"platform"`
	Kubernetes string `json:"kubernetes,omitempty"`
}

func (a *app) versionCommand() *cobra.Command {
	var clientOnly bool
	var format string
	cmd := &cobra.Command{
		Use: "version", Short: "Print the versions of this program and of the cluster", Args: cobra.NoArgs,
		Example: a.formatExamples("  koncli version\n  koncli version --client -o json\n"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := versionOutput{Client: version(), GoVersion: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
			var unreachable error
			if !clientOnly {
				v.Kubernetes, unreachable = a.serverVersion(cmd.Context())
			}
			if err := printVersion(a.streams.Out, v, format); err != nil {
				return err
			}
			return unreachable
		},
	}
	cmd.Flags().BoolVar(&clientOnly, "client", false, "print only the version of this program, without contacting the cluster")
	cmd.Flags().StringVarP(&format, "output", "o", "", "output format: json or yaml (default text)")
	return cmd
}

func (a *app) serverVersion(ctx context.Context) (string, error) {
	config, err := a.connection.ReadRetryConfig(ctx)
	if err != nil {
		return "", fmt.Errorf("%w; use --client to print only this program's version", err)
	}
	client, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return "", err
	}
	v, err := client.ServerVersion()
	if err != nil {
		return "", err
	}
	return v.GitVersion, nil
}

func printVersion(w io.Writer, v versionOutput, format string) error {
	switch format {
	case "":
		fmt.Fprintf(w, "Client Version: %s\n", v.Client)
		if v.Kubernetes != "" {
			fmt.Fprintf(w, "Kubernetes Version: %s\n", v.Kubernetes)
		}
		return nil
	case "json":
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(v)
	case "yaml":
		b, err := yaml.Marshal(v)
		if err != nil {
			return err
		}
		_, err = w.Write(b)
		return err
	default:
		return fmt.Errorf("-o must be json or yaml, not %q", format)
	}
}

func (a *app) copyToCommand() *cobra.Command {
	return &cobra.Command{
		Use: "copy-to DIR", Short: "Copy this program to a directory, for containers that don't have it",
		Long: `Copy this program to DIR/koncli. The directory must exist; usually it is a volume that
the containers of a Pod share. An initContainer with konductor's image runs copy-to, and
the container with your own image then runs DIR/koncli.`,
		Example: a.formatExamples("  koncli copy-to /konductor\n  koncli copy-to .\n"),
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return fmt.Errorf("name one directory: %s DIR", cmd.CommandPath())
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			self, err := os.Executable()
			if err != nil {
				return fmt.Errorf("finding this program: %w", err)
			}
			to := filepath.Join(args[0], "koncli")
			if err := copyExecutable(self, to); err != nil {
				return err
			}
			a.notify("copied to " + to)
			return nil
		},
	}
}

// copyExecutable copies a program to a path atomically: another container may already be waiting to start it.
func copyExecutable(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.CreateTemp(filepath.Dir(to), ".koncli-*")
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("directory %s does not exist: mount a volume there or create it first", filepath.Dir(to))
	}
	if err != nil {
		return fmt.Errorf("can't write to %s: %w", filepath.Dir(to), err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(out.Name()))
		}
	}()
	_, err = io.Copy(out, in)
	// Any user may run it: the other container may run as another user.
	if err = errors.Join(err, out.Chmod(0o755), out.Close()); err != nil {
		return fmt.Errorf("copying to %s: %w", strings.TrimSuffix(to, "/"), err)
	}
	return os.Rename(out.Name(), to)
}

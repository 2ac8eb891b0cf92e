package cli

import (
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

// released is the version of a released binary, set when it is linked.
var released string //nolint:gochecknoglobals // the linker can set nothing else

// version returns the version of this binary: the released one, else what the Go toolchain noted.
func version() string {
	if released != "" {
		return released
	}
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "v0.0.0-dev"
	}
	return info.Main.Version
}

type versions struct {
	Client    string `json:"client"`
	GoVersion string `json:"goVersion"`
	Platform  string `json:"platform"`
	Server    string `json:"kubernetes,omitempty"`
}

func (a *app) versionCommand() *cobra.Command {
	var clientOnly bool
	var format string
	cmd := &cobra.Command{
		Use: "version", Short: "Print the version of this program and of the cluster", Args: cobra.NoArgs,
		Example: a.examples("  koncli version\n  koncli version --client -o json\n"),
		RunE: func(_ *cobra.Command, _ []string) error {
			v := versions{Client: version(), GoVersion: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
			var unreachable error
			if !clientOnly {
				v.Server, unreachable = a.serverVersion()
			}
			if err := printVersions(a.streams.Out, v, format); err != nil {
				return err
			}
			return unreachable
		},
	}
	cmd.Flags().BoolVar(&clientOnly, "client", false, "only this program's version; the cluster is not asked")
	cmd.Flags().StringVarP(&format, "output", "o", "", "json or yaml")
	return cmd
}

func (a *app) serverVersion() (string, error) {
	config, err := a.restConfig()
	if err != nil {
		return "", fmt.Errorf("%w; --client asks only this program", err)
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

func printVersions(w io.Writer, v versions, format string) error {
	switch format {
	case "":
		fmt.Fprintf(w, "Client Version: %s\n", v.Client)
		if v.Server != "" {
			fmt.Fprintf(w, "Kubernetes Version: %s\n", v.Server)
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

func (a *app) copyTo() *cobra.Command {
	return &cobra.Command{
		Use: "copy-to DIR", Short: "Put this program into a directory, for containers that don't have it",
		Long: `Put this program as DIR/koncli into a directory that exists, such as a volume that
containers of a Pod share. An initContainer with konductor's image does that, and
the container with your own image then calls DIR/koncli.`,
		Example: a.examples("  koncli copy-to /konductor\n  koncli copy-to .\n"),
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
			if err := copyProgram(self, to); err != nil {
				return err
			}
			a.say("copied to " + to)
			return nil
		},
	}
}

// copyProgram copies a program to a path, whole or not at all: another container may already be waiting to start it.
func copyProgram(from, to string) (err error) {
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
	// Everybody may run it, whatever user the other container runs as.
	if err = errors.Join(err, out.Chmod(0o755), out.Close()); err != nil {
		return fmt.Errorf("copying to %s: %w", strings.TrimSuffix(to, "/"), err)
	}
	return os.Rename(out.Name(), to)
}

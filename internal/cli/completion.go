package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/spf13/cobra"

	"github.com/LogicIQ/konductor/internal/cli/clierror"
)

// completionExecutable is the name by which kubectl calls a plugin to complete its command line.
const completionExecutable = "kubectl_complete-konductor"

// completionCommand returns the command that sets up completion.
func (a *app) completionCommand() *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	cmd := &cobra.Command{
		Use: "completion SHELL", Short: "Print a completion script for a shell",
		Long: `Print a completion script for bash, zsh, fish or powershell. It completes koncli's
commands and flags, and the names of existing objects.

For "kubectl konductor", set up kubectl's completion (see 'kubectl completion --help'),
then run 'completion install'.`,
		// The plugin is completed by kubectl. These are for the program under the name koncli, whatever it was called by.
		Example: `  # koncli in this session of bash
  source <(koncli completion bash)

  # koncli in every session of fish
  koncli completion fish > ~/.config/fish/completions/koncli.fish
`,
		ValidArgs: shells,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 || !slices.Contains(shells, args[0]) {
				return fmt.Errorf("specify a shell (%s): %s SHELL", clierror.JoinAlternatives(shells), cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			// The shell completes a program by the name of its file.
			root.Use = a.executableName
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(a.streams.Out, true)
			case "zsh":
				return root.GenZshCompletion(a.streams.Out)
			case "fish":
				return root.GenFishCompletion(a.streams.Out, true)
			default:
				return root.GenPowerShellCompletionWithDesc(a.streams.Out)
			}
		},
	}
	cmd.AddCommand(a.completionInstallCommand())
	return cmd
}

func (a *app) completionInstallCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use: "install", Short: "Set up the completion of 'kubectl konductor'",
		Long: fmt.Sprintf(`Create a link named %s next to the plugin. kubectl runs the
program of that name to complete "kubectl konductor".`, completionExecutable),
		Example: a.formatExamples("  koncli completion install\n  koncli completion install --dir ~/bin\n"),
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			self, err := os.Executable()
			if err != nil {
				return fmt.Errorf("finding this program: %w", err)
			}
			if dir == "" {
				if plugin, err := exec.LookPath(pluginName); err == nil {
					self = plugin
				}
				dir = filepath.Dir(self)
			}
			link, err := linkCompletionExecutable(self, dir)
			if err != nil {
				return err
			}
			if !isOnPath(dir) {
				a.notify(dir + " is not on the PATH, so kubectl won't find it: add it to the PATH, or pass --dir")
			}
			_, err = fmt.Fprintln(a.streams.Out, link, "installed")
			return err
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "directory on the PATH for the link (default the plugin's)")
	return cmd
}

// linkCompletionExecutable creates the completion executable in dir as a link to the program self, and returns its path.
func linkCompletionExecutable(self, dir string) (string, error) {
	self, err := filepath.Abs(self)
	if err != nil {
		return "", err
	}
	link := filepath.Join(dir, completionExecutable)
	if runtime.GOOS == "windows" {
		link += ".exe"
	}
	before, err := os.Lstat(link)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return "", err
	case before.Mode()&fs.ModeSymlink == 0 && runtime.GOOS != "windows":
		return "", fmt.Errorf("%s already exists and isn't a link: remove it first, or pass another --dir", link)
	default:
		if err := os.Remove(link); err != nil {
			return "", fmt.Errorf("can't replace %s: %w", link, err)
		}
	}
	if runtime.GOOS == "windows" {
		// On Windows a link needs a privilege that few users have.
		return link, copyExecutable(self, link)
	}
	if err := os.Symlink(self, link); err != nil {
		return "", fmt.Errorf("can't write to %s: %w", dir, errors.Unwrap(err))
	}
	return link, nil
}

func isOnPath(dir string) bool {
	return slices.ContainsFunc(filepath.SplitList(os.Getenv("PATH")), func(d string) bool {
		return filepath.Clean(d) == filepath.Clean(dir)
	})
}

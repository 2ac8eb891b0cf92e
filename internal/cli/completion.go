package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd/api"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
	"k8s.io/kubectl/pkg/util/completion"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/cli/clierror"
	"github.com/LogicIQ/konductor/internal/cli/flags"
	"github.com/LogicIQ/konductor/internal/view"
	"github.com/LogicIQ/konductor/internal/waitgraph"
)

// completionExecutable is the name by which kubectl calls a plugin to complete its command line.
const completionExecutable = "kubectl_complete-konductor"

// completionTimeout is how long the API server may take to list names. The user is waiting at the keyboard.
const completionTimeout = 2 * time.Second

// completionFunc is what cobra calls to complete an argument or the value of a flag.
type completionFunc = func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective)

// listResourceNames returns the names of the objects of a resource, or none if they can't be listed in time, whatever the
// reason.
func (a *app) listResourceNames(ctx context.Context, resource, toComplete string) []string {
	if timeout := a.connection.ConfigFlags.Timeout; timeout != nil && (*timeout == "" || *timeout == "0") {
		*timeout = completionTimeout.String()
	}
	wrap := a.connection.ConfigFlags.WrapConfigFn
	a.connection.ConfigFlags.WrapConfigFn = func(c *rest.Config) *rest.Config {
		c = wrap(c)
		c.WarningHandler = rest.NoWarnings{}
		return c
	}
	ctx, cancel := context.WithTimeout(ctx, completionTimeout)
	defer cancel()
	found := make(chan []string, 1)
	go func() {
		found <- completion.CompGetResource(cmdutil.NewFactory(a.connection.ConfigFlags), resource, toComplete)
	}()
	select {
	case names := <-found:
		return names
	case <-ctx.Done():
		return nil
	}
}

// completeObjectNames completes the names of objects of a kind: one name, or several.
func (a *app) completeObjectNames(kind string, several bool) completionFunc {
	return func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 && !several {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		names := a.listResourceNames(cmd.Context(), view.GroupResourceName(kind), toComplete)
		return slices.DeleteFunc(names, func(name string) bool { return slices.Contains(args, name) }), cobra.ShellCompDirectiveNoFileComp
	}
}

// completeKindAndName completes KIND/NAME and KIND NAME, for the four primitives and for further kinds, given with their
// resources.
func (a *app) completeKindAndName(further map[string]string, words ...string) completionFunc {
	resources := maps.Clone(further)
	if resources == nil {
		resources = map[string]string{}
	}
	for _, k := range view.PrimitiveKinds() {
		resources[strings.ToLower(k)] = view.GroupResourceName(k)
	}
	return func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 1 {
			return a.listResourceNames(cmd.Context(), resources[strings.ToLower(args[0])], toComplete), cobra.ShellCompDirectiveNoFileComp
		}
		if len(args) > 1 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		kind, name, isObject := strings.Cut(toComplete, "/")
		if !isObject {
			all := slices.Clone(words)
			for _, k := range slices.Sorted(maps.Keys(resources)) {
				all = append(all, k+"/")
			}
			return filterByPrefix(toComplete, all...), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
		}
		resource, known := resources[strings.ToLower(kind)]
		if !known {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var found []string
		for _, n := range a.listResourceNames(cmd.Context(), resource, name) {
			found = append(found, kind+"/"+n)
		}
		return found, cobra.ShellCompDirectiveNoFileComp
	}
}

func filterByPrefix(prefix string, words ...string) []string {
	return slices.DeleteFunc(slices.Clone(words), func(w string) bool { return !strings.HasPrefix(w, prefix) })
}

// completeFromKubeconfig completes names from the kubeconfig.
func (a *app) completeFromKubeconfig(names func(*api.Config) []string) completionFunc {
	return func(_ *cobra.Command, _ []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		config, err := a.connection.ConfigFlags.ToRawKubeConfigLoader().RawConfig()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return filterByPrefix(toComplete, names(&config)...), cobra.ShellCompDirectiveNoFileComp
	}
}

// completeFixedWords completes one of a few words.
func completeFixedWords(all ...string) completionFunc {
	return func(_ *cobra.Command, _ []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		return filterByPrefix(toComplete, all...), cobra.ShellCompDirectiveNoFileComp
	}
}

// registerCompletions registers completions for all commands below root: of object names as arguments, and of flag values.
func (a *app) registerCompletions(root *cobra.Command) {
	byFlag := map[string]completionFunc{
		"namespace": func(cmd *cobra.Command, _ []string, toComplete string) ([]string, cobra.ShellCompDirective) {
			return a.listResourceNames(cmd.Context(), "namespaces", toComplete), cobra.ShellCompDirectiveNoFileComp
		},
		"context":    a.completeFromKubeconfig(func(c *api.Config) []string { return slices.Sorted(maps.Keys(c.Contexts)) }),
		"cluster":    a.completeFromKubeconfig(func(c *api.Config) []string { return slices.Sorted(maps.Keys(c.Clusters)) }),
		"user":       a.completeFromKubeconfig(func(c *api.Config) []string { return slices.Sorted(maps.Keys(c.AuthInfos)) }),
		"job":        a.completeResourceNames("jobs"),
		"barrier":    a.completeResourceNames(view.GroupResourceName(konductorv1.KindBarrier)),
		"arrive":     a.completeResourceNames(view.GroupResourceName(konductorv1.KindBarrier)),
		"gate":       a.completeResourceNames(view.GroupResourceName(konductorv1.KindGate)),
		"lease":      a.completeResourceNames(view.GroupResourceName(konductorv1.KindLease)),
		"semaphore":  a.completeResourceNames(view.GroupResourceName(konductorv1.KindSemaphore)),
		"dry-run":    completeFixedWords("none", "client", "server"),
		"color":      completeFixedWords("auto", "always", "never"),
		"background": completeFixedWords("auto", "dark", "light"),
		"arrive-on":  completeFixedWords(arriveOnEnd, arriveOnSuccess),
	}
	// For any other flag a shell would offer file names, even for a TTL.
	files := []string{
		"cache-dir", "certificate-authority", "client-certificate", "client-key", "dir", "filename", "kubeconfig", "template", "values",
	}
	var walk func(cmd *cobra.Command, kind string)
	walk = func(cmd *cobra.Command, kind string) {
		for name, f := range byFlag {
			if cmd.Flag(name) != nil && cmd.NonInheritedFlags().Lookup(name) != nil {
				// It fails only if the flag has a completion already.
				_ = cmd.RegisterFlagCompletionFunc(name, f)
			}
		}
		cmd.NonInheritedFlags().VisitAll(func(f *pflag.Flag) {
			if !slices.Contains(files, f.Name) {
				_ = cmd.RegisterFlagCompletionFunc(f.Name, cobra.NoFileCompletions)
			}
		})
		if named, ok := flags.ParsePrimitiveKind(cmd.Name()); ok && cmd.HasSubCommands() {
			kind = named
		}
		if kind != "" && !cmd.HasSubCommands() && cmd.Name() != "create" && cmd.Name() != "list" {
			cmd.ValidArgsFunction = a.completeObjectNames(kind, cmd.Name() == "delete")
		}
		for _, sub := range cmd.Commands() {
			walk(sub, kind)
		}
	}
	walk(root, "")
	for _, cmd := range root.Commands() {
		switch cmd.Name() {
		case "status":
			cmd.ValidArgsFunction = a.completeKindAndName(nil, "all")
		case "why":
			cmd.ValidArgsFunction = a.completeKindAndName(map[string]string{strings.ToLower(waitgraph.KindJob): "jobs", strings.ToLower(waitgraph.KindPod): "pods"})
		}
	}
}

func (a *app) completeResourceNames(resource string) completionFunc {
	return func(cmd *cobra.Command, _ []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		return a.listResourceNames(cmd.Context(), resource, toComplete), cobra.ShellCompDirectiveNoFileComp
	}
}

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

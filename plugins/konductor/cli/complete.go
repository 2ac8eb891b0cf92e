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
	"github.com/LogicIQ/konductor/apis/waits"
	"github.com/LogicIQ/konductor/plugins/konductor/view"
)

// completer is the name by which kubectl calls a plugin to complete its command line.
const completer = "kubectl_complete-konductor"

// completeWithin is how long the API server may take to tell names. People wait for them with a finger on the key.
const completeWithin = 2 * time.Second

// complete is what cobra calls to complete an argument or the value of a flag.
type complete = func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective)

// names returns the names of what there is of a resource, or nothing when that can't be had in time, whatever the reason.
func (a *app) names(ctx context.Context, resource, toComplete string) []string {
	if timeout := a.config.Timeout; timeout != nil && (*timeout == "" || *timeout == "0") {
		*timeout = completeWithin.String()
	}
	wrap := a.config.WrapConfigFn
	a.config.WrapConfigFn = func(c *rest.Config) *rest.Config {
		c = wrap(c)
		c.WarningHandler = rest.NoWarnings{}
		return c
	}
	ctx, cancel := context.WithTimeout(ctx, completeWithin)
	defer cancel()
	found := make(chan []string, 1)
	go func() { found <- completion.CompGetResource(cmdutil.NewFactory(a.config), resource, toComplete) }()
	select {
	case names := <-found:
		return names
	case <-ctx.Done():
		return nil
	}
}

// completeNames completes the names of objects of a kind: one, or as many as are wanted.
func (a *app) completeNames(kind string, several bool) complete {
	return func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 && !several {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		names := a.names(cmd.Context(), view.Resource(kind), toComplete)
		return slices.DeleteFunc(names, func(name string) bool { return slices.Contains(args, name) }), cobra.ShellCompDirectiveNoFileComp
	}
}

// completeObject completes KIND/NAME and KIND NAME, for the four primitives and further kinds with their resources.
func (a *app) completeObject(further map[string]string, words ...string) complete {
	resources := maps.Clone(further)
	if resources == nil {
		resources = map[string]string{}
	}
	for _, k := range kinds() {
		resources[strings.ToLower(k[0])] = view.Resource(k[0])
	}
	return func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 1 {
			return a.names(cmd.Context(), resources[strings.ToLower(args[0])], toComplete), cobra.ShellCompDirectiveNoFileComp
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
			return startingWith(toComplete, all...), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
		}
		resource, known := resources[strings.ToLower(kind)]
		if !known {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var found []string
		for _, n := range a.names(cmd.Context(), resource, name) {
			found = append(found, kind+"/"+n)
		}
		return found, cobra.ShellCompDirectiveNoFileComp
	}
}

func startingWith(prefix string, words ...string) []string {
	return slices.DeleteFunc(slices.Clone(words), func(w string) bool { return !strings.HasPrefix(w, prefix) })
}

// completeContents completes what the kubeconfig has names for.
func (a *app) completeContents(names func(*api.Config) []string) complete {
	return func(_ *cobra.Command, _ []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		config, err := a.config.ToRawKubeConfigLoader().RawConfig()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return startingWith(toComplete, names(&config)...), cobra.ShellCompDirectiveNoFileComp
	}
}

// words completes one of a few words.
func words(all ...string) complete {
	return func(_ *cobra.Command, _ []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		return startingWith(toComplete, all...), cobra.ShellCompDirectiveNoFileComp
	}
}

// addCompletion makes all commands below root complete names: of objects where they take one, and of what flags name.
func (a *app) addCompletion(root *cobra.Command) {
	flags := map[string]complete{
		"namespace": func(cmd *cobra.Command, _ []string, toComplete string) ([]string, cobra.ShellCompDirective) {
			return a.names(cmd.Context(), "namespaces", toComplete), cobra.ShellCompDirectiveNoFileComp
		},
		"context":    a.completeContents(func(c *api.Config) []string { return slices.Sorted(maps.Keys(c.Contexts)) }),
		"cluster":    a.completeContents(func(c *api.Config) []string { return slices.Sorted(maps.Keys(c.Clusters)) }),
		"user":       a.completeContents(func(c *api.Config) []string { return slices.Sorted(maps.Keys(c.AuthInfos)) }),
		"job":        a.completeFlag("jobs"),
		"barrier":    a.completeFlag(view.Resource(konductorv1.KindBarrier)),
		"arrive":     a.completeFlag(view.Resource(konductorv1.KindBarrier)),
		"gate":       a.completeFlag(view.Resource(konductorv1.KindGate)),
		"lease":      a.completeFlag(view.Resource(konductorv1.KindLease)),
		"semaphore":  a.completeFlag(view.Resource(konductorv1.KindSemaphore)),
		"dry-run":    words("none", "client", "server"),
		"color":      words("auto", "always", "never"),
		"background": words("auto", "dark", "light"),
		"arrive-on":  words(arriveOnEnd, arriveOnSuccess),
	}
	// For any other flag a shell would offer the files around, as if a TTL could be one.
	files := []string{
		"cache-dir", "certificate-authority", "client-certificate", "client-key", "dir", "filename", "kubeconfig", "template", "values",
	}
	var walk func(cmd *cobra.Command, kind string)
	walk = func(cmd *cobra.Command, kind string) {
		for name, f := range flags {
			if cmd.Flag(name) != nil && cmd.NonInheritedFlags().Lookup(name) != nil {
				// It fails only when the flag has a completion already.
				_ = cmd.RegisterFlagCompletionFunc(name, f)
			}
		}
		cmd.NonInheritedFlags().VisitAll(func(f *pflag.Flag) {
			if !slices.Contains(files, f.Name) {
				_ = cmd.RegisterFlagCompletionFunc(f.Name, cobra.NoFileCompletions)
			}
		})
		if named, ok := primitive(cmd.Name()); ok && cmd.HasSubCommands() {
			kind = named
		}
		if kind != "" && !cmd.HasSubCommands() && cmd.Name() != "create" && cmd.Name() != "list" {
			cmd.ValidArgsFunction = a.completeNames(kind, cmd.Name() == "delete")
		}
		for _, sub := range cmd.Commands() {
			walk(sub, kind)
		}
	}
	walk(root, "")
	for _, cmd := range root.Commands() {
		switch cmd.Name() {
		case "status":
			cmd.ValidArgsFunction = a.completeObject(nil, "all")
		case "why":
			cmd.ValidArgsFunction = a.completeObject(map[string]string{strings.ToLower(waits.KindJob): "jobs", strings.ToLower(waits.KindPod): "pods"})
		}
	}
}

func (a *app) completeFlag(resource string) complete {
	return func(cmd *cobra.Command, _ []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		return a.names(cmd.Context(), resource, toComplete), cobra.ShellCompDirectiveNoFileComp
	}
}

// completionCommand returns the command that sets up completion.
func (a *app) completionCommand() *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	cmd := &cobra.Command{
		Use: "completion SHELL", Short: "Set up completion of commands, flags and names",
		Long: `Print a script by which bash, zsh, fish or powershell completes the command lines of
koncli: commands, flags, and the names of objects there are.

"kubectl konductor" is completed by kubectl, whose own completion has to be set up
(see 'kubectl completion --help'); 'completion install' is all that is needed beside.`,
		// The plugin is completed by kubectl: these are for the program under its other name, whatever it was called by.
		Example: `  # koncli in this bash
  source <(koncli completion bash)

  # koncli in every fish
  koncli completion fish > ~/.config/fish/completions/koncli.fish
`,
		ValidArgs: shells,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 || !slices.Contains(shells, args[0]) {
				return fmt.Errorf("say for which shell, %s: %s SHELL", oneOfThese(shells), cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			// The shell completes the program by its file's name.
			root.Use = a.file
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
	cmd.AddCommand(a.completionInstall())
	return cmd
}

func (a *app) completionInstall() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use: "install", Short: "Let kubectl complete 'kubectl konductor'",
		Long: fmt.Sprintf(`Put a link named %s beside the plugin: kubectl calls a
program of that name to complete "kubectl konductor".`, completer),
		Example: a.examples("  koncli completion install\n  koncli completion install --dir ~/bin\n"),
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			self, err := os.Executable()
			if err != nil {
				return fmt.Errorf("finding this program: %w", err)
			}
			if dir == "" {
				if plugin, err := exec.LookPath(program); err == nil {
					self = plugin
				}
				dir = filepath.Dir(self)
			}
			link, err := linkCompleter(self, dir)
			if err != nil {
				return err
			}
			if !onPath(dir) {
				a.say(dir + " is not on the PATH, where kubectl looks for it: add it, or give --dir")
			}
			_, err = fmt.Fprintln(a.streams.Out, link, "installed")
			return err
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "a directory on the PATH (default that of the plugin)")
	return cmd
}

// linkCompleter makes the completer in dir call the program self, and returns its path.
func linkCompleter(self, dir string) (string, error) {
	self, err := filepath.Abs(self)
	if err != nil {
		return "", err
	}
	link := filepath.Join(dir, completer)
	if runtime.GOOS == "windows" {
		link += ".exe"
	}
	before, err := os.Lstat(link)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return "", err
	case before.Mode()&fs.ModeSymlink == 0 && runtime.GOOS != "windows":
		return "", fmt.Errorf("%s is there already and no link: remove it first, or give another --dir", link)
	default:
		if err := os.Remove(link); err != nil {
			return "", fmt.Errorf("can't replace %s: %w", link, err)
		}
	}
	if runtime.GOOS == "windows" {
		// A link takes a right there that few have.
		return link, copyProgram(self, link)
	}
	if err := os.Symlink(self, link); err != nil {
		return "", fmt.Errorf("can't write to %s: %w", dir, errors.Unwrap(err))
	}
	return link, nil
}

func onPath(dir string) bool {
	return slices.ContainsFunc(filepath.SplitList(os.Getenv("PATH")), func(d string) bool {
		return filepath.Clean(d) == filepath.Clean(dir)
	})
}

// Package completion completes command lines in a shell: the names of objects, and the values of flags.
package completion

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd/api"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
	kubectlcompletion "k8s.io/kubectl/pkg/util/completion"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/cli/flags"
	"github.com/LogicIQ/konductor/internal/view"
	"github.com/LogicIQ/konductor/internal/waitgraph"
)

// listTimeout is how long the API server may take to list names. The user is waiting at the keyboard.
const listTimeout = 2 * time.Second

// Func is what cobra calls to complete an argument or the value of a flag.
type Func = func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective)

// completer completes names from the cluster and the kubeconfig.
type completer struct {
	configFlags *genericclioptions.ConfigFlags
}

// listResourceNames returns the names of the objects of a resource, or none if they can't be listed in time, whatever the
// reason.
func (c *completer) listResourceNames(ctx context.Context, resource, toComplete string) []string {
	if timeout := c.configFlags.Timeout; timeout != nil && (*timeout == "" || *timeout == "0") {
		*timeout = listTimeout.String()
	}
	wrap := c.configFlags.WrapConfigFn
	c.configFlags.WrapConfigFn = func(config *rest.Config) *rest.Config {
		config = wrap(config)
		config.WarningHandler = rest.NoWarnings{}
		return config
	}
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	found := make(chan []string, 1)
	go func() {
		found <- kubectlcompletion.CompGetResource(cmdutil.NewFactory(c.configFlags), resource, toComplete)
	}()
	select {
	case names := <-found:
		return names
	case <-ctx.Done():
		return nil
	}
}

// completeObjectNames completes the names of objects of a kind: one name, or several.
func (c *completer) completeObjectNames(kind string, several bool) Func {
	return func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 && !several {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		names := c.listResourceNames(cmd.Context(), view.GroupResourceName(kind), toComplete)
		return slices.DeleteFunc(names, func(name string) bool { return slices.Contains(args, name) }), cobra.ShellCompDirectiveNoFileComp
	}
}

// withPrimitives adds the four primitives to kinds, which are given with their resources.
func withPrimitives(resources map[string]string) map[string]string {
	for _, k := range view.PrimitiveKinds() {
		resources[strings.ToLower(k)] = view.GroupResourceName(k)
	}
	return resources
}

// completeKindAndName completes KIND/NAME and KIND NAME, for kinds that are given with their resources.
func (c *completer) completeKindAndName(resources map[string]string, words ...string) Func {
	return func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 1 {
			return c.listResourceNames(cmd.Context(), resources[strings.ToLower(args[0])], toComplete), cobra.ShellCompDirectiveNoFileComp
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
		for _, n := range c.listResourceNames(cmd.Context(), resource, name) {
			found = append(found, kind+"/"+n)
		}
		return found, cobra.ShellCompDirectiveNoFileComp
	}
}

func filterByPrefix(prefix string, words ...string) []string {
	return slices.DeleteFunc(slices.Clone(words), func(w string) bool { return !strings.HasPrefix(w, prefix) })
}

// completeFromKubeconfig completes names from the kubeconfig.
func (c *completer) completeFromKubeconfig(names func(*api.Config) []string) Func {
	return func(_ *cobra.Command, _ []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		config, err := c.configFlags.ToRawKubeConfigLoader().RawConfig()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return filterByPrefix(toComplete, names(&config)...), cobra.ShellCompDirectiveNoFileComp
	}
}

// FixedWords completes one of a few words.
func FixedWords(all ...string) Func {
	return func(_ *cobra.Command, _ []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		return filterByPrefix(toComplete, all...), cobra.ShellCompDirectiveNoFileComp
	}
}

// Register registers completions for all commands below root: of object names as arguments, and of flag values. Names come
// from the cluster of the config flags. A flag that has a completion keeps it.
func Register(root *cobra.Command, configFlags *genericclioptions.ConfigFlags) {
	c := &completer{configFlags}
	subjects := map[string]string{
		"job": "jobs", "cronjob": "cronjobs", "pod": "pods", "deployment": "deployments", "statefulset": "statefulsets", "serviceaccount": "serviceaccounts",
	}
	byFlag := map[string]Func{
		"namespace": func(cmd *cobra.Command, _ []string, toComplete string) ([]string, cobra.ShellCompDirective) {
			return c.listResourceNames(cmd.Context(), "namespaces", toComplete), cobra.ShellCompDirectiveNoFileComp
		},
		"context":    c.completeFromKubeconfig(func(config *api.Config) []string { return slices.Sorted(maps.Keys(config.Contexts)) }),
		"cluster":    c.completeFromKubeconfig(func(config *api.Config) []string { return slices.Sorted(maps.Keys(config.Clusters)) }),
		"user":       c.completeFromKubeconfig(func(config *api.Config) []string { return slices.Sorted(maps.Keys(config.AuthInfos)) }),
		"job":        c.completeResourceNames("jobs"),
		"barrier":    c.completeResourceNames(view.GroupResourceName(konductorv1.KindBarrier)),
		"arrive":     c.completeResourceNames(view.GroupResourceName(konductorv1.KindBarrier)),
		"once":       c.completeResourceNames(view.GroupResourceName(konductorv1.KindBarrier)),
		"gate":       c.completeResourceNames(view.GroupResourceName(konductorv1.KindGate)),
		"lease":      c.completeResourceNames(view.GroupResourceName(konductorv1.KindLease)),
		"semaphore":  c.completeResourceNames(view.GroupResourceName(konductorv1.KindSemaphore)),
		"for":        c.completeKindAndName(subjects, "user/"),
		"dry-run":    FixedWords("none", "client", "server"),
		"color":      FixedWords("auto", "always", "never"),
		"background": FixedWords("auto", "dark", "light"),
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
			cmd.ValidArgsFunction = c.completeObjectNames(kind, cmd.Name() == "delete")
		}
		for _, sub := range cmd.Commands() {
			walk(sub, kind)
		}
	}
	walk(root, "")
	for _, cmd := range root.Commands() {
		switch cmd.Name() {
		case "status":
			cmd.ValidArgsFunction = c.completeKindAndName(withPrimitives(map[string]string{}), "all")
		case "why":
			cmd.ValidArgsFunction = c.completeKindAndName(withPrimitives(map[string]string{strings.ToLower(waitgraph.KindJob): "jobs", strings.ToLower(waitgraph.KindPod): "pods"}))
		}
	}
}

func (c *completer) completeResourceNames(resource string) Func {
	return func(cmd *cobra.Command, _ []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		return c.listResourceNames(cmd.Context(), resource, toComplete), cobra.ShellCompDirectiveNoFileComp
	}
}

package cli

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/client-go/transport"
	"k8s.io/utils/ptr"

	"github.com/LogicIQ/konductor/internal/cli/readretry"
	"github.com/LogicIQ/konductor/internal/view"
)

// connection is the cluster, the user and the namespace that a command works with. It is resolved once, when the command
// first needs it. Later changes of the kubeconfig, its current context or KUBECONFIG don't affect the command. Credentials
// may change: a plugin is called again, and a credentials file is read again.
type connection struct {
	config    *rest.Config
	namespace string
	// contextName is the kubeconfig's context, if there is one and it decides which cluster is used.
	contextName string
	// kubeconfigEnv and contextFlags are what a command line needs to reach the same cluster as the same user from any
	// shell: the absolute path of the kubeconfig, and the context.
	kubeconfigEnv string
	contextFlags  []string
}

// resolveConnection returns the connection that the flags, the environment and the kubeconfig define.
func (a *app) resolveConnection() (*connection, error) {
	if a.connection != nil {
		return a.connection, nil
	}
	if a.pinnedConnection != nil {
		c := *a.pinnedConnection
		if given := ptr.Deref(a.configFlags.Namespace, ""); given != "" {
			c.namespace = given
		}
		a.connection = &c
		return a.connection, nil
	}
	config, err := a.configFlags.ToRESTConfig()
	if err != nil {
		return nil, a.kubeconfigError(err)
	}
	loader := a.configFlags.ToRawKubeConfigLoader()
	raw, err := loader.RawConfig()
	if err != nil {
		return nil, a.kubeconfigError(err)
	}
	// Without a kubeconfig kubectl falls back on this address, where hardly ever a server runs.
	if config.Host == "http://localhost:8080" && ptr.Deref(a.configFlags.APIServer, "") == "" && os.Getenv("KUBERNETES_MASTER") == "" && len(raw.Clusters) == 0 {
		return nil, a.kubeconfigError(clientcmd.ErrEmptyConfig)
	}
	namespace, _, err := loader.Namespace()
	if err != nil {
		return nil, a.kubeconfigError(err)
	}
	c := &connection{config: config, namespace: namespace}
	current := ptr.Deref(a.configFlags.Context, "")
	if current == "" {
		current = raw.CurrentContext
	}
	if raw.Contexts[current] != nil {
		c.contextFlags = append(c.contextFlags, "--context="+current)
	}
	if ptr.Deref(a.configFlags.APIServer, "") == "" && ptr.Deref(a.configFlags.ClusterName, "") == "" {
		c.contextName = current
	}
	files, err := kubeconfigFiles(loader, &raw)
	if err != nil {
		return nil, err
	}
	switch len(files) {
	case 0:
	case 1:
		c.contextFlags = append(c.contextFlags, "--kubeconfig="+files[0])
	default:
		// --kubeconfig takes one file, and each of several may contribute.
		c.kubeconfigEnv = "KUBECONFIG=" + view.ShellQuote(strings.Join(files, string(filepath.ListSeparator)))
	}
	a.connection = c
	return c, nil
}

// kubeconfigFiles returns the absolute paths of the files that the kubeconfig was read from, in the order of their
// precedence.
func kubeconfigFiles(loader clientcmd.ClientConfig, raw *api.Config) (files []string, err error) {
	origins := map[string]bool{}
	for _, context := range raw.Contexts {
		origins[context.LocationOfOrigin] = true
	}
	for _, cluster := range raw.Clusters {
		origins[cluster.LocationOfOrigin] = true
	}
	for _, user := range raw.AuthInfos {
		origins[user.LocationOfOrigin] = true
	}
	for _, file := range loader.ConfigAccess().GetLoadingPrecedence() {
		if !origins[file] {
			continue
		}
		full, err := filepath.Abs(file)
		if err != nil {
			return nil, err
		}
		files = append(files, full)
	}
	return files, nil
}

// pinConnection makes the command line use c, whatever the environment and the kubeconfig say by now. Of the flags only the
// namespace counts.
func (a *app) pinConnection(c *connection) {
	a.pinnedConnection = c
	// Code that uses configFlags directly gets the same cluster.
	a.configFlags.WrapConfigFn = func(*rest.Config) *rest.Config { return rest.CopyConfig(c.config) }
}

// restConfig returns the REST config of the cluster.
func (a *app) restConfig() (*rest.Config, error) {
	c, err := a.resolveConnection()
	if err != nil {
		return nil, err
	}
	return rest.CopyConfig(c.config), nil
}

// readRetryConfig returns the REST config for a command that only reads: it retries.
func (a *app) readRetryConfig(ctx context.Context) (*rest.Config, error) {
	config, err := a.restConfig()
	if err != nil {
		return nil, err
	}
	readretry.Wrap(ctx, config, a.notify)
	return config, nil
}

// enableReadRetry makes code that uses configFlags directly retry as readRetryConfig does, and send requests through wrap
// unless that is nil.
func (a *app) enableReadRetry(ctx context.Context, wrap transport.WrapperFunc) error {
	// The SDK has a retry rule of its own, and uses the connection resolved before.
	if _, err := a.resolveConnection(); err != nil {
		return err
	}
	flags := a.configFlags.WrapConfigFn
	a.configFlags.WrapConfigFn = func(c *rest.Config) *rest.Config {
		if flags != nil {
			c = flags(c)
		}
		readretry.Wrap(ctx, c, a.notify)
		if wrap != nil {
			c.Wrap(wrap)
		}
		return c
	}
	return nil
}

// namespace returns the namespace to work in.
func (a *app) namespace() (string, error) {
	c, err := a.resolveConnection()
	if err != nil {
		return "", err
	}
	return c.namespace, nil
}

// contextName returns the kubeconfig's context, if there is one and it decides which cluster is used.
func (a *app) contextName() string {
	c, err := a.resolveConnection()
	if err != nil {
		return ptr.Deref(a.configFlags.Context, "")
	}
	return c.contextName
}

// clusterFlags returns the flags that a suggested command needs to reach the same cluster: kubeconfig and context, or none
// if both are the defaults.
func (a *app) clusterFlags() []string {
	given := a.pinnedConnection != nil || ptr.Deref(a.configFlags.Context, "") != "" || ptr.Deref(a.configFlags.KubeConfig, "") != ""
	var flags []string
	for _, f := range []struct {
		name  string
		value *string
	}{{"server", a.configFlags.APIServer}, {"cluster", a.configFlags.ClusterName}, {"user", a.configFlags.AuthInfoName}} {
		if value := ptr.Deref(f.value, ""); value != "" {
			given, flags = true, append(flags, "--"+f.name+"="+value)
		}
	}
	c, err := a.resolveConnection()
	if err != nil || !given {
		return nil
	}
	return append(flags, c.contextFlags...)
}

// redactedClusterFlags returns the given flags that define the cluster or the user, fit to be displayed. It leaves out
// those that the connection itself provides. The namespace is not among them: each action names its own.
func redactedClusterFlags(flags *pflag.FlagSet) (shown []string) {
	flags.VisitAll(func(f *pflag.Flag) {
		if !f.Changed {
			return
		}
		values := []string{f.Value.String()}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			values = list.GetSlice()
		}
		for _, value := range values {
			switch f.Name {
			case "namespace", "color", "context", "kubeconfig":
				continue
			case "token", "password":
				value = "REDACTED"
			case "certificate-authority", "client-certificate", "client-key", "cache-dir":
				if full, err := filepath.Abs(value); err == nil {
					value = full
				}
			}
			shown = append(shown, "--"+f.Name+"="+value)
		}
	})
	return shown
}

// Package cluster is the connection to the cluster that a command line works with: the kubeconfig and kubectl's flags, the
// namespace, the REST config, and the clients made from them.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // kubectl's login plugins
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/client-go/transport"
	"k8s.io/client-go/util/homedir"
	"k8s.io/utils/ptr"

	"github.com/LogicIQ/konductor/internal/apiclient"
	"github.com/LogicIQ/konductor/internal/cli/readretry"
	"github.com/LogicIQ/konductor/internal/cli/render"
	"github.com/LogicIQ/konductor/internal/view"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// Connection is the connection that kubectl's flags, the environment and the kubeconfig define. It is resolved once, when
// the command first needs it. Later changes of the kubeconfig, its current context or KUBECONFIG don't affect the command.
// Credentials may change: a plugin is called again, and a credentials file is read again.
type Connection struct {
	ConfigFlags *genericclioptions.ConfigFlags // kubectl's flags for the cluster and the user

	messages io.Writer
	resolved *Config // nil until it is needed
	pinned   *Config // overrides the flags; may be nil
}

// Config is the cluster, the user and the namespace that a command works with.
type Config struct {
	REST      *rest.Config
	Namespace string
	// ContextName is the kubeconfig's context, if there is one and it decides which cluster is used.
	ContextName string
	// KubeconfigEnv and ContextFlags are what a command line needs to reach the same cluster as the same user from any
	// shell: the absolute path of the kubeconfig, and the context.
	KubeconfigEnv string
	ContextFlags  []string
}

// NewConnection returns a connection whose flags aren't set yet. Warnings of the API server and messages of the SDK go to
// messages, each warning once.
func NewConnection(userAgent string, messages io.Writer) *Connection {
	f := genericclioptions.NewConfigFlags(true)
	warnings := rest.NewWarningWriter(messages, rest.WarningWriterOptions{Deduplicate: true})
	f.WrapConfigFn = func(c *rest.Config) *rest.Config {
		// The API server limits requests itself (priority and fairness).
		c.QPS = -1
		c.UserAgent = userAgent
		c.WarningHandler = warnings
		c.Wrap(apiclient.RejectForeignDeletions)
		return c
	}
	if homedir.HomeDir() == "" {
		// A container may have no home directory for the discovery cache.
		f.CacheDir = ptr.To(filepath.Join(os.TempDir(), "konductor-cache"))
	}
	return &Connection{ConfigFlags: f, messages: messages}
}

// Resolve returns the config that the flags, the environment and the kubeconfig define.
func (c *Connection) Resolve() (*Config, error) {
	if c.resolved != nil {
		return c.resolved, nil
	}
	if c.pinned != nil {
		config := *c.pinned
		if given := ptr.Deref(c.ConfigFlags.Namespace, ""); given != "" {
			config.Namespace = given
		}
		c.resolved = &config
		return c.resolved, nil
	}
	config, err := c.ConfigFlags.ToRESTConfig()
	if err != nil {
		return nil, c.kubeconfigError(err)
	}
	loader := c.ConfigFlags.ToRawKubeConfigLoader()
	raw, err := loader.RawConfig()
	if err != nil {
		return nil, c.kubeconfigError(err)
	}
	// Without a kubeconfig kubectl falls back on this address, where hardly ever a server runs.
	if config.Host == "http://localhost:8080" && ptr.Deref(c.ConfigFlags.APIServer, "") == "" && os.Getenv("KUBERNETES_MASTER") == "" && len(raw.Clusters) == 0 {
		return nil, c.kubeconfigError(clientcmd.ErrEmptyConfig)
	}
	namespace, _, err := loader.Namespace()
	if err != nil {
		return nil, c.kubeconfigError(err)
	}
	resolved := &Config{REST: config, Namespace: namespace}
	current := ptr.Deref(c.ConfigFlags.Context, "")
	if current == "" {
		current = raw.CurrentContext
	}
	if raw.Contexts[current] != nil {
		resolved.ContextFlags = append(resolved.ContextFlags, "--context="+current)
	}
	if ptr.Deref(c.ConfigFlags.APIServer, "") == "" && ptr.Deref(c.ConfigFlags.ClusterName, "") == "" {
		resolved.ContextName = current
	}
	files, err := kubeconfigFiles(loader, &raw)
	if err != nil {
		return nil, err
	}
	switch len(files) {
	case 0:
	case 1:
		resolved.ContextFlags = append(resolved.ContextFlags, "--kubeconfig="+files[0])
	default:
		// --kubeconfig takes one file, and each of several may contribute.
		resolved.KubeconfigEnv = "KUBECONFIG=" + view.ShellQuote(strings.Join(files, string(filepath.ListSeparator)))
	}
	c.resolved = resolved
	return resolved, nil
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

// Pin makes the connection use config, whatever the environment and the kubeconfig say by now. Of the flags only the
// namespace counts.
func (c *Connection) Pin(config *Config) {
	c.pinned = config
	// Code that uses ConfigFlags directly gets the same cluster.
	c.ConfigFlags.WrapConfigFn = func(*rest.Config) *rest.Config { return rest.CopyConfig(config.REST) }
}

// NewClient returns the SDK's client for the cluster and the namespace.
func (c *Connection) NewClient() (*konductor.Client, error) {
	config, err := c.Resolve()
	if err != nil {
		return nil, err
	}
	return konductor.New(config.REST, konductor.InNamespace(config.Namespace), konductor.InContext(config.ContextName), konductor.NotifyFunc(c.notify))
}

func (c *Connection) notify(message string) { fmt.Fprintln(c.messages, render.SanitizeLines(message)) }

// RESTConfig returns the REST config of the cluster.
func (c *Connection) RESTConfig() (*rest.Config, error) {
	config, err := c.Resolve()
	if err != nil {
		return nil, err
	}
	return rest.CopyConfig(config.REST), nil
}

// ReadRetryConfig returns the REST config for a command that only reads: it retries.
func (c *Connection) ReadRetryConfig(ctx context.Context) (*rest.Config, error) {
	config, err := c.RESTConfig()
	if err != nil {
		return nil, err
	}
	readretry.Wrap(ctx, config, c.notify)
	return config, nil
}

// EnableReadRetry makes code that uses ConfigFlags directly retry as ReadRetryConfig does, and send requests through wrap
// unless that is nil.
func (c *Connection) EnableReadRetry(ctx context.Context, wrap transport.WrapperFunc) error {
	// The SDK has a retry rule of its own, and uses the config resolved before.
	if _, err := c.Resolve(); err != nil {
		return err
	}
	flags := c.ConfigFlags.WrapConfigFn
	c.ConfigFlags.WrapConfigFn = func(config *rest.Config) *rest.Config {
		if flags != nil {
			config = flags(config)
		}
		readretry.Wrap(ctx, config, c.notify)
		if wrap != nil {
			config.Wrap(wrap)
		}
		return config
	}
	return nil
}

// Namespace returns the namespace to work in.
func (c *Connection) Namespace() (string, error) {
	config, err := c.Resolve()
	if err != nil {
		return "", err
	}
	return config.Namespace, nil
}

// ContextName returns the kubeconfig's context, if there is one and it decides which cluster is used.
func (c *Connection) ContextName() string {
	config, err := c.Resolve()
	if err != nil {
		return ptr.Deref(c.ConfigFlags.Context, "")
	}
	return config.ContextName
}

// ClusterFlags returns the flags that a suggested command needs to reach the same cluster: kubeconfig and context, or none
// if both are the defaults.
func (c *Connection) ClusterFlags() []string {
	given := c.pinned != nil || ptr.Deref(c.ConfigFlags.Context, "") != "" || ptr.Deref(c.ConfigFlags.KubeConfig, "") != ""
	var flags []string
	for _, f := range []struct {
		name  string
		value *string
	}{{"server", c.ConfigFlags.APIServer}, {"cluster", c.ConfigFlags.ClusterName}, {"user", c.ConfigFlags.AuthInfoName}} {
		if value := ptr.Deref(f.value, ""); value != "" {
			given, flags = true, append(flags, "--"+f.name+"="+value)
		}
	}
	config, err := c.Resolve()
	if err != nil || !given {
		return nil
	}
	return append(flags, config.ContextFlags...)
}

// kubeconfigError says why the kubeconfig defines no cluster.
func (c *Connection) kubeconfigError(err error) error {
	file := ""
	if c.ConfigFlags.KubeConfig != nil {
		file = *c.ConfigFlags.KubeConfig
	}
	wanted := ""
	if c.ConfigFlags.Context != nil {
		wanted = *c.ConfigFlags.Context
	}
	switch {
	case clientcmd.IsEmptyConfig(err):
		return errors.New("no cluster is configured: set KUBECONFIG, or pass --kubeconfig or --server")
	case errors.Is(err, os.ErrNotExist) && file != "":
		return fmt.Errorf("kubeconfig %s not found: check --kubeconfig", file)
	case wanted != "" && strings.Contains(err.Error(), fmt.Sprintf("context %q does not exist", wanted)):
		return fmt.Errorf("the kubeconfig has no context %s: see 'kubectl config get-contexts'", wanted)
	default:
		return fmt.Errorf("loading the kubeconfig: %w", err)
	}
}

// RedactedFlags returns the given flags that define the cluster or the user, fit to be displayed. It leaves out
// those that the connection itself provides. The namespace is not among them: each action names its own.
func RedactedFlags(flags *pflag.FlagSet) (shown []string) {
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

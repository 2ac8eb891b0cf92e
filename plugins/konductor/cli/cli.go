// Package cli is konductor's command line. Each command turns its flags into a
// call of the SDK (or, for operator, of the operator) and its result into text.
//
// root.go has the tree of commands; a file for each kind has its verbs; print.go
// has what they print and exit.go what they exit with.
package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // as kubectl logs in
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/homedir"
	"k8s.io/utils/ptr"

	"github.com/LogicIQ/konductor/plugins/konductor/frame"
	"github.com/LogicIQ/konductor/plugins/konductor/terminal"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// Run runs the command line args, of which the first is the name the program was called by, and returns the exit code.
func Run(ctx context.Context, args []string, streams genericiooptions.IOStreams) int {
	name, rest := calledAs(args)
	a := &app{streams: streams, config: newConfigFlags(streams.ErrOut), name: name, file: "koncli", color: "auto"}
	if name != a.file {
		a.file = program
	}
	root := a.root()
	root.SetArgs(rest)
	root.SetIn(streams.In)
	root.SetOut(streams.Out)
	root.SetErr(streams.ErrOut)
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil && !errors.Is(err, errBrokenPipe) && err.Error() != "" {
		fmt.Fprintln(streams.ErrOut, a.alarm("error:")+" "+frame.Harmless(a.describe(ctx, cmd, err)))
	}
	return exitCode(err)
}

// calledAs returns how people call the program, and the arguments for it. kubectl calls kubectl_complete-konductor to
// complete "kubectl konductor".
func calledAs(args []string) (name string, rest []string) {
	if len(args) == 0 {
		return "koncli", nil
	}
	base := strings.TrimSuffix(filepath.Base(args[0]), ".exe")
	switch {
	case base == completer:
		return "kubectl konductor", append([]string{cobra.ShellCompRequestCmd}, args[1:]...)
	case strings.HasPrefix(base, "kubectl-"):
		return "kubectl konductor", args[1:]
	default:
		return "koncli", args[1:]
	}
}

// app is what all commands share.
type app struct {
	streams genericiooptions.IOStreams
	config  *genericclioptions.ConfigFlags
	name    string // how people call the program
	file    string // what its file is called
	color   string // auto, always or never
}

// newConfigFlags returns kubectl's flags for the cluster and the user. What the API server warns of goes to errOut, each
// warning once.
func newConfigFlags(errOut io.Writer) *genericclioptions.ConfigFlags {
	f := genericclioptions.NewConfigFlags(true)
	warnings := rest.NewWarningWriter(errOut, rest.WarningWriterOptions{Deduplicate: true})
	f.WrapConfigFn = func(c *rest.Config) *rest.Config {
		// The API server's own fairness limits us.
		c.QPS = -1
		c.UserAgent = program + "/" + version()
		c.WarningHandler = warnings
		return c
	}
	if homedir.HomeDir() == "" {
		// A container may have no home directory to keep in it what the API server has.
		f.CacheDir = ptr.To(filepath.Join(os.TempDir(), "konductor-cache"))
	}
	return f
}

// program is the name in the user agent. The API server also takes it for the field manager of what we write.
const program = "kubectl-konductor"

// client returns the SDK's client for the cluster and namespace that the flags name. What it has to say goes to stderr.
func (a *app) client() (*konductor.Client, error) {
	config, err := a.restConfig()
	if err != nil {
		return nil, err
	}
	namespace, err := a.namespace()
	if err != nil {
		return nil, err
	}
	return konductor.New(config, konductor.InNamespace(namespace), konductor.InContext(a.contextName()), konductor.NotifyFunc(a.say))
}

// writer returns the client of a command that writes, once the flags for what it prints are known to be right.
func (a *app) writer(out *output) (*konductor.Client, error) {
	if err := out.complete(); err != nil {
		return nil, err
	}
	return a.client()
}

// restConfig returns how to reach the cluster that the flags name.
func (a *app) restConfig() (*rest.Config, error) {
	config, err := a.config.ToRESTConfig()
	if err != nil {
		return nil, a.noCluster(err)
	}
	// What kubectl falls back on without a kubeconfig is hardly ever there.
	if config.Host == "http://localhost:8080" && ptr.Deref(a.config.APIServer, "") == "" && os.Getenv("KUBERNETES_MASTER") == "" {
		if raw, err := a.config.ToRawKubeConfigLoader().RawConfig(); err == nil && len(raw.Clusters) == 0 {
			return nil, a.noCluster(clientcmd.ErrEmptyConfig)
		}
	}
	return config, nil
}

func (a *app) namespace() (string, error) {
	namespace, _, err := a.config.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return "", a.noCluster(err)
	}
	return namespace, nil
}

// say tells people something. Results go to stdout instead.
func (a *app) say(message string) { fmt.Fprintln(a.streams.ErrOut, frame.Harmless(message)) }

// alarm returns a word in the colour of bad news, where stderr shows colours.
func (a *app) alarm(word string) string {
	r, err := terminal.Renderer(a.streams.ErrOut, a.color, true, os.Getenv)
	if err != nil {
		return word
	}
	theme := frame.NewTheme(r, true)
	return theme.Bad.On(word)
}

// errDeclined is the answer no.
var errDeclined = errors.New("nothing was done")

// confirm asks on a terminal; elsewhere yes must have been given.
func (a *app) confirm(yes bool, question string) error {
	if yes {
		return nil
	}
	in, ok := a.streams.In.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return fmt.Errorf("%s: confirm with --yes", question)
	}
	fmt.Fprintf(a.streams.ErrOut, "%s? [y/N] ", question)
	answer, err := bufio.NewReader(in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if answer = strings.ToLower(strings.TrimSpace(answer)); answer != "y" && answer != "yes" {
		return errDeclined
	}
	return nil
}

// oneName takes the NAME of an object as the only argument.
func oneName(kind string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) == 0:
			return fmt.Errorf("the name of the %s is missing: %s NAME", kind, cmd.CommandPath())
		case len(args) > 1:
			return fmt.Errorf("one %s at a time, not %q: %s NAME", kind, args, cmd.CommandPath())
		case args[0] == "":
			return fmt.Errorf("the name of the %s is empty: %s NAME", kind, cmd.CommandPath())
		}
		return nil
	}
}

// durationValue is a flag that takes a duration and says what one looks like.
type durationValue time.Duration

func (d *durationValue) String() string { return time.Duration(*d).String() }
func (d *durationValue) Type() string   { return "duration" }
func (d *durationValue) Set(s string) error {
	v, err := time.ParseDuration(s)
	if err != nil {
		return fmt.Errorf("%q is not a duration: write a number with a unit, for example 30s, 5m or 1h30m", s)
	}
	*d = durationValue(v)
	return nil
}

// durationFlag adds a flag for a duration that defaults to value.
func durationFlag(cmd *cobra.Command, p *time.Duration, name string, value time.Duration, usage string) {
	*p = value
	cmd.Flags().Var((*durationValue)(p), name, usage)
	if value == 0 {
		// So that help shows no default: there is none.
		cmd.Flags().Lookup(name).DefValue = "0"
	}
}

// positive checks a flag whose duration must be longer than zero when it is given.
func positive(cmd *cobra.Command, flags ...string) error {
	for _, name := range flags {
		f := cmd.Flags().Lookup(name)
		if v, ok := f.Value.(*durationValue); ok && f.Changed && *v <= 0 {
			return fmt.Errorf("--%s must be longer than zero, for example 30s, 5m or 1h30m", name)
		}
	}
	return nil
}

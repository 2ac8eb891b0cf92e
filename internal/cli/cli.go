// Package cli is konductor's command line. Each command turns its flags into a call of the SDK (or, for operator, of the
// operator) and its result into text.
//
// Run is both what main calls and, through app.execute, what the dashboard calls in this process. The command tree is in
// root.go. There is a file for each kind with its verbs. The packages below have what the commands share: cluster is the
// connection, clierror has the error messages and the exit codes, and printer writes text.
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
	"k8s.io/cli-runtime/pkg/genericiooptions"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // kubectl's login plugins

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/cli/clierror"
	"github.com/LogicIQ/konductor/internal/cli/cluster"
	"github.com/LogicIQ/konductor/internal/cli/printer"
	"github.com/LogicIQ/konductor/internal/cli/render"
	"github.com/LogicIQ/konductor/internal/cli/runner"
	"github.com/LogicIQ/konductor/internal/cli/terminal"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// Run runs the command line args and returns the exit code. args[0] is the name by which the program was called.
func Run(ctx context.Context, args []string, streams genericiooptions.IOStreams) int {
	name, rest := parseProgramName(args)
	err := newApp(name, streams).execute(ctx, rest)
	var coded *clierror.ExitCodeError
	if errors.As(err, &coded) {
		runner.ReraiseInterrupt(coded.Signal)
	}
	return clierror.ExitCode(err)
}

// newApp returns an app with that display name.
func newApp(name string, streams genericiooptions.IOStreams) *app {
	spoken := printer.NewMessages(streams.ErrOut)
	a := &app{streams: streams, messages: spoken, connection: newConnection(spoken), displayName: name, executableName: "koncli", color: "auto"}
	if name != a.executableName {
		a.executableName = pluginName
	}
	return a
}

// execute runs a command line without the program's name, and prints its error.
func (a *app) execute(ctx context.Context, args []string) error {
	root := a.rootCommand()
	root.SetArgs(args)
	root.SetIn(a.streams.In)
	root.SetOut(a.streams.Out)
	root.SetErr(a.streams.ErrOut)
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil && !clierror.IsBrokenPipe(err) && err.Error() != "" {
		last := a.messages.StartQueue()
		explainer := clierror.Explainer{Connection: a.connection, DisplayName: a.displayName}
		fmt.Fprintln(a.messages, a.highlightError("error:")+" "+render.SanitizeLines(explainer.Explain(ctx, cmd, err)))
		last()
	}
	if interrupted := clierror.AsSignalExitError(ctx, err); interrupted != nil {
		err = interrupted
	}
	return err
}

// parseProgramName returns the display name of the program and its arguments. kubectl calls kubectl_complete-konductor to
// complete "kubectl konductor".
func parseProgramName(args []string) (name string, rest []string) {
	if len(args) == 0 {
		return "koncli", nil
	}
	base := strings.TrimSuffix(filepath.Base(args[0]), ".exe")
	switch {
	case base == completionExecutable:
		return "kubectl konductor", append([]string{cobra.ShellCompRequestCmd}, args[1:]...)
	case strings.HasPrefix(base, "kubectl-"):
		return "kubectl konductor", args[1:]
	default:
		return "koncli", args[1:]
	}
}

// app is what all commands share.
type app struct {
	streams        genericiooptions.IOStreams
	messages       *printer.Messages
	connection     *cluster.Connection
	displayName    string // the name in messages: "koncli" or "kubectl konductor"
	executableName string // the name of its file
	color          string // auto, always or never
}

// pluginName is the name in the user agent. The API server also uses it as the field manager of our writes.
const pluginName = "kubectl-konductor"

// newConnection returns the connection to the cluster that the flags will name.
func newConnection(messages io.Writer) *cluster.Connection {
	return cluster.NewConnection(pluginName+"/"+version(), messages)
}

// newWriteClient returns the client of a command that writes, after checking the output flags.
func (a *app) newWriteClient(out *outputFlags) (*konductor.Client, error) {
	if err := out.complete(); err != nil {
		return nil, err
	}
	return a.connection.NewClient()
}

// notify prints a message for the user. Results go to stdout instead.
func (a *app) notify(message string) { a.messages.Notify(message) }

// tolerateClosedOutput is for commands that hold, or wait in a queue. It lets them go on when their output isn't read. A
// closed pipe behind stdout or stderr would end them and leave their claims behind. A full pipe or a stopped terminal would
// block their renewals. The returned function stops the message queue.
func (a *app) tolerateClosedOutput() (stop func()) {
	runner.CatchSIGPIPE()
	return a.messages.StartQueue()
}

// highlightError returns a word in the error color, if stderr shows colors.
func (a *app) highlightError(word string) string {
	r, err := terminal.NewRenderer(a.streams.ErrOut, a.color, true, os.Getenv)
	if err != nil {
		return word
	}
	theme := render.NewTheme(r, true)
	return theme.Error.Render(word)
}

// errDeclined means that the user answered no.
var errDeclined = errors.New("canceled: nothing was done")

// confirm asks the user on a terminal whether to do verb, such as "delete", to object; without a terminal yes must be given.
func (a *app) confirm(yes bool, verb, object string) error {
	if yes {
		return nil
	}
	if !a.canPrompt() {
		return fmt.Errorf("not %sing %s without confirmation; pass --yes", strings.TrimSuffix(verb, "e"), object)
	}
	fmt.Fprintf(a.streams.ErrOut, "%s %s? [y/N] ", verb, object)
	answer, err := bufio.NewReader(a.streams.In).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if answer = strings.ToLower(strings.TrimSpace(answer)); answer != "y" && answer != "yes" {
		return errDeclined
	}
	return nil
}

// canPrompt reports whether there is a terminal to ask on.
func (a *app) canPrompt() bool {
	in, ok := a.streams.In.(*os.File)
	return ok && term.IsTerminal(int(in.Fd()))
}

// exactlyOneName requires the NAME of an object as the only argument.
func exactlyOneName(kind string) cobra.PositionalArgs {
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

// durationValue is a duration flag whose errors show a valid value.
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

// addDurationFlag adds a duration flag with a default.
func addDurationFlag(cmd *cobra.Command, p *time.Duration, name string, value time.Duration, usage string) {
	*p = value
	cmd.Flags().Var((*durationValue)(p), name, usage)
	if value == 0 {
		// So that help shows no default: there is none.
		cmd.Flags().Lookup(name).DefValue = "0"
	}
}

// validateTTL rejects a --ttl that would end before the holder learns of its hold.
func validateTTL(cmd *cobra.Command) error {
	if err := validatePositive(cmd, "ttl"); err != nil {
		return err
	}
	f := cmd.Flags().Lookup("ttl")
	if v, ok := f.Value.(*durationValue); ok && f.Changed && time.Duration(*v) < konductorv1.MinTTL {
		return fmt.Errorf("--ttl must be at least %s: a shorter hold could expire before its holder learns of it", konductorv1.MinTTL)
	}
	return nil
}

// validatePositive checks that the flags that were given are longer than zero.
func validatePositive(cmd *cobra.Command, flags ...string) error {
	for _, name := range flags {
		f := cmd.Flags().Lookup(name)
		if v, ok := f.Value.(*durationValue); ok && f.Changed && *v <= 0 {
			return fmt.Errorf("--%s must be longer than zero, for example 30s, 5m or 1h30m", name)
		}
	}
	return nil
}

// Package cli is konductor's command line. Each command turns its flags into a call of the SDK (or, for operator, of the
// operator) and its result into text.
//
// Run is both what main calls and, through app.execute, what the dashboard calls in this process. The command tree is in
// root.go. There is a file for each kind with its verbs. What commands share is in the packages below: cluster is the
// connection, clierror has the error messages and the exit codes, flags has the flags of several commands, printer writes
// text, kubectlget is kubectl's get, and completion completes command lines. None of them imports this package.
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

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/LogicIQ/konductor/internal/cli/clierror"
	"github.com/LogicIQ/konductor/internal/cli/cluster"
	"github.com/LogicIQ/konductor/internal/cli/flags"
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
func (a *app) newWriteClient(out *flags.Output) (*konductor.Client, error) {
	if err := out.Complete(); err != nil {
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

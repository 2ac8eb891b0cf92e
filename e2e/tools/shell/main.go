// Command shell is a POSIX shell and small utilities in one program: the name by which it is called selects one, as for busybox.
// "shell --list" prints the names.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"
)

// terminated is a shell's exit status for a program ended by SIGTERM.
const terminated = 128 + int(syscall.SIGTERM)

// killDelay is how long commands have to end after a SIGTERM.
const killDelay = 5 * time.Second

func main() {
	if os.Getenv("HOSTNAME") == "" {
		if name, err := os.Hostname(); err == nil {
			_ = os.Setenv("HOSTNAME", name)
		}
	}
	os.Exit(run(os.Args))
}

func run(args []string) int {
	name := filepath.Base(strings.TrimPrefix(args[0], "-"))
	if name == "shell" || name == "busybox" {
		if len(args) == 2 && args[1] == "--list" {
			fmt.Println(strings.Join(names(), "\n"))
			return 0
		}
		if len(args) < 2 {
			fmt.Fprintln(os.Stderr, "usage: shell --list | shell NAME [ARG...]")
			return 2
		}
		return run(args[1:])
	}
	job, err := parse(name, args[1:])
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		return 2
	}
	return job.run()
}

// job is a script with its options and parameters.
type job struct {
	name   string // $0
	params []string
	script io.Reader
}

// parse parses the command line: a shell's if name is sh, else it returns a script that calls the utility of that name.
func parse(name string, args []string) (*job, error) {
	if name != "sh" && name != "ash" && name != "bash" {
		return &job{name: name, params: append([]string{"--", name}, args...), script: strings.NewReader(`"$@"`)}, nil
	}
	j := &job{name: name, script: os.Stdin}
	command := false
	for len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' {
		flags := args[0]
		args = args[1:]
		if flags == "--" {
			break
		}
		if flags == "-o" && len(args) > 0 {
			j.params = append(j.params, "-o", args[0])
			args = args[1:]
			continue
		}
		for _, flag := range flags[1:] {
			switch flag {
			case 'c':
				command = true
			case 'i', 'l', 's': // these change nothing here
			default:
				j.params = append(j.params, "-"+string(flag))
			}
		}
	}
	switch {
	case command && len(args) == 0:
		return nil, errors.New("-c: a command is missing")
	case command:
		j.script = strings.NewReader(args[0])
		args = args[1:]
		if len(args) > 0 {
			j.name, args = args[0], args[1:]
		}
	case len(args) > 0:
		f, err := os.Open(args[0])
		if err != nil {
			return nil, err
		}
		j.name, j.script, args = args[0], f, args[1:]
	}
	j.params = append(append(j.params, "--"), args...)
	return j, nil
}

func (j *job) run() int {
	// The first process of a Pod gets no signal that it doesn't handle.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	go func() {
		cancel(signalled{(<-signals).(syscall.Signal)})
		// A command that still runs then can't be interrupted.
		time.AfterFunc(2*killDelay, func() { os.Exit(terminated) })
	}()

	traps := traps{}
	runner, err := interp.New(
		interp.StdIO(os.Stdin, os.Stdout, os.Stderr),
		interp.Params(j.params...),
		interp.CallHandler(traps.intercept),
		interp.ExecHandlers(builtin, coreutil, external),
	)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", j.name, err)
		return 2
	}
	err = runScript(ctx, runner, j.script, j.name)
	var sig signalled
	if errors.As(context.Cause(ctx), &sig) {
		if command, ok := traps[sig.Signal]; ok {
			err = runScript(context.Background(), runner, strings.NewReader(command), j.name)
			if status, ok := errors.AsType[interp.ExitStatus](err); ok {
				return int(status)
			}
		}
		return 128 + int(sig.Signal)
	}
	if status, ok := errors.AsType[interp.ExitStatus](err); ok {
		return int(status)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", j.name, err)
		return 2
	}
	return 0
}

// runScript runs each statement as soon as it is read, so that a script from a pipe runs while it arrives.
func runScript(ctx context.Context, runner *interp.Runner, script io.Reader, name string) error {
	if f, ok := script.(*os.File); ok && f == os.Stdin {
		var last error
		for stmt, err := range syntax.NewParser().StmtsSeq(script) {
			if err != nil {
				return err
			}
			last = runner.Run(ctx, stmt)
			if runner.Exited() || ctx.Err() != nil {
				break
			}
		}
		return last
	}
	file, err := syntax.NewParser().Parse(script, name)
	if err != nil {
		return err
	}
	return runner.Run(ctx, file)
}

// signalled is the cause of the end of a script.
type signalled struct{ syscall.Signal }

func (s signalled) Error() string { return "ended by " + s.String() }

// traps are the commands to run on a signal. The interpreter knows traps on EXIT and ERR only. Unlike in other shells, the
// running command is ended first, and the script doesn't continue afterwards.
type traps map[syscall.Signal]string

func (t traps) intercept(_ context.Context, args []string) ([]string, error) {
	if args[0] == "kill" { // not among the interpreter's builtins
		return append([]string{"/bin/kill"}, args[1:]...), nil
	}
	if args[0] != "trap" || len(args) < 3 {
		return args, nil
	}
	rest := args[:2:2]
	for _, name := range args[2:] {
		sig, ok := signalByName(name)
		if !ok {
			rest = append(rest, name)
			continue
		}
		if args[1] == "-" {
			delete(t, sig)
		} else {
			t[sig] = args[1]
		}
	}
	if len(rest) == 2 {
		return []string{"true"}, nil
	}
	return rest, nil
}

func signalByName(name string) (syscall.Signal, bool) {
	switch strings.TrimPrefix(strings.ToUpper(name), "SIG") {
	case "TERM", "15":
		return syscall.SIGTERM, true
	case "INT", "2":
		return syscall.SIGINT, true
	case "HUP", "1":
		return syscall.SIGHUP, true
	case "KILL", "9":
		return syscall.SIGKILL, true
	case "QUIT", "3":
		return syscall.SIGQUIT, true
	case "USR1", "10":
		return syscall.SIGUSR1, true
	case "USR2", "12":
		return syscall.SIGUSR2, true
	case "0":
		return 0, true
	}
	return 0, false
}

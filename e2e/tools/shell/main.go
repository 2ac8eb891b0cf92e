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

	"mvdan.cc/sh/moreinterp/coreutils"
	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"
)

// endDelay is how long a command may run on after a signal.
const endDelay = 10 * time.Second

func main() {
	if os.Getenv("HOSTNAME") == "" {
		if name, err := os.Hostname(); err == nil {
			_ = os.Setenv("HOSTNAME", name)
		}
	}
	os.Exit(run(os.Args))
}

// names returns all names of this program: shells, the interpreter's builtins that are programs elsewhere, and utilities.
func names() []string {
	return []string{
		"sh", "ash", "[", "echo", "false", "printf", "pwd", "test", "true", "sleep",
		"base64", "cat", "chmod", "cp", "find", "gunzip", "gzip", "ls", "mkdir",
		"mktemp", "mv", "rm", "shasum", "tar", "touch", "xargs",
	}
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
	if name != "sh" && name != "ash" {
		return &job{name: name, params: append([]string{"--", name}, args...), script: strings.NewReader(`"$@"`)}, nil
	}
	j := &job{name: name, script: os.Stdin}
	command := false
	for len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' {
		for _, flag := range args[0][1:] {
			if flag == 'c' {
				command = true
			} else {
				j.params = append(j.params, "-"+string(flag))
			}
		}
		args = args[1:]
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
		sig := signalled{(<-signals).(syscall.Signal)}
		cancel(sig)
		// A utility that still runs then can't be interrupted.
		time.AfterFunc(endDelay, func() { os.Exit(sig.status()) })
	}()

	traps := traps{}
	runner, err := interp.New(
		interp.StdIO(os.Stdin, os.Stdout, os.Stderr),
		interp.Params(j.params...),
		interp.CallHandler(traps.intercept),
		interp.ExecHandlers(sleep, coreutils.ExecHandler),
	)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", j.name, err)
		return 2
	}
	err = runScript(ctx, runner, j.script, j.name)
	if sig, ok := errors.AsType[signalled](context.Cause(ctx)); ok {
		command, trapped := traps[sig.Signal]
		if trapped {
			err = runScript(context.Background(), runner, strings.NewReader(command), j.name)
		}
		if !trapped || !runner.Exited() {
			return sig.status()
		}
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

func runScript(ctx context.Context, runner *interp.Runner, script io.Reader, name string) error {
	file, err := syntax.NewParser().Parse(script, name)
	if err != nil {
		return err
	}
	return runner.Run(ctx, file)
}

// signalled is the cause of the end of a script.
type signalled struct{ syscall.Signal }

func (s signalled) Error() string { return "ended by " + s.String() }

func (s signalled) status() int { return 128 + int(s.Signal) }

// traps are the commands to run on a signal. The interpreter knows traps on EXIT and ERR only. Unlike in other shells, the
// running command is ended first, and the script doesn't continue afterwards.
type traps map[syscall.Signal]string

func (t traps) intercept(_ context.Context, args []string) ([]string, error) {
	if args[0] != "trap" || len(args) < 3 {
		return args, nil
	}
	rest := args[:2:2]
	for _, name := range args[2:] {
		sig, ok := map[string]syscall.Signal{"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "HUP": syscall.SIGHUP}[name]
		switch {
		case !ok:
			rest = append(rest, name)
		case args[1] == "-":
			delete(t, sig)
		default:
			t[sig] = args[1]
		}
	}
	if len(rest) == 2 {
		return []string{"true"}, nil
	}
	return rest, nil
}

// sleep is the one utility that scripts in Pods need and the library lacks: "1.5", "10s", "5m", "1h".
func sleep(next interp.ExecHandlerFunc) interp.ExecHandlerFunc {
	return func(ctx context.Context, args []string) error {
		if args[0] != "sleep" {
			return next(ctx, args)
		}
		text := strings.Join(args[1:], " ")
		d, err := time.ParseDuration(text)
		if err != nil {
			d, err = time.ParseDuration(text + "s")
		}
		if err != nil {
			fmt.Fprintf(interp.HandlerCtx(ctx).Stderr, "sleep: invalid time %q\n", text)
			return interp.ExitStatus(1)
		}
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"mvdan.cc/sh/moreinterp/coreutils"
	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/interp"
)

// call is one invocation of a utility.
type call struct {
	ctx      context.Context
	args     []string // without the name
	in       io.Reader
	out, err io.Writer
	dir      string
	env      expand.Environ
}

// exit is the status of a utility that has already printed its error.
type exit = interp.ExitStatus

// builtin runs the utilities of this package.
func builtin(next interp.ExecHandlerFunc) interp.ExecHandlerFunc {
	return func(ctx context.Context, args []string) error {
		utility, ok := utilities()[bareName(args[0])]
		if !ok {
			return next(ctx, args)
		}
		h := interp.HandlerCtx(ctx)
		c := &call{ctx: ctx, args: args[1:], in: h.Stdin, out: h.Stdout, err: h.Stderr, dir: h.Dir, env: h.Env}
		err := utility(c)
		var status exit
		if err == nil || errors.As(err, &status) || ctx.Err() != nil {
			return err
		}
		fmt.Fprintf(h.Stderr, "%s: %v\n", args[0], err)
		return exit(1)
	}
}

// coreutil runs the utilities that come with the interpreter's project.
func coreutil(next interp.ExecHandlerFunc) interp.ExecHandlerFunc {
	handler := coreutils.ExecHandler(next)
	return func(ctx context.Context, args []string) error {
		if name := bareName(args[0]); slices.Contains(coreutilNames(), name) {
			return handler(ctx, append([]string{name}, args[1:]...))
		}
		return next(ctx, args)
	}
}

func coreutilNames() []string {
	return []string{
		"base64", "cat", "chmod", "cp", "find", "gunzip", "gzip", "ls", "mkdir",
		"mktemp", "mv", "rm", "shasum", "tar", "touch", "xargs",
	}
}

// bareName saves a process for /bin/cat, which is this program again.
func bareName(name string) string { return strings.TrimPrefix(name, "/bin/") }

// names returns all names of this program.
func names() []string {
	list := append(coreutilNames(), "sh", "ash", "echo", "printf", "test", "[", "true", "false", "pwd")
	for name := range utilities() {
		list = append(list, name)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// external runs other programs. When the script is to end they get a SIGTERM, and some time to end.
func external(interp.ExecHandlerFunc) interp.ExecHandlerFunc {
	return func(ctx context.Context, args []string) error {
		h := interp.HandlerCtx(ctx)
		c := &call{ctx: ctx, in: h.Stdin, out: h.Stdout, err: h.Stderr, dir: h.Dir, env: h.Env}
		return c.spawn(exported(h.Env), args)
	}
}

func (c *call) spawn(environ, args []string) error {
	path, err := interp.LookPathDir(c.dir, c.env, args[0])
	if err != nil {
		fmt.Fprintf(c.err, "%s: not found\n", args[0])
		return exit(127)
	}
	cmd := exec.CommandContext(c.ctx, path, args[1:]...)
	cmd.Args[0] = args[0]
	cmd.Env = environ
	cmd.Dir = c.dir
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.in, c.out, c.err
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = killDelay
	err = cmd.Run()
	if failed, ok := errors.AsType[*exec.ExitError](err); ok {
		if status, ok := failed.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			return exit(128 + int(status.Signal()))
		}
		return exit(failed.ExitCode())
	}
	if err != nil && !errors.Is(err, exec.ErrWaitDelay) && c.ctx.Err() == nil {
		fmt.Fprintf(c.err, "%s: %v\n", args[0], err)
		return exit(126)
	}
	return err
}

func exported(env expand.Environ) []string {
	var list []string
	for name, v := range env.Each {
		if v.Exported && v.Kind == expand.String {
			list = append(list, name+"="+v.Str)
		}
	}
	return list
}

// open opens a file relative to the working directory of the utility; "-" is its standard input.
func (c *call) open(name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(c.in), nil
	}
	return os.Open(c.path(name))
}

func (c *call) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(c.dir, name)
}

// inputs calls each with every named file, or with the standard input if there is none.
func (c *call) inputs(files []string, each func(name string, r io.Reader) error) error {
	if len(files) == 0 {
		files = []string{"-"}
	}
	for _, name := range files {
		f, err := c.open(name)
		if err != nil {
			return err
		}
		err = each(name, f)
		_ = f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

package jobcontrol

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Scenario is something that happens to a running command: keys, signals, a closed terminal.
type Scenario struct {
	// Input describes it, in Markdown. TOOL stands for the program that runs the command.
	Input string
	play  func(d *session, tool string) string
}

// Play runs the scenario in the directory dir. tool is the prefix of the command line that makes a tool run the command that
// follows; empty: the command runs by itself. It returns the outcome.
func (s Scenario) Play(ctx context.Context, dir string, environment []string, tool string) (outcome string, err error) {
	d, err := newSession(ctx, dir, environment)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	return d.play(func() string {
		d.waitForOutput("> $")
		return s.play(d, tool)
	})
}

// signalCountingCommand is a command that writes its PID and each signal that it gets to files, and runs until its session ends
// it. It starts no child: a shell whose child is stopped while it is being started can't be continued.
const signalCountingCommand = `sh -c 'for s in INT QUIT TERM HUP USR1; do trap "echo $s >>got" $s; done; echo $$ >pid; until read x <end; do :; done; exit 7' 2>err`

// plainCommand is a command that doesn't handle signals, and runs until its session ends it.
const plainCommand = `sh -c 'echo $$ >pid; read x <end; echo done >done; exit 7'`

// duplicateSignalWindow is the maximum delay of a signal that is forwarded.
const duplicateSignalWindow = 500 * time.Millisecond

// observeSignals calls send to send sig to signalCountingCommand, and returns the signals that it got until it ended.
func observeSignals(d *session, sig string, send func()) string {
	send()
	if !d.eventually(func() bool { return d.hasFile("got") }) {
		return "it gets nothing"
	}
	// A signal that was sent once may arrive twice, the second time a little later.
	again := time.NewTimer(duplicateSignalWindow)
	defer again.Stop()
	<-again.C
	d.letCommandExit(d.waitForPID("pid"))
	got := strings.Split(d.waitForFile("got"), "\n")
	slices.Sort(got)
	for _, g := range got {
		if g != sig {
			return "it gets SIG" + strings.Join(got, ", SIG")
		}
	}
	return fmt.Sprintf("it gets SIG%s %s", sig, formatTimes(len(got)))
}

func formatTimes(n int) string {
	switch n {
	case 1:
		return "once"
	case 2:
		return "twice"
	default:
		return fmt.Sprintf("%d times", n)
	}
}

// commandFate returns what happened to a running command after something that might have ended it.
func commandFate(d *session) string {
	d.letCommandExit(d.waitForPID("pid"))
	if d.hasFile("done") {
		return "it goes on"
	}
	return "it ends"
}

// Scenarios returns the rows of the table in docs/run.md.
func Scenarios() []Scenario {
	return []Scenario{
		{"Ctrl-C", func(d *session, tool string) string {
			d.typeLine("%s %s", tool, signalCountingCommand)
			d.waitForFile("pid")
			return observeSignals(d, "INT", func() { d.typeKeys("\x03") })
		}},
		{"Ctrl-\\", func(d *session, tool string) string {
			d.typeLine("%s %s", tool, signalCountingCommand)
			d.waitForFile("pid")
			return observeSignals(d, "QUIT", func() { d.typeKeys("\x1c") })
		}},
		{"Ctrl-C in a loop of a script", func(d *session, tool string) string {
			d.writeFile("script", "echo $$ >loop; for i in 1 2 3; do "+tool+" "+plainCommand+"; rm -f pid; echo $i >>rounds; done\n", 0o700)
			d.typeLine("bash ./script")
			first := d.waitForPID("pid")
			d.typeKeys("\x03")
			if !d.eventuallyExits(first) {
				return "it goes on"
			}
			d.waitUntil("the end of the loop, or another round", func() bool {
				return d.hasFile("rounds") || processState(d.waitForPID("loop")) == ""
			})
			if d.hasFile("rounds") {
				return "the loop goes on"
			}
			return "the loop ends"
		}},
		{"Ctrl-Z, `fg`", func(d *session, tool string) string {
			d.typeLine("%s %s", tool, plainCommand)
			pid := d.waitForPID("pid")
			d.typeKeys("\x1a")
			d.waitForOutput("Stopped")
			d.typeLine("fg")
			d.waitUntil("its going on", func() bool { return processState(pid) != "T" })
			d.letCommandExit(pid)
			return "it stops and goes on, exit code " + d.exitCode()
		}},
		{"`kill -TSTP` to TOOL alone, `fg`", func(d *session, tool string) string {
			d.typeLine("%s %s &", tool, plainCommand)
			pid := d.waitForPID("pid")
			d.typeLine("kill -TSTP $!; until jobs | grep Stopped; do sleep 0.02; done")
			d.waitForOutput("Stopped  ")
			outcome := "it stops and goes on"
			if processState(pid) != "T" {
				outcome = "it isn't stopped"
			}
			d.typeLine("fg")
			d.letCommandExit(pid)
			return outcome
		}},
		{"the command stops itself, `fg`", func(d *session, tool string) string {
			d.typeLine("%s sh -c 'echo $$ >pid; kill -STOP $$; echo on >on'", tool)
			pid := d.waitForPID("pid")
			d.waitUntil("a stop", func() bool { return processState(pid) == "T" })
			if !d.eventuallyPrints("Stopped") {
				return "the shell waits for ever"
			}
			d.resumeJob()
			d.waitForFile("on")
			return "the job stops and goes on"
		}},
		{"`TOOL … \\| less`, `q`", func(d *session, tool string) string {
			d.typeLine("%s seq 1000 | TERM=xterm less", tool)
			d.waitForOutput(`\n:|\r:|\(END\)`)
			d.typeKeys("q")
			return "less answers, exit code " + d.exitCode()
		}},
		{"`TOOL … &` reads the terminal, `fg`", func(d *session, tool string) string {
			d.typeLine("%s sh -c 'echo $$ >pid; read line; echo $line >line' &", tool)
			pid := d.waitForPID("pid")
			var outcome string
			d.waitUntil("a stop", func() bool {
				switch {
				case processState(pid) == "T":
					outcome = "it stops and reads after `fg`"
				case d.hasFile("line"):
					outcome = "it reads nothing"
				}
				return outcome != ""
			})
			if outcome == "it reads nothing" {
				return outcome
			}
			d.resumeJob()
			d.typeLine("hello")
			if !d.eventually(func() bool { return d.hasFile("line") }) {
				return "it stays stopped"
			}
			return outcome
		}},
		{"`stty tostop`, `TOOL … &` writes, `fg`", func(d *session, tool string) string {
			d.typeLine("stty tostop")
			d.typeLine("%s sh -c 'echo $$ >pid; echo output; echo out >out' &", tool)
			if !d.eventually(func() bool { return d.hasFile("pid") }) {
				return "TOOL itself stops"
			}
			pid := d.waitForPID("pid")
			var outcome string
			d.waitUntil("a stop", func() bool {
				switch {
				case processState(pid) == "T":
					outcome = "it stops and writes after `fg`"
				case d.hasFile("out"):
					outcome = "it goes on"
				}
				return outcome != ""
			})
			if processState(pid) == "T" {
				d.resumeJob()
				if !d.eventually(func() bool { return d.hasFile("out") }) {
					return "it stays stopped"
				}
			}
			return outcome
		}},
		{"`kill %1`", func(d *session, tool string) string {
			d.typeLine("%s %s &", tool, signalCountingCommand)
			d.waitForFile("pid")
			return observeSignals(d, "TERM", func() { d.typeLine("kill %%1") })
		}},
		{"`kill` to TOOL alone", func(d *session, tool string) string {
			d.typeLine("%s %s &", tool, signalCountingCommand)
			pid := d.waitForPID("pid")
			d.typeLine(`kill $!; wait $!; echo "code[$?]"`)
			outcome := ""
			d.waitUntil("a signal, or an end", func() bool {
				switch {
				case d.hasFile("got"):
					outcome = "got"
				case strings.Contains(d.screen.Output()[d.readOffset:], "code[143]") && processState(pid) != "":
					outcome = "TOOL ends, and the command goes on without it"
				}
				return outcome != ""
			})
			if outcome == "got" {
				return observeSignals(d, "TERM", func() {})
			}
			return outcome
		}},
		{"`kill -INT` to TOOL alone, in the foreground", func(d *session, tool string) string {
			d.typeLine("%s %s", tool, signalCountingCommand)
			pid := d.waitForPID("pid")
			children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", d.screen.PID(), d.screen.PID()))
			if err != nil {
				d.fail("looking for what the shell runs: %v", err)
			}
			var job int
			if _, err := fmt.Sscan(string(children), &job); err != nil {
				d.fail("the shell runs %q: %v", children, err)
			}
			_ = syscall.Kill(job, syscall.SIGINT)
			outcome := ""
			d.waitUntil("a signal, or an end", func() bool {
				switch {
				case d.hasFile("got"):
					outcome = "got"
				case processState(job) == "" && processState(pid) != "":
					outcome = "TOOL ends, and the command goes on without it"
				}
				return outcome != ""
			})
			if outcome == "got" {
				return observeSignals(d, "INT", func() {})
			}
			return outcome
		}},
		{"`kill -KILL` to TOOL alone", func(d *session, tool string) string {
			d.typeLine("%s %s &", tool, plainCommand)
			pid := d.waitForPID("pid")
			d.typeLine(`kill -KILL $!; wait $!; echo "code[$?]"`)
			d.waitForOutput(`code\[137\]`)
			if d.eventuallyExits(pid) {
				return "it ends"
			}
			return "it goes on without TOOL"
		}},
		{"the terminal is closed, in the foreground", func(d *session, tool string) string {
			d.typeLine("%s %s", tool, plainCommand)
			d.waitForFile("pid")
			d.closeTerminal()
			return commandFate(d)
		}},
		{"the terminal is closed, in the background", func(d *session, tool string) string {
			d.typeLine("%s %s &", tool, plainCommand)
			d.waitForFile("pid")
			d.closeTerminal()
			return commandFate(d)
		}},
		{"the terminal is closed, while stopped", func(d *session, tool string) string {
			d.typeLine("%s %s", tool, plainCommand)
			pid := d.waitForPID("pid")
			d.typeKeys("\x1a")
			d.waitUntil("a stop", func() bool { return processState(pid) == "T" })
			d.closeTerminal()
			return commandFate(d)
		}},
		{"the shell is killed, while stopped", func(d *session, tool string) string {
			d.typeLine("%s %s", tool, plainCommand)
			pid := d.waitForPID("pid")
			d.typeKeys("\x1a")
			d.waitForOutput("Stopped")
			d.waitUntil("a stop", func() bool { return processState(pid) == "T" })
			// Now only the kernel can send the job SIGHUP.
			_ = syscall.Kill(d.screen.PID(), syscall.SIGKILL)
			return commandFate(d)
		}},
		{"`nohup TOOL … &`, the terminal is closed", func(d *session, tool string) string {
			d.typeLine("nohup %s %s &", tool, plainCommand)
			d.waitForFile("pid")
			d.closeTerminal()
			return commandFate(d)
		}},
		{"`sh -c 'TOOL … & wait'`, Ctrl-C and Ctrl-\\", func(d *session, tool string) string {
			d.writeFile("script", tool+" ./work & wait\n", 0o700)
			d.writeFile("work", "#!/bin/sh\ngrep SigIgn /proc/self/status >ignored\nexec "+plainCommand+"\n", 0o700)
			d.typeLine("sh ./script")
			d.waitForFile("pid")
			d.typeKeys("\x1c\x03")
			d.exitCode()
			return commandFate(d) + ", " + ignoredSignals(d)
		}},
		{"signals at the start: `nohup TOOL …`", func(d *session, tool string) string {
			d.typeLine("nohup %s grep SigIgn /proc/self/status >ignored 2>/dev/null", tool)
			return ignoredSignals(d)
		}},
		{"`TOOL yes \\| head -1`", func(d *session, tool string) string {
			d.typeLine(`%s yes | head -1; echo "code[${PIPESTATUS[0]}]"`, tool)
			return "exit code " + d.waitForOutput(`code\[(\d+)\]`)
		}},
		{"nobody reads stderr", func(d *session, tool string) string {
			d.typeLine(`exec 8> >(exit 0); wait $!; %s sh -c 'exit 7' 2>&8; echo "code[$?]"`, tool)
			return "exit code " + d.waitForOutput(`code\[(\d+)\]`)
		}},
		{"`>/dev/full 2>&1`", func(d *session, tool string) string {
			d.typeLine(`%s sh -c 'echo done >done; exit 7' >/dev/full 2>&1; echo "code[$?]"`, tool)
			return "exit code " + d.waitForOutput(`code\[(\d+)\]`)
		}},
		{"an argument and a variable that are no UTF-8", func(d *session, tool string) string {
			d.typeLine(`V=$'\xff\xc3' %s sh -c 'printf "%%s%%s" "$0" "$V" | od -An -tx1 >bytes' $'\xfe\x80'`, tool)
			return "bytes" + d.waitForFile("bytes")
		}},
		{"a script without `#!`", func(d *session, tool string) string {
			d.writeFile("script", "echo $1 >ran; exit 7\n", 0o700)
			d.typeLine(`%s ./script it; echo "code[$?]"`, tool)
			return "exit code " + d.waitForOutput(`code\[(\d+)\]`)
		}},
		{"no such command", func(d *session, tool string) string {
			d.typeLine(`%s no-such-command; echo "code[$?]"`, tool)
			return "exit code " + d.waitForOutput(`code\[(\d+)\]`)
		}},
		{"a file that isn't executable", func(d *session, tool string) string {
			d.writeFile("script", "#!/bin/sh\n", 0o600)
			d.typeLine(`%s ./script; echo "code[$?]"`, tool)
			return "exit code " + d.waitForOutput(`code\[(\d+)\]`)
		}},
		{"the command is killed by SIGKILL", func(d *session, tool string) string {
			d.typeLine(`%s sh -c 'kill -KILL $$'; echo "code[$?]"`, tool)
			return "exit code " + d.waitForOutput(`code\[(\d+)\]`)
		}},
		{"`3<file`", func(d *session, tool string) string {
			d.writeFile("three", "three\n", 0o600)
			d.writeFile("nine", "nine\n", 0o600)
			d.typeLine(`%s sh -c 'cat <&3 >read; cat <&9 >>read' 3<three 9<nine`, tool)
			d.waitUntil("both", func() bool { return strings.Contains(d.waitForFile("read"), "nine") })
			return "it has them"
		}},
		{"`<&-`", func(d *session, tool string) string {
			d.typeLine(`%s sh -c 'readlink /proc/self/fd/0 >in || echo closed >in' <&-`, tool)
			if in := d.waitForFile("in"); in == "closed" || in == "/dev/null" {
				return in
			}
			return "another file"
		}},
		{"`ulimit -n 100; umask 027`", func(d *session, tool string) string {
			d.typeLine(`(ulimit -Sn 100; umask 027; %s sh -c 'echo $(ulimit -n) $(umask) >limits')`, tool)
			return d.waitForFile("limits")
		}},
		{"the working directory is removed", func(d *session, tool string) string {
			d.typeLine(`mkdir w && cd w && rmdir ../w && %s sh -c 'echo ran >$DIR/ran'; echo "code[$?]"`, tool)
			return "exit code " + d.waitForOutput(`code\[(\d+)\]`)
		}},
		{"a variable twice", func(d *session, tool string) string {
			d.typeLine(`python3 -c 'import ctypes, sys; a = [w.encode() for w in sys.argv[1:]]; t = ctypes.c_char_p; e = [b"V=1", b"V=2"] + [k + b"=" + v for k, v in __import__("os").environb.items()]; c = ctypes.CDLL(None); c.execvpe(t(a[0]), (t * (len(a) + 1))(*a), (t * (len(e) + 1))(*e))' %s sh -c 'tr "\0" "\n" </proc/$$/environ | grep ^V= | tr "\n" " " >v; echo >>v'`, tool)
			return strings.TrimSpace(d.waitForFile("v"))
		}},
		{"`setsid TOOL …`: no terminal", func(d *session, tool string) string {
			d.typeLine(`setsid -w %s sh -c 'exit 7'; echo "code[$?]"`, tool)
			return "exit code " + d.waitForOutput(`code\[(\d+)\]`)
		}},
		{"`TOOL setsid sleep 60`, Ctrl-C", func(d *session, tool string) string {
			d.typeLine("%s sh -c 'setsid sleep 60 & echo $! >pid; wait'", tool)
			pid := d.waitForPID("pid")
			d.waitUntil("a session of its own", func() bool {
				processGroup, err := syscall.Getpgid(pid)
				return err != nil || processGroup == pid
			})
			d.typeKeys("\x03")
			d.exitCode()
			if d.eventuallyExits(pid) {
				return "it ends"
			}
			return "it goes on without TOOL"
		}},
		{"`timeout 8 TOOL …`", func(d *session, tool string) string {
			d.typeLine(`timeout 8 %s %s; echo "code[$?]"`, tool, plainCommand)
			code := d.waitForOutput(`code\[(\d+)\]`)
			pid := d.waitForPID("pid")
			if d.eventuallyExits(pid) {
				return "it ends, exit code " + code
			}
			return "it goes on without TOOL"
		}},
		{"`TOOL timeout 60 …`, Ctrl-C", func(d *session, tool string) string {
			d.typeLine("%s timeout 60 %s", tool, plainCommand)
			pid := d.waitForPID("pid")
			d.typeKeys("\x03")
			if d.eventuallyExits(pid) {
				return "it ends, exit code " + d.exitCode()
			}
			return "it goes on"
		}},
		{"`script -qec TOOL …`, Ctrl-C", func(d *session, tool string) string {
			d.writeFile("line", tool+" "+signalCountingCommand+"\n", 0o700)
			d.typeLine("script -qec 'sh ./line' /dev/null")
			d.waitForFile("pid")
			return observeSignals(d, "INT", func() { d.typeKeys("\x03") })
		}},
		{"`xargs TOOL …`, Ctrl-C", func(d *session, tool string) string {
			d.typeLine("echo x | xargs %s %s", tool, signalCountingCommand)
			d.waitForFile("pid")
			return observeSignals(d, "INT", func() { d.typeKeys("\x03") })
		}},
	}
}

// ignoredSignals returns the signals that were ignored when the command started.
func ignoredSignals(d *session) string {
	var mask uint64
	line := d.waitForFile("ignored")
	_, hex, _ := strings.Cut(line, "SigIgn:")
	if _, err := fmt.Sscanf(hex, "%x", &mask); err != nil {
		d.fail("what is ignored, %q: %v", line, err)
	}
	var names []string
	for n, name := range []string{1: "HUP", 2: "INT", 3: "QUIT", 10: "USR1", 13: "PIPE", 15: "TERM", 20: "TSTP", 21: "TTIN", 22: "TTOU"} {
		if name != "" && mask&(1<<(n-1)) != 0 {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return "ignores nothing"
	}
	return "ignores " + strings.Join(names, ", ")
}

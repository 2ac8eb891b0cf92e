package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func utilities() map[string]func(*call) error {
	return map[string]func(*call) error{
		"basename": basename,
		"cut":      cut,
		"date":     date,
		"dirname":  dirname,
		"env":      env,
		"grep":     grep,
		"head":     head,
		"hostname": hostname,
		"id":       id,
		"kill":     kill,
		"ln":       link,
		"rmdir":    rmdir,
		"seq":      seq,
		"sleep":    sleep,
		"sort":     sortLines,
		"sync":     func(*call) error { syscall.Sync(); return nil },
		"tail":     tail,
		"tee":      tee,
		"tr":       translate,
		"uniq":     uniq,
		"wc":       wc,
	}
}

func sleep(c *call) error {
	if len(c.args) == 0 {
		return fmt.Errorf("how long?")
	}
	var total time.Duration
	for _, arg := range c.args {
		d, err := sleepTime(arg)
		if err != nil {
			return err
		}
		total += d
	}
	timer := time.NewTimer(total)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-c.ctx.Done():
		return c.ctx.Err()
	}
}

// sleepTime parses "1.5", "10s", "5m", "1h", "2d" and "infinity".
func sleepTime(arg string) (time.Duration, error) {
	if arg == "infinity" || arg == "inf" {
		return 1<<63 - 1, nil
	}
	unit := time.Second
	number := arg
	for suffix, d := range map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour} {
		if n, ok := strings.CutSuffix(arg, suffix); ok {
			number, unit = n, d
		}
	}
	value, err := strconv.ParseFloat(number, 64)
	if err != nil || value < 0 {
		return 0, fmt.Errorf("invalid time %q", arg)
	}
	return time.Duration(value * float64(unit)), nil
}

func date(c *call) error {
	now := time.Now()
	layout := "%a %b %e %H:%M:%S %Z %Y"
	for _, arg := range c.args {
		switch {
		case arg == "-u":
			now = now.UTC()
		case strings.HasPrefix(arg, "+"):
			layout = arg[1:]
		default:
			return fmt.Errorf("%s: only -u and +FORMAT are known here", arg)
		}
	}
	_, err := fmt.Fprintln(c.out, strftime(layout, now))
	return err
}

func strftime(layout string, t time.Time) string {
	verbs := map[byte]string{
		'a': t.Format("Mon"), 'b': t.Format("Jan"), 'e': t.Format("_2"), 'd': t.Format("02"),
		'H': t.Format("15"), 'M': t.Format("04"), 'S': t.Format("05"), 'Z': t.Format("MST"), 'z': t.Format("-0700"),
		'Y': t.Format("2006"), 'm': t.Format("01"), 'y': t.Format("06"), 'j': t.Format("002"),
		'F': t.Format("2006-01-02"), 'T': t.Format("15:04:05"), 'R': t.Format("15:04"),
		's': strconv.FormatInt(t.Unix(), 10), 'N': t.Format("000000000"), 'n': "\n", 't': "\t", '%': "%",
	}
	verbs['N'] = fmt.Sprintf("%09d", t.Nanosecond())
	var out strings.Builder
	for i := 0; i < len(layout); i++ {
		if layout[i] == '%' && i+1 < len(layout) {
			if text, ok := verbs[layout[i+1]]; ok {
				out.WriteString(text)
				i++
				continue
			}
		}
		out.WriteByte(layout[i])
	}
	return out.String()
}

func seq(c *call) error {
	numbers := make([]int, len(c.args))
	for i, arg := range c.args {
		n, err := strconv.Atoi(arg)
		if err != nil {
			return fmt.Errorf("%q is not a whole number", arg)
		}
		numbers[i] = n
	}
	first, step, last := 1, 1, 0
	switch len(numbers) {
	case 1:
		last = numbers[0]
	case 2:
		first, last = numbers[0], numbers[1]
	case 3:
		first, step, last = numbers[0], numbers[1], numbers[2]
	default:
		return fmt.Errorf("usage: seq [FIRST [STEP]] LAST")
	}
	if step == 0 {
		return fmt.Errorf("the step is 0")
	}
	for n := first; (step > 0 && n <= last || step < 0 && n >= last) && c.ctx.Err() == nil; n += step {
		if _, err := fmt.Fprintln(c.out, n); err != nil {
			return err
		}
	}
	return nil
}

func hostname(c *call) error {
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(c.out, name)
	return err
}

func id(c *call) error {
	uid, gid := os.Getuid(), os.Getgid()
	if len(c.args) == 1 && c.args[0] == "-u" {
		_, err := fmt.Fprintln(c.out, uid)
		return err
	}
	_, err := fmt.Fprintf(c.out, "uid=%d gid=%d\n", uid, gid)
	return err
}

// env prints the environment, or runs a command in a changed one.
func env(c *call) error {
	environ := exported(c.env)
	args := c.args
	if len(args) > 0 && args[0] == "-i" {
		environ, args = nil, args[1:]
	}
	for len(args) > 0 && strings.Contains(args[0], "=") {
		environ, args = append(environ, args[0]), args[1:]
	}
	if len(args) == 0 {
		_, err := fmt.Fprint(c.out, strings.Join(environ, "\n")+"\n")
		return err
	}
	return c.spawn(environ, args)
}

func basename(c *call) error {
	if len(c.args) == 0 || len(c.args) > 2 {
		return fmt.Errorf("usage: basename PATH [SUFFIX]")
	}
	base := filepath.Base(c.args[0])
	if len(c.args) == 2 && base != c.args[1] {
		base = strings.TrimSuffix(base, c.args[1])
	}
	_, err := fmt.Fprintln(c.out, base)
	return err
}

func dirname(c *call) error {
	if len(c.args) != 1 {
		return fmt.Errorf("usage: dirname PATH")
	}
	_, err := fmt.Fprintln(c.out, filepath.Dir(c.args[0]))
	return err
}

func rmdir(c *call) error {
	for _, dir := range c.args {
		if err := syscall.Rmdir(c.path(dir)); err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
	}
	return nil
}

func link(c *call) error {
	flags, names, err := options(c.args, "sf")
	if err != nil || len(names) != 2 {
		return fmt.Errorf("usage: ln [-sf] TARGET NAME")
	}
	name := c.path(names[1])
	if flags['f'] {
		_ = os.Remove(name)
	}
	if flags['s'] {
		return os.Symlink(names[0], name)
	}
	return os.Link(c.path(names[0]), name)
}

func kill(c *call) error {
	sig, args := syscall.SIGTERM, c.args
	if len(args) > 0 && strings.HasPrefix(args[0], "-") {
		name := strings.TrimPrefix(args[0], "-")
		args = args[1:]
		if name == "s" && len(args) > 0 {
			name, args = args[0], args[1:]
		}
		var ok bool
		if sig, ok = signalByName(name); !ok {
			return fmt.Errorf("unknown signal %s", name)
		}
	}
	for _, arg := range args {
		pid, err := strconv.Atoi(arg)
		if err != nil {
			return fmt.Errorf("%q is not a process id", arg)
		}
		if err := syscall.Kill(pid, sig); err != nil {
			return fmt.Errorf("%d: %w", pid, err)
		}
	}
	return nil
}

// options parses one-letter flags at the beginning of args, up to the first other word.
func options(args []string, known string) (map[byte]bool, []string, error) {
	set := map[byte]bool{}
	for len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' {
		flags := args[0][1:]
		args = args[1:]
		if flags == "-" {
			break
		}
		for i := range len(flags) {
			if !strings.Contains(known, flags[i:i+1]) {
				return nil, nil, fmt.Errorf("unknown option -%c", flags[i])
			}
			set[flags[i]] = true
		}
	}
	return set, args, nil
}

// Package terminal finds out what a terminal can show.
package terminal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/charmbracelet/lipgloss"
	"github.com/muesli/cancelreader"
	"github.com/muesli/termenv"
	"golang.org/x/term"
)

// Environment looks up environment variables.
type Environment func(name string) string

// IsTerminal reports whether a stream is a terminal on which pictures can be drawn: not a dumb one, and not that of a CI
// system, which only records it.
func IsTerminal(stream any, env Environment) bool {
	file, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(file.Fd())) && env("TERM") != "dumb" && env("CI") == ""
}

// Size returns the columns and lines of a terminal, or zeros.
func Size(stream any) (width, height int) {
	file, ok := stream.(*os.File)
	if !ok {
		return 0, 0
	}
	width, height, err := term.GetSize(int(file.Fd()))
	if err != nil {
		return 0, 0
	}
	return width, height
}

// Renderer returns what knows the colours of a stream: none, unless it is a terminal and NO_COLOR isn't set, or when is
// "always" or "never".
func Renderer(stream io.Writer, when string, dark bool, env Environment) (*lipgloss.Renderer, error) {
	profile := termenv.Ascii
	switch when {
	case "auto":
		if IsTerminal(stream, env) {
			profile = termenv.NewOutput(stream, termenv.WithEnvironment(environ(env))).EnvColorProfile()
		}
	case "always":
		profile = promised(env)
	case "never":
	default:
		return nil, fmt.Errorf("--color must be auto, always or never, not %q", when)
	}
	r := lipgloss.NewRenderer(stream)
	r.SetColorProfile(profile)
	r.SetHasDarkBackground(dark)
	return r, nil
}

// promised is what the environment says that there is, at least 256 colours.
func promised(env Environment) termenv.Profile {
	if c := env("COLORTERM"); c == "truecolor" || c == "24bit" {
		return termenv.TrueColor
	}
	return termenv.ANSI256
}

// environ is an Environment for termenv, which wants a list too and makes no use of it.
type environ Environment

func (e environ) Environ() []string        { return nil }
func (e environ) Getenv(key string) string { return e(key) }

// OnlyASCII reports whether the terminal can't be trusted with anything else: its locale says that it is not UTF-8, or it
// is the console of Linux or the old one of Windows, which have few characters. Where nothing says a locale, as in most
// containers, the terminal at the other end is one of today.
func OnlyASCII(env Environment) bool {
	if env("TERM") == "linux" || strings.HasPrefix(env("TERM"), "vt") {
		return true
	}
	if runtime.GOOS == "windows" && env("WT_SESSION") == "" && env("TERM") == "" {
		return true // the old console
	}
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if locale := strings.ToUpper(env(name)); locale != "" {
			return !strings.Contains(locale, "UTF-8") && !strings.Contains(locale, "UTF8")
		}
	}
	return false
}

// patience is how long a terminal may take to answer. All that people use answer at once, but some sit behind a slow line.
const patience = time.Second

// IsDark reports whether the terminal has a dark background, as most have: COLORFGBG may say so, else the terminal is
// asked. The question is one that it may not understand, followed by one that every terminal answers.
func IsDark(ctx context.Context, in, out *os.File, env Environment) bool {
	if parts := strings.Split(env("COLORFGBG"), ";"); len(parts) > 1 {
		if n, err := strconv.Atoi(parts[len(parts)-1]); err == nil {
			const white, brightest = 7, 15
			return n != white && n != brightest
		}
	}
	answer, err := ask(ctx, in, out, "\x1b]11;?\x07\x1b[c")
	if err != nil {
		return true
	}
	return isDark(answer)
}

// isDark reads the answer to the question for the background, such as ]11;rgb:ffff/ffff/ffff.
func isDark(answer string) bool {
	m := regexp.MustCompile(`\]11;rgba?:([0-9a-fA-F]+)/([0-9a-fA-F]+)/([0-9a-fA-F]+)`).FindStringSubmatch(answer)
	if m == nil {
		return true
	}
	// How bright the three colours look to people.
	brightness := 0.0
	for i, weight := range []float64{0.299, 0.587, 0.114} {
		v, err := strconv.ParseUint(m[i+1], 16, 32)
		if err != nil {
			return true
		}
		brightness += weight * float64(v) / float64(uint64(1)<<(4*len(m[i+1]))-1)
	}
	return brightness < 0.5
}

// ask writes to the terminal and returns what it answers, up to the end of the last answer.
func ask(ctx context.Context, in, out *os.File, question string) (answer string, err error) {
	before, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, term.Restore(int(in.Fd()), before)) }()
	reader, err := cancelreader.NewReader(in)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, reader.Close()) }()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	defer context.AfterFunc(ctx, func() { reader.Cancel() })()
	if _, err := out.WriteString(question); err != nil {
		return "", err
	}
	last := regexp.MustCompile(`\x1b\[\?[0-9;]*c`)
	buffer := make([]byte, 64)
	for {
		n, err := reader.Read(buffer)
		answer += string(buffer[:n])
		if last.MatchString(answer) {
			return answer, nil
		}
		if err != nil {
			return answer, err
		}
	}
}

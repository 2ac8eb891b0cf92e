// Package terminal detects what a terminal can show.
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

// GetenvFunc looks up environment variables.
type GetenvFunc func(name string) string

// IsInteractive reports whether a stream is a terminal that can be drawn on: not a dumb one, and not that of a CI system,
// which only records the output.
func IsInteractive(stream any, env GetenvFunc) bool {
	file, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(file.Fd())) && env("TERM") != "dumb" && env("CI") == ""
}

// Size returns the columns and lines of a terminal; zeros if it is none.
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

// NewRenderer returns a renderer for the colors of a stream. By default those are none unless it is a terminal and NO_COLOR
// isn't set; when can be "always" or "never".
func NewRenderer(stream io.Writer, when string, dark bool, env GetenvFunc) (*lipgloss.Renderer, error) {
	profile := termenv.Ascii
	switch when {
	case "auto":
		if IsInteractive(stream, env) {
			profile = termenv.NewOutput(stream, termenv.WithEnvironment(termenvEnviron(env))).EnvColorProfile()
		}
	case "always":
		profile = profileFromEnv(env)
	case "never":
	default:
		return nil, fmt.Errorf("--color must be auto, always or never, not %q", when)
	}
	r := lipgloss.NewRenderer(stream)
	r.SetColorProfile(profile)
	r.SetHasDarkBackground(dark)
	return r, nil
}

// profileFromEnv returns the color profile from the environment, at least 256 colors.
func profileFromEnv(env GetenvFunc) termenv.Profile {
	if c := env("COLORTERM"); c == "truecolor" || c == "24bit" {
		return termenv.TrueColor
	}
	return termenv.ANSI256
}

// termenvEnviron is an Environment for termenv. Its interface has a list too, which termenv doesn't use.
type termenvEnviron GetenvFunc

func (e termenvEnviron) Environ() []string        { return nil }
func (e termenvEnviron) Getenv(key string) string { return e(key) }

// IsASCIIOnly reports whether only ASCII is safe to print. So it is if the locale isn't UTF-8, and on the Linux console and
// the old Windows console, which have few characters. Without a locale, as in most containers, the terminal at the other
// end is assumed to be a modern one.
func IsASCIIOnly(env GetenvFunc) bool {
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

// queryTimeout is how long a terminal may take to answer. Common terminals answer at once, but some are behind a slow
// connection.
const queryTimeout = time.Second

// HasDarkBackground reports whether the terminal has a dark background, as most have. COLORFGBG may say so; otherwise the
// terminal is queried. Some terminals don't know that query, so one follows that every terminal answers.
func HasDarkBackground(ctx context.Context, in, out *os.File, env GetenvFunc) bool {
	if parts := strings.Split(env("COLORFGBG"), ";"); len(parts) > 1 {
		if n, err := strconv.Atoi(parts[len(parts)-1]); err == nil {
			const white, brightest = 7, 15
			return n != white && n != brightest
		}
	}
	answer, err := query(ctx, in, out, "\x1b]11;?\x07\x1b[c")
	if err != nil {
		return true
	}
	return parseBackgroundResponse(answer)
}

// parseBackgroundResponse parses the response to the background query, such as ]11;rgb:ffff/ffff/ffff.
func parseBackgroundResponse(answer string) bool {
	m := regexp.MustCompile(`\]11;rgba?:([0-9a-fA-F]+)/([0-9a-fA-F]+)/([0-9a-fA-F]+)`).FindStringSubmatch(answer)
	if m == nil {
		return true
	}
	// The perceived brightness of the three colors.
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

// query writes to the terminal and returns its response, up to the end of the last answer.
func query(ctx context.Context, in, out *os.File, question string) (answer string, err error) {
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
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
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

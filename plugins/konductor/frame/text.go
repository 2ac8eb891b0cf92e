package frame

import (
	"strings"
	"unicode"

	"github.com/charmbracelet/x/ansi"
)

// Width returns how many columns text takes on a terminal.
func Width(text string) int {
	if isPrintableASCII(text) {
		return len(text)
	}
	return ansi.StringWidth(text)
}

func isPrintableASCII(text string) bool {
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return false
		}
	}
	return true
}

// Clean makes text from the cluster harmless: names of holders and messages may contain what moves the cursor or turns
// the direction of writing. A line feed becomes a space. In an ASCII theme everything else becomes a question mark.
func (t *Theme) Clean(text string) string {
	if isPrintableASCII(text) {
		return text
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			return ' '
		case harmful(r):
			return -1
		case t.ascii && r > unicode.MaxASCII:
			return '?'
		default:
			return r
		}
	}, text)
}

// Harmless makes text of several lines harmless, as Clean does that of one: lines stay lines.
func Harmless(text string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && harmful(r) {
			return -1
		}
		return r
	}, text)
}

// harmful reports whether a terminal doesn't show r but does something else.
func harmful(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == unicode.ReplacementChar
}

// Cut shortens text to a width, with a sign that something is missing. A width of 0 or less is no limit.
func (t *Theme) Cut(text string, width int) string {
	if width <= 0 || Width(text) <= width {
		return text
	}
	return ansi.Truncate(text, width, t.pick("…", "~"))
}

// fitName makes the name of an object exactly as wide as width. Names that programs make differ at their ends, so it is
// the middle that gives way.
func (t *Theme) fitName(name string, width int) string {
	name = t.Clean(name)
	if Width(name) <= width || width < 8 {
		return t.fit(name, width)
	}
	tail := width / 3
	return t.fit(ansi.Truncate(name, width-tail, t.pick("…", "~"))+ansi.TruncateLeft(name, Width(name)-tail, ""), width)
}

// fit makes text exactly as wide as width.
func (t *Theme) fit(text string, width int) string {
	if width <= 0 {
		return ""
	}
	text = t.Cut(t.Clean(text), width)
	return text + strings.Repeat(" ", max(width-Width(text), 0))
}

// wrap breaks text into lines of at most width columns, at spaces where there are some.
func (t *Theme) wrap(text string, width int) []string {
	text = t.Clean(text)
	if width <= 0 || Width(text) <= width {
		return []string{text}
	}
	return strings.Split(ansi.Wrap(text, width, ""), "\n")
}

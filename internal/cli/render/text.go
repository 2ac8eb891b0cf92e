package render

import (
	"strings"
	"unicode"

	"github.com/charmbracelet/x/ansi"
)

// Width returns how many terminal columns text takes.
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

// Sanitize makes text from the cluster safe to print: holder names and messages may contain characters that move the cursor
// or change the text direction. A line feed becomes a space. In an ASCII theme every other non-ASCII character becomes a
// question mark.
func (t *Theme) Sanitize(text string) string {
	if isPrintableASCII(text) {
		return text
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			return ' '
		case isUnsafeRune(r):
			return -1
		case t.ascii && r > unicode.MaxASCII:
			return '?'
		default:
			return r
		}
	}, text)
}

// SanitizeLines is Sanitize for several lines: line feeds stay.
func SanitizeLines(text string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && isUnsafeRune(r) {
			return -1
		}
		return r
	}, text)
}

// isUnsafeRune reports whether a terminal acts on r instead of showing it.
func isUnsafeRune(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == unicode.ReplacementChar
}

// Truncate shortens text to a width, with an ellipsis. A width of 0 or less is no limit.
func (t *Theme) Truncate(text string, width int) string {
	if width <= 0 || Width(text) <= width {
		return text
	}
	return ansi.Truncate(text, width, t.symbol("…", "~"))
}

// padOrTruncateMiddle makes the name of an object exactly as wide as width. It cuts the middle, because generated names
// differ at their ends.
func (t *Theme) padOrTruncateMiddle(name string, width int) string {
	name = t.Sanitize(name)
	if Width(name) <= width || width < 8 {
		return t.padOrTruncate(name, width)
	}
	tail := width / 3
	return t.padOrTruncate(ansi.Truncate(name, width-tail, t.symbol("…", "~"))+ansi.TruncateLeft(name, Width(name)-tail, ""), width)
}

// padOrTruncate makes text exactly as wide as width.
func (t *Theme) padOrTruncate(text string, width int) string {
	if width <= 0 {
		return ""
	}
	text = t.Truncate(t.Sanitize(text), width)
	return text + strings.Repeat(" ", max(width-Width(text), 0))
}

// wrap breaks text into lines of at most width columns, at spaces if possible.
func (t *Theme) wrap(text string, width int) []string {
	text = t.Sanitize(text)
	if width <= 0 || Width(text) <= width {
		return []string{text}
	}
	return strings.Split(ansi.Wrap(text, width, ""), "\n")
}

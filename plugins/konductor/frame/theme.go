// Package frame draws a view as text: tables, bars, details, for a width and a theme. It is pure, and shared by the
// dashboard, its single frame and the status commands. No line it draws is wider than it was told.
package frame

import (
	"strings"

	"github.com/charmbracelet/lipgloss"

	"github.com/LogicIQ/konductor/plugins/konductor/view"
)

// Theme says how things look: colours by meaning, and which characters may be used.
type Theme struct {
	Good, Bad, Wait, Busy, Dim, Bold, Accent, Badge, Selected, Empty Paint

	ascii bool
}

// Paint colours text. The zero value leaves it as it is.
type Paint struct{ before, after string }

// On returns text in that colour. The text must not contain colours itself.
func (p Paint) On(text string) string {
	if text == "" {
		return ""
	}
	return p.before + text + p.after
}

// paintOf takes from a style what it puts around a text. Rendering the style for each of a thousand cells in every frame
// would cost more than all the rest.
func paintOf(s lipgloss.Style) Paint {
	before, after, _ := strings.Cut(s.Render("x"), "x")
	return Paint{before, after}
}

// NewTheme returns a theme for the colours and the background that the renderer knows of. With ascii, nothing but ASCII
// is drawn.
func NewTheme(r *lipgloss.Renderer, ascii bool) Theme {
	ground := func(light, dark, sixteenLight, sixteenDark string) lipgloss.TerminalColor {
		return lipgloss.CompleteAdaptiveColor{
			Light: lipgloss.CompleteColor{TrueColor: light, ANSI256: light, ANSI: sixteenLight},
			Dark:  lipgloss.CompleteColor{TrueColor: dark, ANSI256: dark, ANSI: sixteenDark},
		}
	}
	// Of sixteen colours the nearest is not always the right one, so each says which it is then.
	color := func(light, dark, sixteenLight, sixteenDark string) lipgloss.Style {
		return r.NewStyle().Foreground(ground(light, dark, sixteenLight, sixteenDark))
	}
	return Theme{
		Good:   paintOf(color("#1a7f37", "#3fb950", "2", "10")),
		Bad:    paintOf(color("#cf222e", "#ff7b72", "1", "9").Bold(true)),
		Wait:   paintOf(color("#9a6700", "#e3b341", "3", "11")),
		Busy:   paintOf(color("#0969da", "#79c0ff", "4", "12")),
		Dim:    paintOf(color("#57606a", "#9198a1", "8", "7")),
		Accent: paintOf(color("#8250df", "#d2a8ff", "5", "13").Bold(true)),
		Empty:  paintOf(color("#afb8c1", "#484f58", "7", "8")),
		Bold:   paintOf(r.NewStyle().Bold(true)),
		Badge:  paintOf(r.NewStyle().Bold(true).Reverse(true)),
		Selected: paintOf(r.NewStyle().Bold(true).
			Background(ground("#cfe2ff", "#1f3a5f", "4", "4")).Foreground(ground("#0a2540", "#f0f6fc", "15", "15"))),
		ascii: ascii,
	}
}

// Plain returns a theme without colours.
func Plain(ascii bool) Theme { return Theme{ascii: ascii} }

// pick returns the character for terminals that know it, or the one for all others.
func (t *Theme) pick(nice, plain string) string {
	if t.ascii {
		return plain
	}
	return nice
}

// Dot separates parts of a line.
func (t *Theme) Dot() string { return t.pick(" · ", " - ") }

// Rule returns a line across, with a title in it.
func (t *Theme) Rule(title string, width int) string {
	dash := t.pick("─", "-")
	line := strings.Repeat(dash, 2) + " " + title + " "
	if room := width - Width(line); room > 0 {
		line += strings.Repeat(dash, room)
	}
	return t.Dim.On(t.Cut(line, width))
}

// Marker stands before the selected line.
func (t *Theme) Marker() string { return t.pick("▸ ", "> ") }

// icon is a state in one character.
func (t *Theme) icon(s view.State) string {
	nice, plain := "?", "?"
	switch s {
	case view.Waiting:
		nice, plain = "◌", "."
	case view.Open:
		nice, plain = "✓", "+"
	case view.Failed:
		nice, plain = "✗", "x"
	case view.Timeout:
		nice, plain = "!", "!"
	case view.Cycle:
		nice, plain = "↻", "@"
	case view.Available:
		nice, plain = "○", "o"
	case view.Held, view.Full:
		nice, plain = "●", "*"
	case view.Ready:
		nice, plain = "◐", "o"
	case view.Paused:
		nice, plain = "‖", "="
	case view.Deleting:
		nice, plain = "−", "-"
	case view.Unseen:
	}
	return t.pick(nice, plain)
}

func (t *Theme) statePaint(s view.State) Paint {
	switch s {
	case view.Open, view.Available, view.Ready:
		return t.Good
	case view.Failed, view.Timeout, view.Cycle:
		return t.Bad
	case view.Waiting, view.Unseen, view.Paused, view.Deleting:
		return t.Wait
	default:
		return t.Busy
	}
}

func (t *Theme) moodPaint(m view.Mood) Paint {
	switch m {
	case view.Good:
		return t.Good
	case view.Bad:
		return t.Bad
	case view.Dim:
		return t.Dim
	default:
		return Paint{}
	}
}

// State returns a state as icon and word, in its colour and as wide as width.
func (t *Theme) State(s view.State, width int) string {
	return t.statePaint(s).On(t.fit(t.icon(s)+" "+string(s), width))
}

// Cursor stands where text is typed in.
func (t *Theme) Cursor() string { return t.pick("▏", "_") }

// Ellipsis says that something goes on.
func (t *Theme) Ellipsis() string { return t.pick("…", "...") }

// Arrows names the keys up and down.
func (t *Theme) Arrows() string { return t.pick("↑↓", "up/down") }

// Fit makes text exactly as wide as width.
func (t *Theme) Fit(text string, width int) string { return t.fit(text, width) }

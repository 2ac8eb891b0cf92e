// Package render draws a view as text: tables, bars and details, for a width and a theme. Its functions are pure. The
// dashboard, its single frame and the status commands share it. No line is wider than the given width.
package render

import (
	"strings"

	"github.com/charmbracelet/lipgloss"

	"github.com/LogicIQ/konductor/internal/view"
)

// Theme defines the appearance: colors by meaning, and the allowed characters.
type Theme struct {
	Success, Error, Warning, Active, Muted, Bold, Accent, Badge, Selected, BarEmpty Style

	ascii bool
}

// Style colors text. The zero value leaves it unchanged.
type Style struct{ prefix, suffix string }

// Render returns text in this style. The text must not contain colors itself.
func (p Style) Render(text string) string {
	if text == "" {
		return ""
	}
	return p.prefix + text + p.suffix
}

// newStyle returns the escape sequences that a style puts around text. Rendering the style for each of a thousand cells in
// every frame would cost more than all the rest.
func newStyle(s lipgloss.Style) Style {
	before, after, _ := strings.Cut(s.Render("x"), "x")
	return Style{before, after}
}

// NewTheme returns a theme for the renderer's colors and background. With ascii, only ASCII characters are drawn.
func NewTheme(r *lipgloss.Renderer, ascii bool) Theme {
	adaptiveColor := func(light, dark, sixteenLight, sixteenDark string) lipgloss.TerminalColor {
		return lipgloss.CompleteAdaptiveColor{
			Light: lipgloss.CompleteColor{TrueColor: light, ANSI256: light, ANSI: sixteenLight},
			Dark:  lipgloss.CompleteColor{TrueColor: dark, ANSI256: dark, ANSI: sixteenDark},
		}
	}
	// With sixteen colors the nearest one is not always right, so each style names its own.
	foreground := func(light, dark, sixteenLight, sixteenDark string) lipgloss.Style {
		return r.NewStyle().Foreground(adaptiveColor(light, dark, sixteenLight, sixteenDark))
	}
	return Theme{
		Success:  newStyle(foreground("#1a7f37", "#3fb950", "2", "10")),
		Error:    newStyle(foreground("#cf222e", "#ff7b72", "1", "9").Bold(true)),
		Warning:  newStyle(foreground("#9a6700", "#e3b341", "3", "11")),
		Active:   newStyle(foreground("#0969da", "#79c0ff", "4", "12")),
		Muted:    newStyle(foreground("#57606a", "#9198a1", "8", "7")),
		Accent:   newStyle(foreground("#8250df", "#d2a8ff", "5", "13").Bold(true)),
		BarEmpty: newStyle(foreground("#afb8c1", "#484f58", "7", "8")),
		Bold:     newStyle(r.NewStyle().Bold(true)),
		Badge:    newStyle(r.NewStyle().Bold(true).Reverse(true)),
		Selected: newStyle(r.NewStyle().Bold(true).
			Background(adaptiveColor("#cfe2ff", "#1f3a5f", "4", "4")).Foreground(adaptiveColor("#0a2540", "#f0f6fc", "15", "15"))),
		ascii: ascii,
	}
}

// NewPlainTheme returns a theme without colors.
func NewPlainTheme(ascii bool) Theme { return Theme{ascii: ascii} }

// symbol returns the Unicode text, or the ASCII text in an ASCII theme.
func (t *Theme) symbol(unicodeText, asciiText string) string {
	if t.ascii {
		return asciiText
	}
	return unicodeText
}

// Separator separates the parts of a line.
func (t *Theme) Separator() string { return t.symbol(" · ", " - ") }

// TitledRule returns a horizontal line with a title in it.
func (t *Theme) TitledRule(title string, width int) string {
	dash := t.symbol("─", "-")
	line := strings.Repeat(dash, 2) + " " + title + " "
	if room := width - Width(line); room > 0 {
		line += strings.Repeat(dash, room)
	}
	return t.Muted.Render(t.Truncate(line, width))
}

// SelectionMarker marks the selected line.
func (t *Theme) SelectionMarker() string { return t.symbol("▸ ", "> ") }

// stateIcon returns a state as one character.
func (t *Theme) stateIcon(s view.State) string {
	nice, plain := "?", "?"
	switch s {
	case view.StateWaiting:
		nice, plain = "◌", "."
	case view.StateOpen:
		nice, plain = "✓", "+"
	case view.StateFailed:
		nice, plain = "✗", "x"
	case view.StateTimeout:
		nice, plain = "!", "!"
	case view.StateCycle:
		nice, plain = "↻", "@"
	case view.StateAvailable:
		nice, plain = "○", "o"
	case view.StateHeld, view.StateFull:
		nice, plain = "●", "*"
	case view.StateReady:
		nice, plain = "◐", "o"
	case view.StatePaused:
		nice, plain = "‖", "="
	case view.StateDeleting:
		nice, plain = "−", "-"
	case view.StateUnobserved:
	}
	return t.symbol(nice, plain)
}

func (t *Theme) stateStyle(s view.State) Style {
	switch s {
	case view.StateOpen, view.StateAvailable, view.StateReady:
		return t.Success
	case view.StateFailed, view.StateTimeout, view.StateCycle:
		return t.Error
	case view.StateWaiting, view.StateUnobserved, view.StatePaused, view.StateDeleting:
		return t.Warning
	default:
		return t.Active
	}
}

func (t *Theme) severityStyle(m view.Severity) Style {
	switch m {
	case view.SeveritySuccess:
		return t.Success
	case view.SeverityError:
		return t.Error
	case view.SeverityMuted:
		return t.Muted
	default:
		return Style{}
	}
}

// FormatState returns a state as icon and word, in its color, exactly as wide as width.
func (t *Theme) FormatState(s view.State, width int) string {
	return t.stateStyle(s).Render(t.padOrTruncate(t.stateIcon(s)+" "+string(s), width))
}

// TextCursor marks the position of text input.
func (t *Theme) TextCursor() string { return t.symbol("▏", "_") }

// Ellipsis marks truncated or unfinished text.
func (t *Theme) Ellipsis() string { return t.symbol("…", "...") }

// ArrowKeysText names the up and down keys.
func (t *Theme) ArrowKeysText() string { return t.symbol("↑↓", "up/down") }

// PadOrTruncate makes text exactly as wide as width.
func (t *Theme) PadOrTruncate(text string, width int) string { return t.padOrTruncate(text, width) }

// Package quiet keeps Bubble Tea from asking the terminal for its colours as soon as the program starts, whatever command
// it was started for: a koncli in a script must write nothing to the terminal but what it has to say, and wait for
// nothing.
//
// Bubble Tea asks in its init, through Lip Gloss, unless Lip Gloss has been told already. Go initializes packages that
// are ready in the order of their import paths, and this one's comes before Bubble Tea's. A test starts the program on a
// terminal and sees that nothing is asked. The dashboard itself asks when it is shown.
package quiet

import "github.com/charmbracelet/lipgloss"

//nolint:gochecknoinits // Nothing else comes before another package's init.
func init() { lipgloss.SetHasDarkBackground(true) }

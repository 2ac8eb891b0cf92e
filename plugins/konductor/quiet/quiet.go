// Package quiet keeps libraries from doing things as soon as the program starts, whatever command it was started for: a
// koncli in a script must write nothing to the terminal but what it has to say, and wait for nothing.
//
// Bubble Tea asks the terminal for its colours in its init, through Lip Gloss, unless Lip Gloss has been told already. A
// test starts the program on a terminal and sees that nothing is asked. The dashboard itself asks when it is shown.
//
// kubectl's commands translate their help texts in theirs, and load the translations for it, which takes as long as all
// other packages together. None of these texts is ever shown here.
//
// Go initializes packages that are ready in the order of their import paths, and this one's comes before those.
package quiet

import (
	"github.com/charmbracelet/lipgloss"
	"k8s.io/kubectl/pkg/util/i18n"
)

//nolint:gochecknoinits // Nothing else comes before another package's init.
func init() {
	lipgloss.SetHasDarkBackground(true)
	// It fails only when they are loaded already.
	_ = i18n.SetLoadTranslationsFunc(func() error { return nil })
}

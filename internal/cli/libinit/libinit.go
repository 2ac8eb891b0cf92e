// Package libinit prevents libraries from doing work in their init functions, whatever command the program was started
// for: a koncli in a script must write nothing unneeded to the terminal, and wait for nothing.
//
// Bubble Tea queries the terminal for its colors in its init, through Lip Gloss, unless the background was set before. A
// test starts the program on a terminal and checks that it sends no query. The dashboard itself queries when it is shown.
//
// kubectl's commands translate their help texts in their init, and load the translations for it, which takes as long as all
// other packages together. None of these texts is ever shown here.
//
// Go initializes packages that are ready in the order of their import paths, and this package's path sorts before those.
package libinit

import (
	"github.com/charmbracelet/lipgloss"
	"k8s.io/kubectl/pkg/util/i18n"
)

//nolint:gochecknoinits // Nothing else comes before another package's init.
func init() {
	lipgloss.SetHasDarkBackground(true)
	// It fails only if they are loaded already.
	_ = i18n.SetLoadTranslationsFunc(func() error { return nil })
}

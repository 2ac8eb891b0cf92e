package tui

import (
	"strings"
	"unicode"

	tea "github.com/charmbracelet/bubbletea"
)

// textInput is a line of text input. The cursor is always at its end.
type textInput struct{ text string }

func (i *textInput) handleKey(msg tea.KeyMsg) {
	switch msg.Type {
	case tea.KeyBackspace:
		if runes := []rune(i.text); len(runes) > 0 {
			i.text = string(runes[:len(runes)-1])
		}
	case tea.KeyCtrlU:
		i.text = ""
	case tea.KeyCtrlW:
		i.text = strings.TrimRightFunc(i.text, unicode.IsSpace)
		i.text = i.text[:strings.LastIndexFunc(i.text, unicode.IsSpace)+1]
	case tea.KeyRunes, tea.KeySpace:
		if msg.Alt {
			return
		}
		i.text += strings.Map(func(r rune) rune {
			if unicode.IsControl(r) {
				return -1
			}
			return r
		}, string(msg.Runes))
	default:
	}
}

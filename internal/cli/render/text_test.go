package render_test

import (
	"testing"

	"github.com/LogicIQ/konductor/internal/cli/render"
)

func TestSanitizeLines(t *testing.T) {
	for text, want := range map[string]string{
		"failed: out of memory":          "failed: out of memory",
		"two lines\n\tand a tab":         "two lines\n\tand a tab",
		"größer, 更大":                     "größer, 更大",
		"bad\x1b[2J\x1b]0;owned\x07 end": "bad[2J]0;owned end",
		"over\rwritten":                  "overwritten",
		"user\u202egnp.exe":              "usergnp.exe",
		"\u009b31mred":                   "31mred",
	} {
		if got := render.SanitizeLines(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}

package cli

import (
	"os"
	"runtime"
	"strings"

	"github.com/LogicIQ/konductor/apis/waits"
)

// glyphs are the signs that trees are drawn with.
type glyphs struct {
	branch, last, bar, blank string
	icons                    map[waits.Standing]string
	circle                   string
}

// glyphs returns signs that the terminal can show: those of Unicode only where the locale says UTF-8.
func (a *app) glyphs() glyphs {
	if runtime.GOOS != "windows" && utf8Locale() {
		return glyphs{
			branch: "├─ ", last: "└─ ", bar: "│  ", blank: "   ", circle: "↻",
			icons: map[waits.Standing]string{
				waits.StandsDone: "✓", waits.StandsFree: "○", waits.StandsTaken: "●", waits.StandsRunning: "▶", waits.StandsWaiting: "…",
				waits.StandsFailed: "✗", waits.StandsMissing: "?", waits.StandsDeadlocked: "↻",
			},
		}
	}
	return glyphs{
		branch: "|- ", last: "`- ", bar: "|  ", blank: "   ", circle: "@",
		icons: map[waits.Standing]string{
			waits.StandsDone: "+", waits.StandsFree: "o", waits.StandsTaken: "#", waits.StandsRunning: ">", waits.StandsWaiting: ".",
			waits.StandsFailed: "x", waits.StandsMissing: "?", waits.StandsDeadlocked: "@",
		},
	}
}

// utf8Locale reports whether the locale's characters are UTF-8: the first of the variables that is set decides.
func utf8Locale() bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := os.Getenv(name); v != "" {
			v = strings.ToUpper(v)
			return strings.Contains(v, "UTF-8") || strings.Contains(v, "UTF8")
		}
	}
	return false
}

package cli

import (
	"github.com/LogicIQ/konductor/apis/waits"
	"github.com/LogicIQ/konductor/plugins/konductor/frame"
)

// glyphs are the signs that trees are drawn with.
type glyphs struct {
	branch, last, bar, blank string
	icons                    map[waits.Standing]string
	circle                   string
}

// newGlyphs returns signs in the colours of a theme.
func newGlyphs(t *frame.Theme, ascii bool) glyphs {
	g := glyphs{
		branch: "├─ ", last: "└─ ", bar: "│  ", blank: "   ", circle: "↻",
		icons: map[waits.Standing]string{
			waits.StandsDone: "✓", waits.StandsFree: "○", waits.StandsTaken: "●", waits.StandsRunning: "▶", waits.StandsWaiting: "…",
			waits.StandsFailed: "✗", waits.StandsMissing: "?", waits.StandsDeadlocked: "↻",
		},
	}
	if ascii {
		g = glyphs{
			branch: "|- ", last: "`- ", bar: "|  ", blank: "   ", circle: "@",
			icons: map[waits.Standing]string{
				waits.StandsDone: "+", waits.StandsFree: "o", waits.StandsTaken: "#", waits.StandsRunning: ">", waits.StandsWaiting: ".",
				waits.StandsFailed: "x", waits.StandsMissing: "?", waits.StandsDeadlocked: "@",
			},
		}
	}
	for standing, icon := range g.icons {
		g.icons[standing] = paintOf(t, standing).On(icon)
	}
	g.circle = t.Bad.On(g.circle)
	return g
}

// paintOf returns the colour in which it is shown how something stands.
func paintOf(t *frame.Theme, s waits.Standing) frame.Paint {
	switch s {
	case waits.StandsDone, waits.StandsFree:
		return t.Good
	case waits.StandsRunning:
		return t.Busy
	case waits.StandsFailed, waits.StandsMissing, waits.StandsDeadlocked:
		return t.Bad
	default:
		return t.Wait
	}
}

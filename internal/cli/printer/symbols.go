package printer

import (
	"github.com/LogicIQ/konductor/internal/cli/render"
	"github.com/LogicIQ/konductor/internal/waitgraph"
)

// Symbols are the characters that trees are drawn with.
type Symbols struct {
	branch, last, bar, blank string
	standingIcons            map[waitgraph.Standing]string
	cycle                    string
}

// NewSymbols returns the characters in the colors of a theme.
func NewSymbols(t *render.Theme, ascii bool) Symbols {
	g := Symbols{
		branch: "├─ ", last: "└─ ", bar: "│  ", blank: "   ", cycle: "↻",
		standingIcons: map[waitgraph.Standing]string{
			waitgraph.StandingDone: "✓", waitgraph.StandingFree: "○", waitgraph.StandingTaken: "●", waitgraph.StandingRunning: "▶", waitgraph.StandingWaiting: "…",
			waitgraph.StandingFailed: "✗", waitgraph.StandingMissing: "?", waitgraph.StandingDeadlocked: "↻",
		},
	}
	if ascii {
		g = Symbols{
			branch: "|- ", last: "`- ", bar: "|  ", blank: "   ", cycle: "@",
			standingIcons: map[waitgraph.Standing]string{
				waitgraph.StandingDone: "+", waitgraph.StandingFree: "o", waitgraph.StandingTaken: "#", waitgraph.StandingRunning: ">", waitgraph.StandingWaiting: ".",
				waitgraph.StandingFailed: "x", waitgraph.StandingMissing: "?", waitgraph.StandingDeadlocked: "@",
			},
		}
	}
	for standing, icon := range g.standingIcons {
		g.standingIcons[standing] = standingStyle(t, standing).Render(icon)
	}
	g.cycle = t.Error.Render(g.cycle)
	return g
}

// standingStyle returns the color of a Standing.
func standingStyle(t *render.Theme, s waitgraph.Standing) render.Style {
	switch s {
	case waitgraph.StandingDone, waitgraph.StandingFree:
		return t.Success
	case waitgraph.StandingRunning:
		return t.Active
	case waitgraph.StandingFailed, waitgraph.StandingMissing, waitgraph.StandingDeadlocked:
		return t.Error
	default:
		return t.Warning
	}
}

package render

import (
	"strings"

	"github.com/LogicIQ/konductor/internal/view"
)

// progressBar draws the progress of a row in that many columns: done, failed and missing parts, and the quorum mark. It is
// full only if all is done, and empty only if nothing is.
func (t *Theme) progressBar(r *view.Row, width int) string {
	if width <= 0 {
		return ""
	}
	if r.Total <= 0 {
		return strings.Repeat(" ", width)
	}
	done := scaleToWidth(r.Done, r.Total, width)
	failed := min(scaleToWidth(r.Failed, r.Total, width), width-done)
	cells := []struct {
		paint Style
		sign  string
		n     int
	}{
		{t.stateStyle(r.State), t.symbol("█", "#"), done},
		{t.Error, t.symbol("▒", "x"), failed},
		{t.BarEmpty, t.symbol("░", "."), width - done - failed},
	}
	mark := -1
	if r.Quorum > 0 && r.Quorum < r.Total {
		mark = min(scaleToWidth(r.Quorum, r.Total, width), width-1)
	}
	var line strings.Builder
	at := 0
	for _, c := range cells {
		begin := at
		at += c.n
		if mark >= begin && mark < at {
			line.WriteString(c.paint.Render(strings.Repeat(c.sign, mark-begin)))
			line.WriteString(t.Bold.Render(t.symbol("┃", "|")))
			line.WriteString(c.paint.Render(strings.Repeat(c.sign, at-mark-1)))
			continue
		}
		line.WriteString(c.paint.Render(strings.Repeat(c.sign, c.n)))
	}
	return line.String()
}

// scaleToWidth returns how many of width columns represent n of total.
func scaleToWidth(n, total int32, width int) int {
	switch {
	case n <= 0:
		return 0
	case n >= total:
		return width
	default:
		return min(max(int(int64(n)*int64(width)/int64(total)), 1), width-1)
	}
}

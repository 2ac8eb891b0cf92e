package frame

import (
	"strings"

	"github.com/LogicIQ/konductor/plugins/konductor/view"
)

// bar draws the progress of a row in that many columns: what is done, what has failed, what is missing, and where enough
// of it is. It is full only when all is done, and empty only when nothing is.
func (t *Theme) bar(r *view.Row, width int) string {
	if width <= 0 {
		return ""
	}
	if r.Total <= 0 {
		return strings.Repeat(" ", width)
	}
	done := share(r.Done, r.Total, width)
	failed := min(share(r.Failed, r.Total, width), width-done)
	cells := []struct {
		paint Paint
		sign  string
		n     int
	}{
		{t.statePaint(r.State), t.pick("█", "#"), done},
		{t.Bad, t.pick("▒", "x"), failed},
		{t.Empty, t.pick("░", "."), width - done - failed},
	}
	mark := -1
	if r.Quorum > 0 && r.Quorum < r.Total {
		mark = min(share(r.Quorum, r.Total, width), width-1)
	}
	var line strings.Builder
	at := 0
	for _, c := range cells {
		begin := at
		at += c.n
		if mark >= begin && mark < at {
			line.WriteString(c.paint.On(strings.Repeat(c.sign, mark-begin)))
			line.WriteString(t.Bold.On(t.pick("┃", "|")))
			line.WriteString(c.paint.On(strings.Repeat(c.sign, at-mark-1)))
			continue
		}
		line.WriteString(c.paint.On(strings.Repeat(c.sign, c.n)))
	}
	return line.String()
}

// share returns how many of width columns n of total are.
func share(n, total int32, width int) int {
	switch {
	case n <= 0:
		return 0
	case n >= total:
		return width
	default:
		return min(max(int(int64(n)*int64(width)/int64(total)), 1), width-1)
	}
}

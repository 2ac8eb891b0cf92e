package frame

import (
	"strings"
	"time"

	"github.com/LogicIQ/konductor/plugins/konductor/view"
)

// Detail returns the lines of the details of an object, none wider than width; 0 is no limit.
func (t *Theme) Detail(d *view.Detail, width int, now time.Time) []string {
	r := d.Row
	head := t.statePaint(r.State).On(t.icon(r.State)+" "+string(r.State)) + "  " + t.Bold.On(t.Clean(r.String()))
	if r.Total > 0 {
		head += "  "
		if barWidth := min(width/4, 40); barWidth > 0 {
			head += t.bar(r, barWidth) + " "
		}
		head += r.Figure()
	}
	lines := []string{t.Cut(head, width)}
	lines = append(lines, t.indented(r.Says(now), width)...)
	if d.Why != "" {
		lines = append(lines, t.indented(d.Why, width)...)
	}
	lines = append(lines, t.facts(d.Facts, width)...)
	for i := range d.Sections {
		lines = append(lines, "")
		lines = append(lines, t.section(&d.Sections[i], width)...)
	}
	return lines
}

func (t *Theme) indented(text string, width int) []string {
	var lines []string
	for _, line := range t.wrap(text, max(width-2, min(width, 1))) {
		lines = append(lines, t.Cut("  "+line, width))
	}
	return lines
}

// facts puts as many facts into a line as fit.
func (t *Theme) facts(facts []view.Fact, width int) []string {
	var lines []string
	line := ""
	for _, f := range facts {
		fact := f.Name + " " + t.Clean(f.Value)
		switch {
		case line == "":
			line = fact
		case width == 0 || Width(line+t.Dot()+fact) <= width-2:
			line += t.Dot() + fact
		default:
			lines, line = append(lines, line), fact
		}
	}
	lines = append(lines, line)
	for i := range lines {
		lines[i] = t.Dim.On(t.Cut("  "+lines[i], width))
	}
	return lines
}

func (t *Theme) section(s *view.Section, width int) []string {
	lines := []string{t.Accent.On(t.Cut(t.Clean(s.Title), width))}
	widths := columnWidths(t, s)
	before := 2
	for _, w := range widths[:max(len(widths)-1, 0)] {
		before += w + 2
	}
	const readable = 16
	stacked := width > 0 && width-before < min(readable, last(widths))
	if len(s.Columns) > 0 && len(s.Lines) > 0 && !stacked {
		lines = append(lines, t.Dim.On(t.Cut("  "+t.cells(s.Columns, widths), width)))
	}
	for _, line := range s.Lines {
		paint := t.moodPaint(line.Mood)
		if stacked {
			for i, part := range t.wrap(stack(s.Columns, line.Cells), max(width-4, 1)) {
				lines = append(lines, paint.On(t.Cut(strings.Repeat(" ", 2+2*min(i, 1))+part, width)))
			}
			continue
		}
		for i, part := range t.wrap(last(line.Cells), max(width-before, min(width, 1))) {
			cells := make([]string, len(line.Cells))
			if i == 0 {
				copy(cells, line.Cells)
			}
			cells[len(cells)-1] = part
			lines = append(lines, paint.On(t.Cut("  "+t.cells(cells, widths), width)))
		}
	}
	if s.More != "" {
		for _, line := range t.indented(s.More, width) {
			lines = append(lines, t.Dim.On(line))
		}
	}
	return lines
}

// cells joins the cells of a line, all but the last as wide as their columns.
func (t *Theme) cells(cells []string, widths []int) string {
	var line strings.Builder
	for i, cell := range cells {
		if i == len(cells)-1 {
			line.WriteString(t.Clean(cell))
			break
		}
		line.WriteString(t.fit(cell, widths[i]) + "  ")
	}
	return strings.TrimRight(line.String(), " ")
}

func columnWidths(t *Theme, s *view.Section) []int {
	var widths []int
	see := func(cells []string) {
		for i, cell := range cells {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], Width(t.Clean(cell)))
		}
	}
	see(s.Columns)
	for _, line := range s.Lines {
		see(line.Cells)
	}
	return widths
}

// stack puts the cells of a line behind each other, each but the first with the header of its column.
func stack(columns, cells []string) string {
	var words []string
	for i, cell := range cells {
		if cell != "" && i > 0 && i < len(columns) {
			cell = strings.ToLower(columns[i]) + " " + cell
		}
		if cell != "" {
			words = append(words, cell)
		}
	}
	return strings.Join(words, ", ")
}

func last[T any](list []T) T {
	var none T
	if len(list) == 0 {
		return none
	}
	return list[len(list)-1]
}

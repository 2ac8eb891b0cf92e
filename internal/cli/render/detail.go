package render

import (
	"strings"
	"time"

	"github.com/LogicIQ/konductor/internal/view"
)

// DetailLines returns the lines of an object's details, none wider than width; 0: no limit.
func (t *Theme) DetailLines(d *view.Detail, width int, now time.Time) []string {
	r := d.Row
	head := t.stateStyle(r.State).Render(t.stateIcon(r.State)+" "+string(r.State)) + "  " + t.Bold.Render(t.Sanitize(r.String()))
	if r.Total > 0 {
		head += "  "
		if barWidth := min(width/4, 40); barWidth > 0 {
			head += t.progressBar(r, barWidth) + " "
		}
		head += r.ProgressText()
	}
	lines := []string{t.Truncate(head, width)}
	lines = append(lines, t.indentedLines(r.Description(now), width)...)
	if d.RootCause != "" {
		lines = append(lines, t.indentedLines(d.RootCause, width)...)
	}
	lines = append(lines, t.propertyLines(d.Properties, width)...)
	for i := range d.Sections {
		lines = append(lines, "")
		lines = append(lines, t.sectionLines(&d.Sections[i], width)...)
	}
	return lines
}

func (t *Theme) indentedLines(text string, width int) []string {
	var lines []string
	for _, line := range t.wrap(text, max(width-2, min(width, 1))) {
		lines = append(lines, t.Truncate("  "+line, width))
	}
	return lines
}

// propertyLines puts as many properties into a line as fit.
func (t *Theme) propertyLines(facts []view.Property, width int) []string {
	var lines []string
	line := ""
	for _, f := range facts {
		fact := f.Name + " " + t.Sanitize(f.Value)
		switch {
		case line == "":
			line = fact
		case width == 0 || Width(line+t.Separator()+fact) <= width-2:
			line += t.Separator() + fact
		default:
			lines, line = append(lines, line), fact
		}
	}
	lines = append(lines, line)
	for i := range lines {
		lines[i] = t.Muted.Render(t.Truncate("  "+lines[i], width))
	}
	return lines
}

func (t *Theme) sectionLines(s *view.Section, width int) []string {
	lines := []string{t.Accent.Render(t.Truncate(t.Sanitize(s.Title), width))}
	widths := columnWidths(t, s)
	before := 2
	for _, w := range widths[:max(len(widths)-1, 0)] {
		before += w + 2
	}
	const readable = 16
	stacked := width > 0 && width-before < min(readable, last(widths))
	if len(s.Columns) > 0 && len(s.Lines) > 0 && !stacked {
		lines = append(lines, t.Muted.Render(t.Truncate("  "+t.joinCells(s.Columns, widths), width)))
	}
	for _, line := range s.Lines {
		paint := t.severityStyle(line.Severity)
		if stacked {
			for i, part := range t.wrap(stackCells(s.Columns, line.Cells), max(width-4, 1)) {
				lines = append(lines, paint.Render(t.Truncate(strings.Repeat(" ", 2+2*min(i, 1))+part, width)))
			}
			continue
		}
		for i, part := range t.wrap(last(line.Cells), max(width-before, min(width, 1))) {
			cells := make([]string, len(line.Cells))
			if i == 0 {
				copy(cells, line.Cells)
			}
			cells[len(cells)-1] = part
			lines = append(lines, paint.Render(t.Truncate("  "+t.joinCells(cells, widths), width)))
		}
	}
	if s.Footnote != "" {
		for _, line := range t.indentedLines(s.Footnote, width) {
			lines = append(lines, t.Muted.Render(line))
		}
	}
	return lines
}

// joinCells joins the cells of a line and pads all but the last to the widths of their columns.
func (t *Theme) joinCells(cells []string, widths []int) string {
	var line strings.Builder
	for i, cell := range cells {
		if i == len(cells)-1 {
			line.WriteString(t.Sanitize(cell))
			break
		}
		line.WriteString(t.padOrTruncate(cell, widths[i]) + "  ")
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
			widths[i] = max(widths[i], Width(t.Sanitize(cell)))
		}
	}
	see(s.Columns)
	for _, line := range s.Lines {
		see(line.Cells)
	}
	return widths
}

// stackCells joins the cells of a line, each but the first with the header of its column.
func stackCells(columns, cells []string) string {
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

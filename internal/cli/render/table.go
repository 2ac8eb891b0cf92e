package render

import (
	"strings"
	"time"

	"github.com/LogicIQ/konductor/internal/view"
)

// Widths from which on a table shows more, and widths of columns.
const (
	mediumMinWidth   = 60  // progress bars and descriptions
	wideMinWidth     = 100 // ages
	stateColumnWidth = 11  // an icon, a space, and the longest state
	ageColumnWidth   = 6
)

// Table lays out the rows of the overview for a width.
type Table struct {
	theme Theme
	width int
	// The widths of the columns; 0: the column is not shown.
	namespaceWidth, nameWidth, barWidth, progressWidth, descriptionWidth int
	showAge                                                              bool
	abbreviateKinds                                                      bool
}

// NewTable lays out a table for rows. A width of 0 means no limit and no bars, for output that is not a terminal.
// showNamespaces adds a column for namespaces.
func NewTable(t Theme, rows []*view.Row, width int, showNamespaces bool) Table {
	tab := Table{theme: t, width: width, abbreviateKinds: width > 0 && width < mediumMinWidth, showAge: width == 0 || width >= wideMinWidth}
	for _, r := range rows {
		tab.nameWidth = max(tab.nameWidth, len(tab.displayName(r)))
		tab.progressWidth = max(tab.progressWidth, len(r.ProgressText()))
		if showNamespaces {
			tab.namespaceWidth = max(tab.namespaceWidth, len(r.Namespace))
		}
	}
	tab.nameWidth = max(tab.nameWidth, len("NAME"))
	if showNamespaces {
		tab.namespaceWidth = max(tab.namespaceWidth, len("NAMESPACE"))
	}
	if width == 0 {
		tab.progressWidth = max(tab.progressWidth, len("PROGRESS"))
		tab.descriptionWidth = -1
		return tab
	}
	tab.distributeWidth()
	return tab
}

// distributeWidth distributes the width among the columns.
func (tab *Table) distributeWidth() {
	room := tab.width - len("> ") - stateColumnWidth - 1
	if tab.progressWidth > 0 {
		room -= tab.progressWidth + 1
	}
	if tab.showAge {
		room -= ageColumnWidth + 1
	}
	if tab.namespaceWidth > 0 {
		tab.namespaceWidth = min(tab.namespaceWidth, max(room/4, 4))
		room -= tab.namespaceWidth + 1
	}
	if tab.width < mediumMinWidth {
		tab.nameWidth = max(room, 1)
		return
	}
	// At least a third is for the description.
	tab.barWidth = min(max(tab.width/8, 8), 28)
	tab.nameWidth = min(tab.nameWidth, max((room-tab.barWidth)*3/5, 16))
	room -= tab.nameWidth + 1 + tab.barWidth + 1
	if room < 8 {
		room += tab.barWidth + 1
		tab.barWidth = 0
	}
	tab.descriptionWidth = max(room, 1)
}

func (tab *Table) displayName(r *view.Row) string {
	if !tab.abbreviateKinds {
		return r.String()
	}
	kind := map[string]string{"Barrier": "bar", "Gate": "gate", "Lease": "lease", "Semaphore": "sem"}[r.Kind]
	return kind + "/" + r.Name
}

// HeaderLine returns the line with the headers.
func (tab *Table) HeaderLine() string {
	t := &tab.theme
	progress := tab.barWidth + 1 + tab.progressWidth
	if tab.barWidth == 0 {
		progress = tab.progressWidth
	}
	cells := []string{t.padOrTruncate("STATE", stateColumnWidth)}
	if tab.namespaceWidth > 0 {
		cells = append(cells, t.padOrTruncate("NAMESPACE", tab.namespaceWidth))
	}
	cells = append(cells, t.padOrTruncate("NAME", tab.nameWidth))
	if progress > 0 {
		title := "PROGRESS"
		if progress < len(title) {
			title = ""
		}
		cells = append(cells, t.padOrTruncate(title, progress))
	}
	if tab.descriptionWidth > 0 {
		cells = append(cells, t.padOrTruncate("STATUS", tab.descriptionWidth))
	}
	if tab.showAge {
		cells = append(cells, t.padOrTruncate("AGE", ageColumnWidth))
	}
	if tab.descriptionWidth < 0 {
		cells = append(cells, "STATUS")
	}
	return t.Muted.Render(t.Truncate(tab.leftMargin()+strings.TrimRight(strings.Join(cells, tab.columnGap()), " "), tab.width))
}

// leftMargin is the space for the selection marker, on a terminal.
func (tab *Table) leftMargin() string {
	if tab.width == 0 {
		return ""
	}
	return "  "
}

func (tab *Table) columnGap() string {
	if tab.width == 0 {
		return "   "
	}
	return " "
}

// RowLine returns the line of a row; now is on the API server's clock.
func (tab *Table) RowLine(r *view.Row, now time.Time, selected bool) string {
	t := &tab.theme
	if selected {
		// The selected line has a single color.
		plain := NewPlainTheme(t.ascii)
		one := *tab
		one.theme = plain
		return t.Selected.Render(t.padOrTruncate(plain.SelectionMarker()+strings.TrimPrefix(one.RowLine(r, now, false), "  "), tab.width))
	}
	cells := []string{t.FormatState(r.State, stateColumnWidth)}
	if tab.namespaceWidth > 0 {
		cells = append(cells, t.Muted.Render(t.padOrTruncate(r.Namespace, tab.namespaceWidth)))
	}
	cells = append(cells, t.padOrTruncateMiddle(tab.displayName(r), tab.nameWidth))
	descriptionWidth := tab.descriptionWidth
	showsProgress := r.Total > 0 || tab.barWidth == 0
	if !showsProgress {
		// Without progress there is more room for the holder.
		descriptionWidth += tab.barWidth + 1 + tab.progressWidth
		if tab.progressWidth > 0 {
			descriptionWidth++
		}
	}
	if tab.barWidth > 0 && showsProgress {
		cells = append(cells, t.progressBar(r, tab.barWidth))
	}
	if tab.progressWidth > 0 && showsProgress {
		figure := r.ProgressText()
		if tab.width == 0 {
			cells = append(cells, t.padOrTruncate(figure, tab.progressWidth))
		} else {
			cells = append(cells, t.padOrTruncate(strings.Repeat(" ", max(tab.progressWidth-len(figure), 0))+figure, tab.progressWidth))
		}
	}
	description := r.Description(now)
	descriptionStyle := Style{}
	if r.State.UrgencyRank() == 0 {
		descriptionStyle = t.Error
	}
	if tab.descriptionWidth > 0 {
		cells = append(cells, descriptionStyle.Render(t.padOrTruncate(description, descriptionWidth)))
	}
	if tab.showAge {
		cells = append(cells, t.Muted.Render(t.padOrTruncate(view.FormatAge(r.Created, now), ageColumnWidth)))
	}
	if tab.descriptionWidth < 0 {
		cells = append(cells, descriptionStyle.Render(t.Sanitize(description)))
	}
	line := tab.leftMargin() + strings.Join(cells, tab.columnGap())
	if tab.width > 0 {
		line = t.Truncate(line, tab.width)
	}
	return line
}

package frame

import (
	"strings"
	"time"

	"github.com/LogicIQ/konductor/plugins/konductor/view"
)

// Widths at which a table shows more.
const (
	mediumWidth = 60  // bars, and what there is to say
	wideWidth   = 100 // ages
	stateWidth  = 11  // an icon, a space, and the longest state
	ageWidth    = 6
)

// Table is the overview of rows at a certain width.
type Table struct {
	theme Theme
	width int
	// The columns that there are; 0: not there.
	namespace, name, bar, figure, says int
	age                                bool
	shortKinds                         bool
}

// NewTable lays out a table for rows. A width of 0 is as wide as it takes, without bars, for what is not a terminal.
// namespaces adds a column for them.
func NewTable(t Theme, rows []*view.Row, width int, namespaces bool) Table {
	tab := Table{theme: t, width: width, shortKinds: width > 0 && width < mediumWidth, age: width == 0 || width >= wideWidth}
	for _, r := range rows {
		tab.name = max(tab.name, len(tab.nameOf(r)))
		tab.figure = max(tab.figure, len(r.Figure()))
		if namespaces {
			tab.namespace = max(tab.namespace, len(r.Namespace))
		}
	}
	tab.name = max(tab.name, len("NAME"))
	if namespaces {
		tab.namespace = max(tab.namespace, len("NAMESPACE"))
	}
	if width == 0 {
		tab.figure = max(tab.figure, len("PROGRESS"))
		tab.says = -1
		return tab
	}
	tab.share()
	return tab
}

// share gives each column its part of the width.
func (tab *Table) share() {
	room := tab.width - len("> ") - stateWidth - 1
	if tab.figure > 0 {
		room -= tab.figure + 1
	}
	if tab.age {
		room -= ageWidth + 1
	}
	if tab.namespace > 0 {
		tab.namespace = min(tab.namespace, max(room/4, 4))
		room -= tab.namespace + 1
	}
	if tab.width < mediumWidth {
		tab.name = max(room, 1)
		return
	}
	// At least a third is for what there is to say.
	tab.bar = min(max(tab.width/8, 8), 28)
	tab.name = min(tab.name, max((room-tab.bar)*3/5, 16))
	room -= tab.name + 1 + tab.bar + 1
	if room < 8 {
		room += tab.bar + 1
		tab.bar = 0
	}
	tab.says = max(room, 1)
}

func (tab *Table) nameOf(r *view.Row) string {
	if !tab.shortKinds {
		return r.String()
	}
	kind := map[string]string{"Barrier": "bar", "Gate": "gate", "Lease": "lease", "Semaphore": "sem"}[r.Kind]
	return kind + "/" + r.Name
}

// Header returns the line of headers.
func (tab *Table) Header() string {
	t := &tab.theme
	progress := tab.bar + 1 + tab.figure
	if tab.bar == 0 {
		progress = tab.figure
	}
	cells := []string{t.fit("STATE", stateWidth)}
	if tab.namespace > 0 {
		cells = append(cells, t.fit("NAMESPACE", tab.namespace))
	}
	cells = append(cells, t.fit("NAME", tab.name))
	if progress > 0 {
		title := "PROGRESS"
		if progress < len(title) {
			title = ""
		}
		cells = append(cells, t.fit(title, progress))
	}
	if tab.says > 0 {
		cells = append(cells, t.fit("HOW IT STANDS", tab.says))
	}
	if tab.age {
		cells = append(cells, t.fit("AGE", ageWidth))
	}
	if tab.says < 0 {
		cells = append(cells, "HOW IT STANDS")
	}
	return t.Dim.On(t.Cut(tab.margin()+strings.TrimRight(strings.Join(cells, tab.gap()), " "), tab.width))
}

// margin is where the marker of the selected line stands, on a terminal.
func (tab *Table) margin() string {
	if tab.width == 0 {
		return ""
	}
	return "  "
}

func (tab *Table) gap() string {
	if tab.width == 0 {
		return "   "
	}
	return " "
}

// Row returns the line of a row at the time now of the API server's clock.
func (tab *Table) Row(r *view.Row, now time.Time, selected bool) string {
	t := &tab.theme
	if selected {
		// One colour for the whole line.
		plain := Plain(t.ascii)
		one := *tab
		one.theme = plain
		return t.Selected.On(t.fit(plain.Marker()+strings.TrimPrefix(one.Row(r, now, false), "  "), tab.width))
	}
	cells := []string{t.State(r.State, stateWidth)}
	if tab.namespace > 0 {
		cells = append(cells, t.Dim.On(t.fit(r.Namespace, tab.namespace)))
	}
	cells = append(cells, t.fitName(tab.nameOf(r), tab.name))
	sayWidth := tab.says
	counts := r.Total > 0 || tab.bar == 0
	if !counts {
		// Without progress there is more room for who holds it.
		sayWidth += tab.bar + 1 + tab.figure
		if tab.figure > 0 {
			sayWidth++
		}
	}
	if tab.bar > 0 && counts {
		cells = append(cells, t.bar(r, tab.bar))
	}
	if tab.figure > 0 && counts {
		figure := r.Figure()
		if tab.width == 0 {
			cells = append(cells, t.fit(figure, tab.figure))
		} else {
			cells = append(cells, t.fit(strings.Repeat(" ", max(tab.figure-len(figure), 0))+figure, tab.figure))
		}
	}
	says := r.Says(now)
	sayPaint := Paint{}
	if r.State.Urgency() == 0 {
		sayPaint = t.Bad
	}
	if tab.says > 0 {
		cells = append(cells, sayPaint.On(t.fit(says, sayWidth)))
	}
	if tab.age {
		cells = append(cells, t.Dim.On(t.fit(view.Age(r.Created, now), ageWidth)))
	}
	if tab.says < 0 {
		cells = append(cells, sayPaint.On(t.Clean(says)))
	}
	line := tab.margin() + strings.Join(cells, tab.gap())
	if tab.width > 0 {
		line = t.Cut(line, tab.width)
	}
	return line
}

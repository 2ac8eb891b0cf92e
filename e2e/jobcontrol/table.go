package jobcontrol

import (
	"fmt"
	"slices"
	"strings"
)

// Tools returns the programs that are compared with koncli run, whose column is the last one.
func Tools() []string { return []string{"env", "nohup", "timeout 60", "flock FILE"} }

// KoncliColumn is the heading of koncli's column.
const KoncliColumn = "koncli run"

// ParseTable returns the outcomes in a page's table, by the scenario's input and the tool.
func ParseTable(page string) (map[string]map[string]string, error) {
	_, rest, found := strings.Cut(page, "\n| | `"+Tools()[0]+"`")
	if !found {
		return nil, fmt.Errorf("there is no table that begins with %s", Tools()[0])
	}
	table := map[string]map[string]string{}
	for i, line := range strings.Split(rest, "\n") {
		if i < len([]string{"heading", "dashes"}) {
			continue
		}
		cells := strings.Split(strings.ReplaceAll(line, `\|`, "\x00"), " | ")
		if len(cells) != len(Tools())+2 {
			break
		}
		for j := range cells {
			cells[j] = strings.ReplaceAll(strings.Trim(cells[j], "| "), "\x00", `\|`)
		}
		row := map[string]string{KoncliColumn: cells[len(cells)-1]}
		for j, tool := range Tools() {
			row[tool] = cells[j+1]
		}
		table[cells[0]] = row
	}
	return table, nil
}

// MatchesCell reports whether the outcome is one of those in a cell of the table.
func MatchesCell(cell, outcome string) bool {
	return slices.Contains(strings.Split(cell, " / "), outcome)
}

// TableRow returns the table's row for a scenario with those outcomes, by tool.
func (s Scenario) TableRow(outcomes map[string]string) string {
	cells := []string{s.Input}
	for _, tool := range append(Tools(), KoncliColumn) {
		cells = append(cells, outcomes[tool])
	}
	return "| " + strings.Join(cells, " | ") + " |"
}

package report

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"
)

// tableHeader returns the column titles.
func tableHeader() []string { return []string{"measure", "value", "floor", "ratio", "budget", "ok"} }

// WriteTable writes the rows as an aligned table, section by section.
func WriteTable(w io.Writer, rows []Row) error {
	lines := [][]string{tableHeader()}
	for i := range rows {
		lines = append(lines, rowCells(&rows[i]))
	}
	widths := make([]int, len(tableHeader()))
	for _, line := range lines {
		for i, cell := range line {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	section := ""
	for i, line := range lines {
		if i > 0 && rows[i-1].section != section {
			section = rows[i-1].section
			if _, err := fmt.Fprintf(w, "\n%s\n", section); err != nil {
				return err
			}
		}
		if _, err := fmt.Fprintln(w, alignCells(line, widths)); err != nil {
			return err
		}
	}
	return nil
}

// alignCells pads the cells: text left-aligned, numbers right-aligned.
func alignCells(line []string, widths []int) string {
	var b strings.Builder
	for i, cell := range line {
		pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
		if i == 0 {
			b.WriteString("  " + cell + pad)
		} else {
			b.WriteString("  " + pad + cell)
		}
	}
	return strings.TrimRight(b.String(), " ")
}

func rowCells(r *Row) []string {
	floor, ratio, budget, ok := "", "", "", ""
	if r.LowerBound != nil {
		floor, ratio = formatValue(*r.LowerBound)+" "+r.Unit, fmt.Sprintf("%.2f ×", *r.Ratio)
	}
	if r.Budget != nil {
		sign, unit := "≤", " "+r.Unit
		if r.budgetIsMinimum {
			sign = "≥"
		}
		if r.LowerBound != nil {
			unit = " ×"
		}
		budget, ok = sign+" "+formatBudget(*r.Budget)+unit, "yes"
		if !r.OK {
			ok = "MISSED"
		}
	}
	return []string{r.Name, formatValue(r.Value) + " " + r.Unit, floor, ratio, budget, ok}
}

// formatValue shows about three digits: more were not measured.
func formatValue(v float64) string {
	switch {
	case v == math.Trunc(v) && math.Abs(v) < 1e6:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case math.Abs(v) >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case math.Abs(v) >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	default:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
}

func formatBudget(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// MissedBudgets returns the rows whose budget is missed.
func MissedBudgets(rows []Row) (missed []Row) {
	for _, r := range rows {
		if !r.OK {
			missed = append(missed, r)
		}
	}
	return missed
}

// WriteJSON writes the rows to a file, as a list.
func WriteJSON(file string, rows []Row) error {
	text, err := json.MarshalIndent(rows, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}

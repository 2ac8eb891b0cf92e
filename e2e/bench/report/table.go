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

// header has the columns of the table.
func header() []string { return []string{"measure", "value", "floor", "ratio", "budget", "ok"} }

// Table writes the rows as an aligned table, section by section.
func Table(w io.Writer, rows []Row) error {
	lines := [][]string{header()}
	for i := range rows {
		lines = append(lines, cells(&rows[i]))
	}
	widths := make([]int, len(header()))
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
		if _, err := fmt.Fprintln(w, aligned(line, widths)); err != nil {
			return err
		}
	}
	return nil
}

// aligned pads the cells: words to the left, numbers to the right.
func aligned(line []string, widths []int) string {
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

func cells(r *Row) []string {
	floor, ratio, budget, ok := "", "", "", ""
	if r.Floor != nil {
		floor, ratio = number(*r.Floor)+" "+r.Unit, fmt.Sprintf("%.2f ×", *r.Ratio)
	}
	if r.Budget != nil {
		sign, unit := "≤", " "+r.Unit
		if r.atLeast {
			sign = "≥"
		}
		if r.Floor != nil {
			unit = " ×"
		}
		budget, ok = sign+" "+plain(*r.Budget)+unit, "yes"
		if !r.OK {
			ok = "MISSED"
		}
	}
	return []string{r.Name, number(r.Value) + " " + r.Unit, floor, ratio, budget, ok}
}

// number shows three digits or so: more were not measured.
func number(v float64) string {
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

func plain(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// Missed returns the rows whose budget is missed.
func Missed(rows []Row) (missed []Row) {
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

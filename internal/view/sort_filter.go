package view

import (
	"cmp"
	"slices"
	"strings"
)

// SortOrder is a sort key of rows.
type SortOrder string

// Sort orders.
const (
	ByKind    SortOrder = "kind"    // then namespace and name
	ByState   SortOrder = "state"   // the most urgent first
	ByName    SortOrder = "name"    // of any kind
	ByWaiting SortOrder = "waiting" // the longest queue first
	ByAge     SortOrder = "age"     // the youngest first
)

// SortOrders returns all orders.
func SortOrders() []SortOrder { return []SortOrder{ByKind, ByState, ByName, ByWaiting, ByAge} }

// Sort sorts rows in place. Rows with equal keys are sorted by kind, namespace and name.
func Sort(rows []*Row, by SortOrder) {
	slices.SortFunc(rows, func(a, b *Row) int {
		first := 0
		switch by {
		case ByState:
			first = cmp.Compare(a.State.UrgencyRank(), b.State.UrgencyRank())
		case ByName:
			first = cmp.Compare(a.Name, b.Name)
		case ByWaiting:
			first = cmp.Compare(b.Waiting, a.Waiting)
		case ByAge:
			first = b.Created.Compare(a.Created)
		case ByKind:
		}
		return cmp.Or(first, compareRows(a, b))
	})
}

// Filter returns the rows that contain every word of the filter, ignoring case, in their kind, name, namespace, state or the
// names of their holders. A word with ! before it must not occur.
func Filter(rows []*Row, filter string) []*Row {
	words := strings.Fields(strings.ToLower(filter))
	if len(words) == 0 {
		return rows
	}
	var kept []*Row
	for _, r := range rows {
		if r.matchesFilter(words) {
			kept = append(kept, r)
		}
	}
	return kept
}

func (r *Row) matchesFilter(words []string) bool {
	text := strings.ToLower(r.Namespace + " " + r.String() + " " + string(r.State))
	for _, h := range r.Holds {
		text += " " + strings.ToLower(h.Holder)
	}
	for _, word := range words {
		unwanted, not := strings.CutPrefix(word, "!")
		if not && unwanted == "" {
			continue
		}
		if strings.Contains(text, unwanted) == not {
			return false
		}
	}
	return true
}

// Totals is the number of rows, and of those that wait or have failed.
type Totals struct {
	Objects int `json:"objects"`
	// Waiting are barriers and gates that have not opened, and leases and semaphores with a queue.
	Waiting int `json:"waiting"`
	// Failed are those that have failed, timed out or can never open because of a cycle of gates.
	Failed int `json:"failed"`
}

// CountRows counts rows.
func CountRows(rows []*Row) Totals {
	t := Totals{Objects: len(rows)}
	for _, r := range rows {
		switch {
		case r.State.UrgencyRank() == 0:
			t.Failed++
		case r.State == StateWaiting, r.Waiting > 0:
			t.Waiting++
		}
	}
	return t
}

// Summary is the JSON document of all rows.
type Summary struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Totals     Totals `json:"tally"`
	Objects    []*Row `json:"objects"`
}

// NewSummary returns the Summary of rows, in their order.
func NewSummary(rows []*Row) Summary {
	return Summary{APIVersion: APIVersion, Kind: "Summary", Totals: CountRows(rows), Objects: rows}
}

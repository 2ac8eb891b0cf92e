package view

import (
	"cmp"
	"slices"
	"strings"
)

// Order is what rows are sorted by.
type Order string

// Orders.
const (
	ByKind    Order = "kind"    // then namespace and name
	ByState   Order = "state"   // what asks for attention first
	ByName    Order = "name"    // whatever its kind
	ByWaiting Order = "waiting" // the longest queue first
	ByAge     Order = "age"     // the youngest first
)

// Orders returns all orders.
func Orders() []Order { return []Order{ByKind, ByState, ByName, ByWaiting, ByAge} }

// Sort sorts rows in place. Rows that are equal by the order are sorted by kind, namespace and name.
func Sort(rows []*Row, by Order) {
	slices.SortFunc(rows, func(a, b *Row) int {
		first := 0
		switch by {
		case ByState:
			first = cmp.Compare(a.State.Urgency(), b.State.Urgency())
		case ByName:
			first = cmp.Compare(a.Name, b.Name)
		case ByWaiting:
			first = cmp.Compare(b.Waiting, a.Waiting)
		case ByAge:
			first = b.Created.Compare(a.Created)
		case ByKind:
		}
		return cmp.Or(first, byName(a, b))
	})
}

// Filter returns the rows that have every word of the filter, in either case, in their kind, name, namespace, state or
// the names of their holders. A word with ! before it must not be there.
func Filter(rows []*Row, filter string) []*Row {
	words := strings.Fields(strings.ToLower(filter))
	if len(words) == 0 {
		return rows
	}
	var kept []*Row
	for _, r := range rows {
		if r.matches(words) {
			kept = append(kept, r)
		}
	}
	return kept
}

func (r *Row) matches(words []string) bool {
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

// Tally is how many rows there are, and how many of them wait or have failed.
type Tally struct {
	Objects int `json:"objects"`
	// Waiting are barriers and gates that have not opened, and leases and semaphores with a queue.
	Waiting int `json:"waiting"`
	// Failed are those that have failed, timed out or can never open.
	Failed int `json:"failed"`
}

// Count counts rows.
func Count(rows []*Row) Tally {
	t := Tally{Objects: len(rows)}
	for _, r := range rows {
		switch {
		case r.State.Urgency() == 0:
			t.Failed++
		case r.State == Waiting, r.Waiting > 0:
			t.Waiting++
		}
	}
	return t
}

// Summary is the view of everything, as JSON.
type Summary struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Tally      Tally  `json:"tally"`
	Objects    []*Row `json:"objects"`
}

// Summarize returns the summary of rows, in their order.
func Summarize(rows []*Row) Summary {
	return Summary{APIVersion: APIVersion, Kind: "Summary", Tally: Count(rows), Objects: rows}
}

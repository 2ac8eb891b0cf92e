// Package report says what was measured: as a table for people, as JSON for
// programs, and as a page of the documentation.
package report

// Row is one measurement.
type Row struct {
	// Name says what was measured.
	Name string `json:"name"`
	// Value is what came out, in Unit.
	Value float64 `json:"value"`
	// Unit of Value and Floor.
	Unit string `json:"unit"`
	// Floor is what the API server alone takes (or gives) for it, measured in the same run; nil when there is none.
	Floor *float64 `json:"floor"`
	// Ratio is Value / Floor; nil when there is no floor.
	Ratio *float64 `json:"ratio"`
	// Budget is the limit that Ratio is to keep, or Value when there is no floor; nil when none was set.
	Budget *float64 `json:"budget"`
	// OK is false when the budget is missed.
	OK bool `json:"ok"`

	atLeast bool // the budget is a lower limit
	section string
	note    string
}

// Of returns a row without floor and budget.
func Of(name string, value float64, unit string) Row {
	return Row{Name: name, Value: value, Unit: unit, OK: true}
}

// Over says what the floor is.
func (r Row) Over(floor float64) Row {
	ratio := r.Value / floor
	r.Floor, r.Ratio = &floor, &ratio
	return r
}

// AtMost sets the budget: the ratio, or the value if there is no floor, must not be larger.
func (r Row) AtMost(budget float64) Row {
	r.Budget, r.OK = &budget, r.judged() <= budget
	return r
}

// AtLeast sets the budget: the ratio, or the value if there is no floor, must not be smaller.
func (r Row) AtLeast(budget float64) Row {
	r.Budget, r.OK, r.atLeast = &budget, r.judged() >= budget, true
	return r
}

// Note adds what a reader should know.
func (r Row) Note(note string) Row {
	r.note = note
	return r
}

// In says to which section the row belongs.
func (r Row) In(section string) Row {
	r.section = section
	return r
}

func (r Row) judged() float64 {
	if r.Ratio != nil {
		return *r.Ratio
	}
	return r.Value
}

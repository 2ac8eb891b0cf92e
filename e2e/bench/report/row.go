// Package report writes the results: as a table for people, as JSON for programs, and as a page of the documentation.
package report

// Row is one measurement.
type Row struct {
	// Name says what was measured.
	Name string `json:"name"`
	// Value is the result, in Unit.
	Value float64 `json:"value"`
	// Unit is the unit of Value and LowerBound.
	Unit string `json:"unit"`
	// LowerBound is what the API server alone takes (or achieves), measured in the same run; nil when there is none.
	LowerBound *float64 `json:"floor"`
	// Ratio is Value / LowerBound; nil when there is no lower bound.
	Ratio *float64 `json:"ratio"`
	// Budget is the limit of Ratio, or of Value when there is no lower bound; nil when none was set.
	Budget *float64 `json:"budget"`
	// OK is false when the budget is missed.
	OK bool `json:"ok"`

	budgetIsMinimum bool // Budget is a minimum
	section         string
	note            string
}

// NewRow returns a row without lower bound and budget.
func NewRow(name string, value float64, unit string) Row {
	return Row{Name: name, Value: value, Unit: unit, OK: true}
}

// WithLowerBound sets the lower bound and the ratio.
func (r Row) WithLowerBound(floor float64) Row {
	ratio := r.Value / floor
	r.LowerBound, r.Ratio = &floor, &ratio
	return r
}

// AtMost sets the budget: the ratio, or the value if there is no lower bound, must not be larger.
func (r Row) AtMost(budget float64) Row {
	r.Budget, r.OK = &budget, r.budgetedValue() <= budget
	return r
}

// AtLeast sets the budget: the ratio, or the value if there is no lower bound, must not be smaller.
func (r Row) AtLeast(budget float64) Row {
	r.Budget, r.OK, r.budgetIsMinimum = &budget, r.budgetedValue() >= budget, true
	return r
}

// WithNote adds a note for the reader.
func (r Row) WithNote(note string) Row {
	r.note = note
	return r
}

// InSection sets the section of the row.
func (r Row) InSection(section string) Row {
	r.section = section
	return r
}

func (r Row) budgetedValue() float64 {
	if r.Ratio != nil {
		return *r.Ratio
	}
	return r.Value
}

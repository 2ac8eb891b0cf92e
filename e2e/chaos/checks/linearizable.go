package checks

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/e2e/chaos/models"
)

// undecidedAfter is how long the search for an order may take. It has found one long before, or there is none; not to
// know is no success.
const undecidedAfter = time.Minute

func checkLinearizable(run *Run, f *findings) {
	for key, ops := range models.Translate(run.Ops, run.Revisions) {
		model := models.Lease()
		if key.Kind == konductorv1.KindSemaphore {
			model = models.Semaphore()
		}
		result, info := porcupine.CheckOperationsVerbose(model, ops, undecidedAfter)
		if result == porcupine.Ok {
			continue
		}
		view := filepath.Join(run.Dir, fmt.Sprintf("%s-%s-%s.html", key.Namespace, key.Kind, key.Name))
		if err := porcupine.VisualizePath(model, info, view); err != nil {
			view = err.Error()
		}
		verdict := "has no order in which every answer is right"
		if result == porcupine.Unknown {
			verdict = "could not be judged within " + undecidedAfter.String()
		}
		f.add(key, "the history of %d operations %s, see %s: %s", len(ops), verdict, view, obstacle(ops, info))
	}
}

// shown is how many operations on each side of the obstacle are told.
const shown = 6

// obstacle tells of the longest order that was found: the operations at its end, and those that have no place after them,
// the first that had to come next before all others. The file that shows everything may be out of reach of who reads this.
func obstacle(ops []porcupine.Operation, info porcupine.LinearizationInfo) string {
	var longest []porcupine.Operation
	for _, partial := range info.PartialLinearizationsOperations() {
		for _, order := range partial {
			if len(order) > len(longest) {
				longest = order
			}
		}
	}
	left := slices.Clone(ops)
	for _, placed := range longest {
		if i := slices.Index(left, placed); i >= 0 {
			left = slices.Delete(left, i, i+1)
		}
	}
	slices.SortFunc(left, func(a, b porcupine.Operation) int { return cmp.Compare(a.Return, b.Return) })
	return fmt.Sprintf("%d of them find their place, the last ones:\n%s\nand these don't:\n%s", len(longest),
		lines(longest[max(0, len(longest)-shown):]), lines(left[:min(shown, len(left))]))
}

func lines(ops []porcupine.Operation) string {
	var text []string
	for _, op := range ops {
		text = append(text, fmt.Sprintf("    %12s to %12s: %v",
			time.Duration(op.Call).Round(time.Microsecond), time.Duration(op.Return).Round(time.Microsecond), op.Input))
	}
	return strings.Join(text, "\n")
}

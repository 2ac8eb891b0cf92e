package checks

import (
	"fmt"
	"path/filepath"
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
		f.add(key, "the history of %d operations %s: %s; see %s", len(ops), verdict, obstacle(info), view)
	}
}

// obstacle says which operation finds no place in the longest order that was found, which is a good place to begin looking.
func obstacle(info porcupine.LinearizationInfo) string {
	var longest []porcupine.Operation
	for _, partial := range info.PartialLinearizationsOperations() {
		for _, order := range partial {
			if len(order) > len(longest) {
				longest = order
			}
		}
	}
	if len(longest) == 0 {
		return "not even the first finds its place"
	}
	last := longest[len(longest)-1]
	return fmt.Sprintf("%d find their place, the last of them %q (%s to %s)", len(longest), last.Input, time.Duration(last.Call), time.Duration(last.Return))
}

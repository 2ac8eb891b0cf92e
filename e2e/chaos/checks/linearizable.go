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
		f.add(key, "the history of %d operations %s: see %s", len(ops), verdict, view)
	}
}

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

// searchTimeout is the maximum time of the search for an order. A search that succeeds takes far less; a search without a result
// counts as a violation.
const searchTimeout = time.Minute

func checkLinearizable(run *CampaignData, f *findings) {
	for key, ops := range models.ToPorcupine(run.Ops, run.Revisions) {
		model := models.LeaseModel()
		if key.Kind == konductorv1.KindSemaphore {
			model = models.SemaphoreModel()
		}
		result, info := porcupine.CheckOperationsVerbose(model, ops, searchTimeout)
		if result == porcupine.Ok {
			continue
		}
		view := filepath.Join(run.OutputDir, fmt.Sprintf("%s-%s-%s.html", key.Namespace, key.Kind, key.Name))
		if err := porcupine.VisualizePath(model, info, view); err != nil {
			view = err.Error()
		}
		verdict := "has no order in which every answer is right"
		if result == porcupine.Unknown {
			verdict = "could not be judged within " + searchTimeout.String()
		}
		f.add(key, "the history of %d operations %s, see %s: %s", len(ops), verdict, view, describeLongestLinearization(ops, info))
	}
}

// maxShownOperations is how many operations are shown on each side of the obstacle.
const maxShownOperations = 6

// describeLongestLinearization describes the longest order that was found: the operations at its end, and those that can't
// follow, first the one that had to come next. The reader may not have access to the file that shows everything.
func describeLongestLinearization(ops []porcupine.Operation, info porcupine.LinearizationInfo) string {
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
		formatOperations(longest[max(0, len(longest)-maxShownOperations):]), formatOperations(left[:min(maxShownOperations, len(left))]))
}

func formatOperations(ops []porcupine.Operation) string {
	var text []string
	for _, op := range ops {
		text = append(text, fmt.Sprintf("    %12s to %12s: %v",
			time.Duration(op.Call).Round(time.Microsecond), time.Duration(op.Return).Round(time.Microsecond), op.Input))
	}
	return strings.Join(text, "\n")
}

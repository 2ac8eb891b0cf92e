package chaos

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/LogicIQ/konductor/e2e/chaos/checks"
	"github.com/LogicIQ/konductor/e2e/chaos/history"
	"github.com/LogicIQ/konductor/e2e/chaos/revisions"
)

// Recheck runs the checks on the output of an earlier campaign in dir, for example after a check was corrected.
func Recheck(dir string) (found []checks.Violation, err error) {
	var report Report
	text, err := os.ReadFile(filepath.Join(dir, reportFile))
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, &report); err != nil {
		return nil, fmt.Errorf("%s: %w", reportFile, err)
	}
	run := checks.CampaignData{StartTime: report.StartTime, OutputDir: dir}
	err = errors.Join(
		decodeJSONLines(filepath.Join(dir, historyFile), func(op history.Op) {
			if op.ID < len(run.Ops) {
				run.Ops[op.ID] = op // its return
				return
			}
			run.Ops = append(run.Ops, op)
		}),
		decodeJSONLines(filepath.Join(dir, revisionsFile), func(r revisions.Revision) { run.Revisions = append(run.Revisions, r) }),
	)
	if err != nil {
		return nil, err
	}
	return checks.RunAll(&run), nil
}

func decodeJSONLines[T any](file string, each func(T)) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	for lines := json.NewDecoder(f); ; {
		var one T
		if err := lines.Decode(&one); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		each(one)
	}
}

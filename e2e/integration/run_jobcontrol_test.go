package integration

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/LogicIQ/konductor/e2e/jobcontrol"
)

// TestRunJobControl runs the scenarios of the table in docs/run.md with koncli run. Package jobcontrol tests env, nohup, timeout
// and flock.
func TestRunJobControl(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs /proc")
	}
	page, err := os.ReadFile("../../docs/run.md")
	if err != nil {
		t.Fatal(err)
	}
	table, err := jobcontrol.ParseTable(string(page))
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range jobcontrol.Scenarios() {
		t.Run(s.Input, func(t *testing.T) {
			w := newTestEnv(t)
			w.startOperator()
			lease := fmt.Sprintf("scene-%d", i)
			w.createLease(lease)
			ctx, cancel := context.WithTimeout(w.ctx, waitTimeout)
			defer cancel()
			tool := fmt.Sprintf("%s -n %s run --lease %s --ttl 20s --", koncliPath, w.namespace, lease)
			dir := t.TempDir()
			outcome, err := s.Play(ctx, dir, []string{"KUBECONFIG=" + w.adminKubeconfig}, tool)
			w.must(err)
			if want := table[s.Input][jobcontrol.KoncliColumn]; !jobcontrol.MatchesCell(want, outcome) {
				stderr, _ := os.ReadFile(filepath.Join(dir, "err"))
				t.Errorf("docs/run.md says %q, and it is %q; stderr: %s", want, outcome, stderr)
			}
			w.waitLeaseFree(lease)
		})
	}
}

package jobcontrol

import (
	"context"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"
)

// scenarioTimeout is the time limit of a scenario. It is far more than needed: the machine may be busy.
const scenarioTimeout = 2 * time.Minute

func TestDocsTable(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the tools are those of Linux")
	}
	page, err := os.ReadFile("../../docs/run.md")
	if err != nil {
		t.Fatal(err)
	}
	table, err := ParseTable(string(page))
	if err != nil {
		t.Fatal(err)
	}
	if len(table) != len(Scenarios()) {
		t.Errorf("the table has %d rows, and there are %d scenes", len(table), len(Scenarios()))
	}
	for _, s := range Scenarios() {
		t.Run(s.Input, func(t *testing.T) {
			t.Parallel()
			got := map[string]string{KoncliColumn: table[s.Input][KoncliColumn]}
			for _, tool := range Tools() {
				got[tool] = table[s.Input][tool]
				if _, err := exec.LookPath(strings.Fields(tool)[0]); err != nil {
					t.Log(err)
					continue
				}
				ctx, cancel := context.WithTimeout(t.Context(), scenarioTimeout)
				outcome, err := s.Play(ctx, t.TempDir(), nil, strings.Replace(tool, "flock FILE", "flock lock", 1))
				cancel()
				if err != nil {
					t.Errorf("%s: %v", tool, err)
				}
				if !MatchesCell(got[tool], outcome) {
					got[tool] = outcome
				}
			}
			if want := s.TableRow(table[s.Input]); s.TableRow(got) != want {
				t.Errorf("docs/run.md has\n%s\nand it should be\n%s", want, s.TableRow(got))
			}
		})
	}
}

// TestEnvMatchesPlainCommand checks that a command behaves the same under env and by itself.
func TestEnvMatchesPlainCommand(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the tools are those of Linux")
	}
	for _, s := range Scenarios() {
		t.Run(s.Input, func(t *testing.T) {
			t.Parallel()
			outcomes := map[string]string{}
			for _, tool := range []string{"", "env"} {
				ctx, cancel := context.WithTimeout(t.Context(), scenarioTimeout)
				defer cancel()
				var err error
				if outcomes[tool], err = s.Play(ctx, t.TempDir(), nil, tool); err != nil {
					t.Fatal(err)
				}
			}
			if outcomes[""] != outcomes["env"] {
				t.Errorf("by itself %q, under env %q", outcomes[""], outcomes["env"])
			}
		})
	}
}

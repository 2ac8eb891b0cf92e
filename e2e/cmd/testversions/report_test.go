package main

import (
	"strings"
	"testing"
)

func TestVersionReport(t *testing.T) {
	for name, tc := range map[string]struct {
		events []string
		want   string
		bad    int
	}{
		"all passed": {[]string{
			`{"Action":"output","Package":"e2e/crd","Test":"A","Output":"quiet\n"}`, `{"Action":"pass","Package":"e2e/crd","Test":"A"}`, `{"Action":"pass","Package":"e2e/crd","Elapsed":2}`,
		}, "ok", 0},
		"one was skipped": {[]string{
			`{"Action":"pass","Package":"e2e/crd","Test":"A"}`, `{"Action":"skip","Package":"e2e/crd","Test":"B"}`, `{"Action":"pass","Package":"e2e/crd"}`,
		}, "SKIPPED", 1},
		"all were skipped":  {[]string{`{"Action":"skip","Package":"e2e/crd","Test":"B"}`, `{"Action":"pass","Package":"e2e/crd"}`}, "SKIPPED", 1},
		"one failed":        {[]string{`{"Action":"output","Package":"e2e/crd","Test":"A","Output":"loud\n"}`, `{"Action":"fail","Package":"e2e/crd","Test":"A"}`, `{"Action":"fail","Package":"e2e/crd"}`}, "FAIL", 1},
		"it didn't compile": {[]string{`{"Action":"build-output","ImportPath":"e2e/crd","Output":"loud\n"}`, `{"Action":"fail","Package":"e2e/crd","FailedBuild":"e2e/crd"}`}, "FAIL", 1},
		"it was cut short":  {[]string{`{"Action":"run","Package":"e2e/crd","Test":"A"}`, `{"Action":"pass","Package":"e2e/crd","Test":"B"}`}, "FAIL", 1},
		"nothing matched":   {[]string{`{"Action":"pass","Package":"e2e/crd"}`}, "NO TESTS", 1},
		"no test files":     {[]string{`{"Action":"skip","Package":"e2e/crd"}`}, "NO TESTS", 1},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			r := newVersionReport("1.32", "v1.32.9", &out)
			if err := r.readEvents(strings.NewReader(strings.Join(tc.events, "\n"))); err != nil {
				t.Fatal(err)
			}
			if bad := r.printSummary(); bad != tc.bad || !strings.Contains(out.String(), "\n  "+tc.want+" ") && !strings.HasPrefix(out.String(), "  "+tc.want+" ") {
				t.Errorf("%d packages did not pass, want %d and %q in:\n%s", bad, tc.bad, tc.want, out.String())
			}
			if strings.Contains(out.String(), "quiet") || strings.Contains(strings.Join(tc.events, ""), "loud") != strings.Contains(out.String(), "loud") {
				t.Errorf("what failing tests say, and only that, is to be printed:\n%s", out.String())
			}
		})
	}
}

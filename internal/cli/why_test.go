package cli

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/LogicIQ/konductor/internal/cli/clierror"
)

func TestWhyAndGraphArgumentErrors(t *testing.T) {
	for mistake, c := range map[string]struct {
		args string
		want string
	}{
		"nothing to ask about":               {"koncli why", "specify an object: koncli why KIND/NAME, for example koncli why job/deploy"},
		"a name alone":                       {"koncli why deploy", `"deploy" has no kind: write KIND/NAME, where KIND is barrier, gate, lease, semaphore, job or pod`},
		"a kind that does not exist":         {"koncli why mutex/x", `there is no kind "mutex": use barrier, gate, lease, semaphore, job or pod`},
		"another's lease":                    {"koncli why leases.coordination.k8s.io/x", `there is no kind "leases.coordination.k8s.io": use barrier, gate, lease, semaphore, job or pod`},
		"a kind without a name":              {"koncli why job/", "the name is missing: koncli why job/NAME"},
		"two objects":                        {"koncli why job/a job/b", `one object at a time, not ["job/a" "job/b"]: koncli why KIND/NAME`},
		"why in a format there is not":       {"koncli why job/a -o table", `-o must be json or yaml, not "table"`},
		"a graph in a format there is not":   {"koncli graph -o svg", `-o must be dot, mermaid, json or yaml, not "svg"`},
		"a graph of something in particular": {"koncli graph job/a", `unknown command "job/a" for "koncli graph"`},
	} {
		t.Run(mistake, func(t *testing.T) {
			got := runCLI(t, strings.Fields(c.args)...)
			if diff := cmp.Diff(cliResult{Err: "error: " + c.want + "\n", Code: clierror.ExitError}, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

package cli

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/rest"
)

func TestWarningsAreHeldBackUntilTheScreenIsFree(t *testing.T) {
	var out strings.Builder
	h := &heldBack{to: rest.NewWarningWriter(&out, rest.WarningWriterOptions{Deduplicate: true})}
	h.HandleWarningHeader(299, "-", "old")
	if got, want := h.lift("Warning: older\nWarning: old\nerror: no such lease\n"), "error: no such lease\n"; got != want {
		t.Errorf("the command said %q, want %q", got, want)
	}
	if out.Len() > 0 {
		t.Errorf("said too early: %q", out.String())
	}
	h.say()
	h.say()
	if diff := cmp.Diff("Warning: old\nWarning: older\n", out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

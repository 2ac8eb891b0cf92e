package printer

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/rest"
)

func TestDeferredWarnings(t *testing.T) {
	var out strings.Builder
	h := &DeferredWarnings{Handler: rest.NewWarningWriter(&out, rest.WarningWriterOptions{Deduplicate: true})}
	h.HandleWarningHeader(299, "-", "old")
	h.HandleWarningHeader(299, "-", "older")
	h.HandleWarningHeader(299, "-", "old")
	if out.Len() > 0 {
		t.Errorf("said too early: %q", out.String())
	}
	h.Flush()
	h.Flush()
	if diff := cmp.Diff("Warning: old\nWarning: older\n", out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

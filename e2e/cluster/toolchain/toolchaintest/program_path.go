// Package toolchaintest provides the pinned programs to tests.
package toolchaintest

import (
	"testing"

	"github.com/LogicIQ/konductor/e2e/cluster/toolchain"
)

// ProgramPath returns the path of a pinned program. It fails the test when there is no program of that name, or it can't be built. The
// first call builds it, which may take minutes.
func ProgramPath(t testing.TB, name string) string {
	t.Helper()
	tools, err := toolchain.Open(t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	path, err := tools.Path(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

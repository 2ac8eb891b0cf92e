package release

import (
	"debug/buildinfo"
	"testing"
)

// TestAProgramThatIsNoReleaseKnowsWhatItWasBuiltFrom shows where "version" looks when nothing was linked in, as after
// "go install": at what the Go toolchain noted.
func TestAProgramThatIsNoReleaseKnowsWhatItWasBuiltFrom(t *testing.T) {
	file := koncli(t)
	info, err := buildinfo.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := info.Main.Version
	if want == "" || want == "(devel)" { // without git there is nothing to note
		want = "v0.0.0-dev"
	}
	checkVersion(t, want, file)
}

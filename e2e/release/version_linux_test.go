package release

import (
	"debug/buildinfo"
	"testing"
)

// TestVersionFromBuildInfo checks that without linker flags, as after "go install", "version" prints the version in the Go
// toolchain's build information.
func TestVersionFromBuildInfo(t *testing.T) {
	file := koncliBinary(t)
	info, err := buildinfo.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := info.Main.Version
	if want == "" || want == "(devel)" { // without git there is no version
		want = "v0.0.0-dev"
	}
	checkVersion(t, want, file)
}

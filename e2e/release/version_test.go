package release

import (
	"debug/buildinfo"
	"path/filepath"
	"testing"
)

// TestAProgramThatIsNoReleaseKnowsWhatItWasBuiltFrom shows where "version" looks when nothing was linked in, as after
// "go install": at what the Go toolchain noted.
func TestAProgramThatIsNoReleaseKnowsWhatItWasBuiltFrom(t *testing.T) {
	file := filepath.Join(t.TempDir(), "koncli")
	output(t, checkout(t), []string{"CGO_ENABLED=0"}, "go", "build", "-o", file, "./plugins/konductor")
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

func checkVersion(t *testing.T, version, name string, args ...string) {
	t.Helper()
	out := output(t, t.TempDir(), []string{"KUBECONFIG=/dev/null"}, name, append(args, "version", "--client")...)
	if want := "Client Version: " + version + "\n"; out != want {
		t.Errorf("%s says %q, want %q", name, out, want)
	}
}

package release

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCopyCheckout(t *testing.T) {
	from := t.TempDir()
	author := []string{"GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com"}
	git := func(dir string, args ...string) string { return mustRun(t, dir, author, "git", args...) }
	git(from, "init", "--quiet")
	for name, content := range map[string]string{".gitignore": "/bin/\n", "same": "1", "changed": "1", "deleted": "1", "sub/same": "1"} {
		writeFile(t, filepath.Join(from, name), content)
	}
	git(from, "add", ".")
	git(from, "commit", "--quiet", "-m", "first")
	git(from, "tag", "v1.0.0")
	writeFile(t, filepath.Join(from, "changed"), "2")
	writeFile(t, filepath.Join(from, "new file"), "1")
	writeFile(t, filepath.Join(from, "bin/built"), "1")
	if err := os.Remove(filepath.Join(from, "deleted")); err != nil {
		t.Fatal(err)
	}

	to := filepath.Join(t.TempDir(), "copy")
	if err := CopyCheckout(t.Context(), from, to); err != nil {
		t.Fatal(err)
	}
	for _, question := range []string{"status --porcelain", "describe --tags --dirty", "rev-parse HEAD"} {
		args := strings.Fields(question)
		if diff := cmp.Diff(git(from, args...), git(to, args...)); diff != "" {
			t.Errorf("git %s (-there +copy):\n%s", question, diff)
		}
	}
	if got := string(readFile(t, filepath.Join(to, "changed"))); got != "2" {
		t.Errorf("the changed file has %q", got)
	}
	if _, err := os.Stat(filepath.Join(to, "bin")); !os.IsNotExist(err) {
		t.Errorf("what git ignores was copied: %v", err)
	}
}

func TestCompareBuilds(t *testing.T) {
	one, two := t.TempDir(), t.TempDir()
	for name, content := range map[string]string{"same": "1", "sub/changed": "1", "only here": "1", "metadata.json": "1"} {
		writeFile(t, filepath.Join(one, name), content)
	}
	for name, content := range map[string]string{"same": "1", "sub/changed": "2", "only there": "1", "metadata.json": "2"} {
		writeFile(t, filepath.Join(two, name), content)
	}
	got, err := CompareBuilds(one, two)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"only here", "only there", "sub/changed"}, got); diff != "" {
		t.Errorf("differences (-want +got):\n%s", diff)
	}
	if _, err := CompareBuilds(one, t.TempDir()); err == nil {
		t.Error("an empty folder passes for a build")
	}
}

package release

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// reproduce calls reproduce.sh in a checkout, for a build that runs a shell script, and returns its output.
func reproduce(t *testing.T, checkout, script string) (string, error) {
	t.Helper()
	program, err := filepath.Abs("reproduce.sh")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "bin/dist", "sh", "-ec", script)
	cmd.Dir = checkout
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// newCheckout returns a checkout with a commit, a tag, uncommitted changes, and an earlier build that git ignores.
func newCheckout(t *testing.T, build map[string]string) (dir string, git func(args ...string) string) {
	t.Helper()
	dir = t.TempDir()
	author := []string{"GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com"}
	git = func(args ...string) string { return mustRun(t, dir, author, "git", args...) }
	git("init", "--quiet")
	for name, content := range map[string]string{".gitignore": "/bin/\n", "same": "1", "changed": "1", "deleted": "1", "sub/same": "1"} {
		writeFile(t, filepath.Join(dir, name), content)
	}
	git("add", ".")
	git("commit", "--quiet", "-m", "first")
	git("tag", "v1.0.0")
	writeFile(t, filepath.Join(dir, "changed"), "2")
	writeFile(t, filepath.Join(dir, "new file"), "1")
	if err := os.Remove(filepath.Join(dir, "deleted")); err != nil {
		t.Fatal(err)
	}
	for name, content := range build {
		writeFile(t, filepath.Join(dir, "bin/dist", name), content)
	}
	return dir, git
}

func TestReproduceCopiesCheckout(t *testing.T) {
	checkout, git := newCheckout(t, map[string]string{"built": "1"})
	report := filepath.Join(t.TempDir(), "report")
	before := git("status", "--porcelain")
	out, err := reproduce(t, checkout, `[ ! -e bin ] # what git ignores isn't copied
		(git status --porcelain; git describe --tags --dirty; git rev-parse HEAD; cat changed) >`+report+`
		mkdir -p bin/dist; printf 1 >bin/dist/built`)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want := before + git("describe", "--tags", "--dirty") + git("rev-parse", "HEAD") + "2"
	if diff := cmp.Diff(want, string(readFile(t, report))); diff != "" {
		t.Errorf("the copy (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(before, git("status", "--porcelain")); diff != "" {
		t.Errorf("the checkout (-before +after):\n%s", diff)
	}
}

func TestReproduceComparesBuilds(t *testing.T) {
	checkout, _ := newCheckout(t, map[string]string{"same": "1", "sub/changed": "1", "only here": "1", "metadata.json": "1"})
	out, err := reproduce(t, checkout, `mkdir -p bin/dist/sub; cd bin/dist; printf 1 >same; printf 2 >sub/changed; printf 1 >'only there'; printf 2 >metadata.json`)
	if err == nil {
		t.Fatalf("a build that differs passes:\n%s", out)
	}
	for name, listed := range map[string]bool{"only here": true, "only there": true, "sub/changed": true, "same": false, "metadata.json": false} {
		if strings.Contains(out, name) != listed {
			t.Errorf("%s: listed should be %t in\n%s", name, listed, out)
		}
	}
	empty, _ := newCheckout(t, map[string]string{})
	if out, err := reproduce(t, empty, "mkdir -p bin/dist"); err == nil {
		t.Errorf("an empty folder passes for a build:\n%s", out)
	}
	if out, err := reproduce(t, checkout, "exit 1"); err == nil {
		t.Errorf("a build that fails passes:\n%s", out)
	}
}

package image

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

func TestALayoutIsWrittenIntoANewFolderOnly(t *testing.T) {
	i, err := Program("logiciq/koncli:dev", "koncli", program(t))
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "layout")
	digest, err := WriteLayout(dir, nil, i)
	if err != nil {
		t.Fatal(err)
	}
	index, err := OpenLayout(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := index.Digest(); err != nil || got != digest {
		t.Errorf("digest %s, %v, want %s", got, err, digest)
	}
	if _, err := WriteLayout(dir, nil, i); err == nil || !strings.Contains(err.Error(), "is not empty") {
		t.Errorf("writing into it once more: %v", err)
	}
	if _, err := WriteLayout(filepath.Join(t.TempDir(), "layout"), nil); err == nil || !strings.Contains(err.Error(), "no architecture") {
		t.Errorf("writing none: %v", err)
	}
}

func TestALayoutOfSomethingElseIsRefused(t *testing.T) {
	bare := filepath.Join(t.TempDir(), "layout")
	if _, err := layout.Write(bare, empty.Index); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct{ dir, want string }{
		"a folder":             {t.TempDir(), "is no OCI layout"},
		"a layout of no index": {bare, "want one index"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := OpenLayout(tc.dir); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q in it", err, tc.want)
			}
		})
	}
}

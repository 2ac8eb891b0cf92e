package image

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

func TestWriteOCILayout(t *testing.T) {
	i, err := ProgramImage("logiciq/koncli:dev", "koncli", buildProgram(t))
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "layout")
	digest, err := WriteOCILayout(dir, nil, i)
	if err != nil {
		t.Fatal(err)
	}
	index, err := OpenOCILayout(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := index.Digest(); err != nil || got != digest {
		t.Errorf("digest %s, %v, want %s", got, err, digest)
	}
	if _, err := WriteOCILayout(dir, nil, i); err == nil || !strings.Contains(err.Error(), "is not empty") {
		t.Errorf("writing into it once more: %v", err)
	}
	if _, err := WriteOCILayout(filepath.Join(t.TempDir(), "layout"), nil); err == nil || !strings.Contains(err.Error(), "no architecture") {
		t.Errorf("writing none: %v", err)
	}
}

func TestOpenOCILayoutErrors(t *testing.T) {
	bare := filepath.Join(t.TempDir(), "layout")
	if _, err := layout.Write(bare, empty.Index); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct{ dir, want string }{
		"a folder":             {t.TempDir(), "is no OCI layout"},
		"a layout of no index": {bare, "want one index"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := OpenOCILayout(tc.dir); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q in it", err, tc.want)
			}
		})
	}
}

package release

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"golang.org/x/mod/modfile"
)

func TestNewBOM(t *testing.T) {
	program := readFile(t, koncliBinary(t))
	checkBOM(t, writeTarGz(t, "kubectl-konductor", program), "1.2.3", func(archive string) []byte {
		bom, err := NewBOM(archive, "1.2.3", commitTime)
		if err != nil {
			t.Fatal(err)
		}
		var one, two bytes.Buffer
		for _, out := range []*bytes.Buffer{&one, &two} {
			if err := WriteBOM(out, bom); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(one.Bytes(), two.Bytes()) {
			t.Error("two bills of the same program differ")
		}
		if bom.Metadata.Timestamp != "2026-03-04T05:06:07Z" {
			t.Errorf("it is of %s", bom.Metadata.Timestamp)
		}
		return one.Bytes()
	})
}

// checkBOM checks the SBOM of an archive against the archive and go.mod.
func checkBOM(t *testing.T, archive, version string, bill func(archive string) []byte) {
	t.Helper()
	var bom cdx.BOM
	if err := cdx.NewBOMDecoder(bytes.NewReader(bill(archive)), cdx.BOMFileFormatJSON).Decode(&bom); err != nil {
		t.Fatal(err)
	}
	program, err := findProgram(archive)
	if err != nil {
		t.Fatal(err)
	}
	main := bom.Metadata.Component
	if main.Version != "v"+version {
		t.Errorf("the program is %s, want v%s", main.Version, version)
	}
	if got := (*main.Hashes)[0].Value; got != sha256Hex(program.Data) {
		t.Errorf("the program's sum is %s, want %s", got, sha256Hex(program.Data))
	}
	got := map[string]string{}
	for _, c := range *bom.Components {
		if c.PackageURL != "pkg:golang/"+c.Name+"@"+c.Version {
			t.Errorf("%s has the package URL %s", c.Name, c.PackageURL)
		}
		got[c.Name] = c.Version
	}
	if got["std"] == "" {
		t.Error("Go's own library is missing")
	}
	for _, module := range []string{"k8s.io/client-go", "sigs.k8s.io/controller-runtime", "github.com/spf13/cobra", "github.com/google/btree"} {
		if want := requiredVersion(t, module); got[module] != want {
			t.Errorf("%s is there as %q, want %q", module, got[module], want)
		}
	}
	// A dependency of tests only is in go.mod and not in the program.
	if v, ok := got["pgregory.net/rapid"]; ok {
		t.Errorf("pgregory.net/rapid %s is named, and is not in the program", v)
	}
}

// requiredVersion returns the version of a module in go.mod.
func requiredVersion(t *testing.T, module string) string {
	t.Helper()
	mod, err := modfile.ParseLax("go.mod", readFile(t, filepath.Join(repoRoot(t), "go.mod")), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range mod.Require {
		if r.Mod.Path == module {
			return r.Mod.Version
		}
	}
	t.Fatalf("go.mod does not require %s", module)
	return ""
}

func TestNewBOMErrors(t *testing.T) {
	for name, tc := range map[string]struct{ archive, want string }{
		"no archive":              {filepath.Join(t.TempDir(), "none.tar.gz"), "no such file"},
		"no program in it":        {writeTarGz(t, "LICENSE", []byte("x")), "has no kubectl-konductor in it"},
		"something that isn't Go": {writeTarGz(t, "kubectl-konductor", []byte("#!/bin/sh\n")), "kubectl-konductor"},
		"no archive at all":       {os.Args[0], "gzip"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := NewBOM(tc.archive, "1.2.3", commitTime); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q in it", err, tc.want)
			}
		})
	}
}

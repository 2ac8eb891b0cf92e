package release

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"fmt"
	"io"
	"path"
	"runtime/debug"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

const (
	repository = "https://github.com/LogicIQ/konductor"
	license    = "Apache-2.0"
)

// NewBOM returns an SBOM, in CycloneDX, of the program in an archive: the modules in the program's build information, which are
// those linked into it, and not all that go.mod requires. version is the release's, without a v; created is the SBOM's time.
func NewBOM(archive, version string, created time.Time) (*cdx.BOM, error) {
	program, err := findProgram(archive)
	if err != nil {
		return nil, err
	}
	built, err := buildinfo.Read(bytes.NewReader(program.Data))
	if err != nil {
		return nil, fmt.Errorf("%s in %s: %w", program.Name, archive, err)
	}
	main := mainComponent(program, built, version)
	components, refs := moduleComponents(built)
	bom := cdx.NewBOM()
	bom.Metadata = &cdx.Metadata{
		Timestamp: created.UTC().Format(time.RFC3339),
		Component: &main,
		Licenses:  &cdx.Licenses{{License: &cdx.License{ID: license}}},
	}
	bom.Components = &components
	bom.Dependencies = &[]cdx.Dependency{{Ref: main.BOMRef, Dependencies: &refs}}
	// The list is complete according to the linker.
	bom.Compositions = &[]cdx.Composition{{Aggregate: cdx.CompositionAggregateComplete, Assemblies: &[]cdx.BOMReference{cdx.BOMReference(main.BOMRef)}}}
	return bom, nil
}

// WriteBOM writes an SBOM as JSON.
func WriteBOM(w io.Writer, bom *cdx.BOM) error {
	return cdx.NewBOMEncoder(w, cdx.BOMFileFormatJSON).SetPretty(true).Encode(bom)
}

func mainComponent(program Entry, built *debug.BuildInfo, version string) cdx.Component {
	sum := sha256.Sum256(program.Data)
	ref := purl(built.Main.Path, "v"+version)
	var settings []cdx.Property
	for _, s := range built.Settings {
		switch s.Key {
		case "GOOS", "GOARCH", "CGO_ENABLED", "vcs.revision", "vcs.time", "vcs.modified":
			settings = append(settings, cdx.Property{Name: "go:build:" + s.Key, Value: s.Value})
		}
	}
	return cdx.Component{
		BOMRef:             ref,
		Type:               cdx.ComponentTypeApplication,
		Name:               path.Base(program.Name),
		Version:            "v" + version,
		PackageURL:         ref,
		Licenses:           &cdx.Licenses{{License: &cdx.License{ID: license}}},
		Hashes:             &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hex.EncodeToString(sum[:])}},
		ExternalReferences: &[]cdx.ExternalReference{{Type: cdx.ERTypeVCS, URL: repository}},
		Properties:         &settings,
	}
}

// moduleComponents returns the modules in a program and their references: the standard library, then the others in the linker's
// order, which is by path.
func moduleComponents(built *debug.BuildInfo) (components []cdx.Component, refs []string) {
	add := func(name, version, sum string) {
		c := cdx.Component{
			BOMRef: purl(name, version), Type: cdx.ComponentTypeLibrary, Name: name, Version: version, PackageURL: purl(name, version),
		}
		if sum != "" {
			c.Properties = &[]cdx.Property{{Name: "go:sum", Value: sum}}
		}
		components, refs = append(components, c), append(refs, c.BOMRef)
	}
	add("std", built.GoVersion, "")
	for _, m := range built.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		add(m.Path, m.Version, m.Sum)
	}
	return components, refs
}

// purl returns the package URL of a module, with which scanners look up vulnerabilities.
func purl(module, version string) string { return "pkg:golang/" + module + "@" + version }

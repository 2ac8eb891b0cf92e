package release

import (
	"strings"
	"testing"
)

const exampleChangelog = `# Changelog

## Unreleased

- new

## 1.2.0 (2026-03-04)

### Added

- gates

## [1.1.0] (2026-01-02)

- barriers

## 1.0.0 (2026-01-01)
`

func TestReleaseNotes(t *testing.T) {
	for version, want := range map[string]string{
		"1.2.0": "### Added\n\n- gates\n",
		"1.1.0": "- barriers\n",
	} {
		if got, err := Notes(exampleChangelog, version); err != nil || got != want {
			t.Errorf("notes of %s: %q, %v, want %q", version, got, err, want)
		}
	}
	for _, version := range []string{"1.0.0", "1.2", "2.0.0", ""} {
		if got, err := Notes(exampleChangelog, version); err == nil || !strings.Contains(err.Error(), "CHANGELOG.md says nothing") {
			t.Errorf("notes of %q: %q, %v, want an error", version, got, err)
		}
	}
}

func TestChangelogHasUnreleasedSection(t *testing.T) {
	if _, err := Notes(string(readFile(t, repoRoot(t)+"/CHANGELOG.md")), "Unreleased"); err != nil {
		t.Error(err)
	}
}

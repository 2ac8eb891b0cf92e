package release

import (
	"fmt"
	"strings"
)

// Notes returns a changelog's section of a version, without a leading v: the text below its second-level heading. Links defined
// at the changelog's end are not resolved.
func Notes(changelog, version string) (string, error) {
	var notes []string
	found := false
	for line := range strings.Lines(changelog) {
		if heading, ok := strings.CutPrefix(line, "## "); ok {
			if found {
				break
			}
			name, _, _ := strings.Cut(strings.TrimSpace(heading), " ")
			found = strings.Trim(name, "[]") == version
			continue
		}
		if found {
			notes = append(notes, line)
		}
	}
	text := strings.TrimSpace(strings.Join(notes, ""))
	if text == "" {
		return "", fmt.Errorf("CHANGELOG.md says nothing of %s: add a section \"## %[1]s (DATE)\"", version)
	}
	return text + "\n", nil
}

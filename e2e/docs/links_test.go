package docs

import (
	"fmt"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/yuin/goldmark/ast"
)

// docsIndex is the first page for readers.
const docsIndex = "docs/README.md"

func TestLinks(t *testing.T) {
	byName := map[string]*page{}
	for _, p := range readPages(t) {
		byName[p.name] = p
	}
	links := 0
	for _, p := range byName {
		for _, link := range p.links() {
			links++
			if err := checkLink(repoRoot(t), byName, p.name, link); err != nil {
				t.Errorf("%s: link to %s: %v", p.name, link, err)
			}
		}
	}
	if links < 50 {
		t.Errorf("only %d links found", links)
	}
}

func TestEveryPageReachableFromIndex(t *testing.T) {
	byName := map[string]*page{}
	for _, p := range readPages(t) {
		byName[p.name] = p
	}
	reached := map[string]bool{docsIndex: true}
	if byName[docsIndex] == nil {
		t.Fatalf("there is no %s", docsIndex)
	}
	for next := []string{docsIndex}; len(next) > 0; next = next[1:] {
		for _, link := range byName[next[0]].links() {
			target, _, _ := strings.Cut(link, "#")
			to := path.Join(path.Dir(next[0]), target)
			if byName[to] != nil && !reached[to] && strings.HasPrefix(to, "docs/") {
				reached[to] = true
				next = append(next, to)
			}
		}
	}
	for name := range byName {
		if strings.HasPrefix(name, "docs/") && !strings.HasPrefix(name, "docs/decisions/") && !reached[name] {
			t.Errorf("no way leads from %s to %s", docsIndex, name)
		}
	}
}

// TestFilesMentionedInCodeExist checks the files that messages and comments mention, as in "see docs/why.md".
func TestFilesMentionedInCodeExist(t *testing.T) {
	named := regexp.MustCompile(`\b(docs|examples)/[a-z0-9/-]+\.(md|yaml|svg)\b`)
	found := 0
	for _, suffix := range []string{".go", ".tpl", ".yaml", ".txt", ".yml"} {
		for _, file := range repoFiles(t, ".", suffix) {
			for _, name := range named.FindAllString(string(readRepoFile(t, file)), -1) {
				found++
				if _, err := os.Stat(filepath.Join(repoRoot(t), name)); err != nil {
					t.Errorf("%s speaks of %s: %v", file, name, err)
				}
			}
		}
	}
	if found < 20 {
		t.Errorf("only %d mentions found", found)
	}
}

// links returns the targets of a page's links and pictures.
func (p *page) links() (all []string) {
	forEachNode(p, func(n *ast.Link) { all = append(all, string(n.Destination)) })
	forEachNode(p, func(n *ast.Image) { all = append(all, string(n.Destination)) })
	return all
}

// checkLink returns the error of a link. External pages are not requested.
func checkLink(base string, byName map[string]*page, from, link string) error {
	u, err := url.Parse(link)
	if err != nil {
		return err
	}
	if u.Scheme != "" {
		if u.Scheme != "https" || u.Host == "" {
			return fmt.Errorf("neither a file here nor an https address")
		}
		return nil
	}
	name := from
	if u.Path != "" {
		name = path.Join(path.Dir(from), u.Path)
		if _, err := os.Stat(filepath.Join(base, name)); err != nil || strings.HasPrefix(name, "..") {
			return fmt.Errorf("there is no %s", name)
		}
	}
	if u.Fragment == "" {
		return nil
	}
	p := byName[name]
	if p == nil {
		return fmt.Errorf("%s is no page, so it has no heading %s", name, u.Fragment)
	}
	if anchors := p.anchors(); !slices.Contains(anchors, u.Fragment) {
		return fmt.Errorf("%s has no such heading, only %s", name, strings.Join(anchors, ", "))
	}
	return nil
}

// anchors returns the names of a page's headings as GitHub makes them: lower case, no punctuation, hyphens for spaces, and a
// number for duplicates.
func (p *page) anchors() (all []string) {
	seen := map[string]int{}
	forEachNode(p, func(n *ast.Heading) {
		name := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsNumber(r):
				return unicode.ToLower(r)
			default:
				return -1
			}
		}, p.plainText(n))
		if before := seen[name]; before > 0 {
			all = append(all, fmt.Sprintf("%s-%d", name, before))
		} else {
			all = append(all, name)
		}
		seen[name]++
	})
	return all
}

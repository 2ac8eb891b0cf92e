package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/text"

	"github.com/LogicIQ/konductor/e2e/manifest"
)

// page is one Markdown file.
type page struct {
	// name is the path relative to the root of the checkout, with slashes.
	name     string
	text     []byte
	document ast.Node
}

// codeBlock is the text between fences.
type codeBlock struct {
	page     *page
	language string
	text     string
	// line is the line of its beginning.
	line int
}

// repoRoot returns the root directory of the checkout.
func repoRoot(t *testing.T) string {
	t.Helper()
	dir, err := manifest.RepoRoot()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// readPages returns all Markdown files of the repository.
func readPages(t *testing.T) (all []*page) {
	t.Helper()
	markdown := goldmark.New(goldmark.WithExtensions(extension.GFM)).Parser()
	for _, name := range repoFiles(t, ".", ".md") {
		source := readRepoFile(t, name)
		all = append(all, &page{name: name, text: source, document: markdown.Parse(text.NewReader(source))})
	}
	if len(all) < 10 {
		t.Fatalf("only %d pages found below %s", len(all), repoRoot(t))
	}
	return all
}

// repoFiles returns the files below a directory whose names end with suffix, as paths relative to the root of the checkout.
// Directories of tools or with build results are left out.
func repoFiles(t *testing.T, below, suffix string) (names []string) {
	t.Helper()
	base := repoRoot(t)
	err := filepath.WalkDir(filepath.Join(base, below), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(base, path)
		if err != nil {
			return err
		}
		if d.IsDir() && name != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "bin" || d.Name() == "node_modules" || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if !d.IsDir() && strings.HasSuffix(name, suffix) {
			names = append(names, filepath.ToSlash(name))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// readRepoFile returns the text of a file of the checkout.
func readRepoFile(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(repoRoot(t), filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// forEachNode calls visit for every node of the page of type N.
func forEachNode[N ast.Node](p *page, visit func(N)) {
	// A walker that returns no error can't fail.
	_ = ast.Walk(p.document, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if n, ok := n.(N); ok && entering {
			visit(n)
		}
		return ast.WalkContinue, nil
	})
}

// codeBlocks returns the fenced blocks of a page.
func (p *page) codeBlocks() (all []codeBlock) {
	forEachNode(p, func(n *ast.FencedCodeBlock) {
		b := codeBlock{page: p, language: string(n.Language(p.text)), text: string(n.Lines().Value(p.text))}
		if n.Lines().Len() > 0 {
			b.line = 1 + strings.Count(string(p.text[:n.Lines().At(0).Start]), "\n")
		}
		all = append(all, b)
	})
	return all
}

// plainText returns the text of a node without markup.
func (p *page) plainText(n ast.Node) string {
	var b strings.Builder
	// It can't fail either.
	_ = ast.Walk(n, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if t, ok := n.(*ast.Text); ok && entering {
			b.Write(t.Segment.Value(p.text))
			if t.SoftLineBreak() {
				b.WriteByte(' ')
			}
		}
		return ast.WalkContinue, nil
	})
	return b.String()
}

// isExcerpt reports whether piece is an excerpt of a text, line by line, whatever its indentation. Empty lines at its ends don't
// count.
func isExcerpt(piece, of string) bool {
	lines := unindent(strings.Split(strings.Trim(piece, "\n"), "\n"))
	all := strings.Split(of, "\n")
	for from := 0; from+len(lines) <= len(all); from++ {
		if strings.Join(unindent(all[from:from+len(lines)]), "\n") == strings.Join(lines, "\n") {
			return true
		}
	}
	return false
}

// unindent removes the common indentation of all lines.
func unindent(lines []string) []string {
	margin := -1
	for _, line := range lines {
		if strings.TrimSpace(line) == "" {
			continue
		}
		if m := len(line) - len(strings.TrimLeft(line, " \t")); margin < 0 || m < margin {
			margin = m
		}
	}
	cut := make([]string, len(lines))
	for i, line := range lines {
		if len(line) >= margin && margin > 0 && strings.TrimSpace(line) != "" {
			line = line[margin:]
		}
		cut[i] = strings.TrimRight(line, " \t")
	}
	return cut
}

func TestIsExcerpt(t *testing.T) {
	const whole = "a:\n  b:\n    - c\n\n    - d\n  e: f\n"
	for what, c := range map[string]struct {
		piece string
		want  bool
	}{
		"as it is":             {"    - c\n\n    - d\n", true},
		"at the margin":        {"- c\n\n- d\n", true},
		"two depths":           {"b:\n  - c\n", true},
		"with a line left out": {"- c\n- d\n", false},
		"changed":              {"- c\n\n- x\n", false},
		"flattened":            {"b:\n- c\n", false},
		"part of a line":       {"e:", false},
	} {
		if got := isExcerpt(c.piece, whole); got != c.want {
			t.Errorf("%s: %v, want %v", what, got, c.want)
		}
	}
}

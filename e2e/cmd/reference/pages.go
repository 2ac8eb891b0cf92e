package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"

	"github.com/LogicIQ/konductor/plugins/konductor/cli"
)

// program is the name under which the commands are described, and alias is how containers call the same program.
const (
	program = "kubectl konductor"
	alias   = "koncli"
)

// section is that of the manual for commands that people call.
const section = "1"

// pages are texts by the name of their file.
type pages map[string]string

// write writes the pages into the folders that are named.
func write(markdown, man string, rest []string) error {
	if len(rest) > 0 || (markdown == "" && man == "") {
		return errors.New("say where to write: -markdown DIR, -man DIR or both")
	}
	if markdown != "" {
		p, err := markdownPages()
		if err != nil {
			return err
		}
		if err := p.replace(markdown, "*.md"); err != nil {
			return err
		}
	}
	if man == "" {
		return nil
	}
	p, err := manPages()
	if err != nil {
		return err
	}
	return p.replace(man, "*."+section)
}

// replace makes these pages the only files of that pattern in a folder.
func (p pages) replace(dir, pattern string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	old, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil {
		return err
	}
	for _, file := range old {
		if _, stays := p[filepath.Base(file)]; stays {
			continue
		}
		if err := os.Remove(file); err != nil {
			return err
		}
	}
	for name, text := range p {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// tree returns the commands. Defaults that are taken from the environment show the variable instead of what it is here.
func tree() (*cobra.Command, error) {
	// KUBECACHEDIR is none that people need to know of.
	for variable, shown := range map[string]string{"HOME": "$HOME", "TMPDIR": "$TMPDIR", "KUBECACHEDIR": ""} {
		was, had := os.LookupEnv(variable)
		if err := os.Setenv(variable, shown); err != nil {
			return nil, err
		}
		defer func() {
			if had {
				_ = os.Setenv(variable, was)
			} else {
				_ = os.Unsetenv(variable)
			}
		}()
	}
	root := cli.Tree(program)
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	root.DisableAutoGenTag = true
	return root, nil
}

// described returns the command and all below it that people are meant to see.
func described(cmd *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{cmd}
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() && !c.IsAdditionalHelpTopicCommand() {
			all = append(all, described(c)...)
		}
	}
	return all
}

// markdownPages returns a page for each command, and as README.md an index with the flags that all have.
func markdownPages() (pages, error) {
	root, err := tree()
	if err != nil {
		return nil, err
	}
	p := pages{index: indexPage(root)}
	// They are on the index, and would be longer than all else on each page.
	root.PersistentFlags().VisitAll(func(f *pflag.Flag) { f.Hidden = true })
	for _, cmd := range described(root)[1:] {
		cmd.Example = unindent(cmd.Example)
		var page bytes.Buffer
		if err := doc.GenMarkdownCustom(cmd, &page, pageOf); err != nil {
			return nil, fmt.Errorf("%s: %w", cmd.CommandPath(), err)
		}
		name := pageOf(strings.ReplaceAll(cmd.CommandPath(), " ", "_") + ".md")
		p[name] = tidy(page.String())
	}
	return p, nil
}

// index is the page that leads to the others.
const index = "README.md"

// pageOf returns the name of the page that cobra calls link: kubectl_konductor_barrier_wait.md is barrier_wait.md here.
func pageOf(link string) string {
	root := strings.ReplaceAll(program, " ", "_")
	if link == root+".md" {
		return index
	}
	return strings.TrimPrefix(link, root+"_")
}

// tidy gives a page one title, marks its examples as lines for a shell, so that they are coloured and checked as such, and
// says where the flags of all commands are.
func tidy(page string) string {
	page = strings.Replace(page, "## ", "# ", 1)
	page = strings.ReplaceAll(page, "\n### ", "\n## ")
	page = strings.Replace(page, "## Examples\n\n```\n", "## Examples\n\n```sh\n", 1)
	page = strings.Replace(page, "## SEE ALSO\n", "## See also\n", 1)
	page = strings.ReplaceAll(page, "\t - ", ": ")
	page = strings.Replace(page, "## Options\n\n", "## Options\n\nBesides [those of all commands]("+index+"#options-of-all-commands):\n\n", 1)
	return strings.TrimRight(page, "\n") + "\n"
}

// unindent takes away the two blanks that lines of examples begin with in the help.
func unindent(example string) string {
	return strings.TrimPrefix(strings.ReplaceAll(example, "\n  ", "\n"), "  ")
}

// indexPage lists the commands as the help does: by group, and then those that are in none.
func indexPage(root *cobra.Command) string {
	var page strings.Builder
	fmt.Fprintf(&page, "# Commands\n\n%s\n\n", root.Long)
	fmt.Fprintf(&page, "`%s` and, in containers, `%s` are the same program. These pages are written\nby `make generate` from the commands themselves; `make man` writes them as man pages to `bin/man`.\n", program, alias)
	groups := append(root.Groups(), &cobra.Group{Title: "All commands"})
	if len(groups) > 1 {
		groups[len(groups)-1].Title = "Others"
	}
	for _, group := range groups {
		title := fmt.Sprintf("\n## %s\n\n| | |\n|---|---|\n", strings.TrimSuffix(group.Title, ":"))
		for _, cmd := range root.Commands() {
			if cmd.GroupID != group.ID || !cmd.IsAvailableCommand() || cmd.IsAdditionalHelpTopicCommand() {
				continue
			}
			for _, c := range described(cmd) {
				name := strings.TrimPrefix(c.CommandPath(), program+" ")
				fmt.Fprintf(&page, "%s| [%s](%s.md) | %s |\n", title, name, strings.ReplaceAll(name, " ", "_"), strings.ReplaceAll(c.Short, "|", `\|`))
				title = ""
			}
		}
	}
	fmt.Fprintf(&page, "\n## Options of all commands\n\n```\n%s```\n", root.PersistentFlags().FlagUsages())
	return page.String()
}

// manPages returns a man page for each command under its name as a plugin, and under that of the program in containers one
// that leads there.
func manPages() (pages, error) {
	root, err := tree()
	if err != nil {
		return nil, err
	}
	p := pages{}
	for _, cmd := range described(root) {
		name := strings.ReplaceAll(cmd.CommandPath(), " ", "-")
		var page bytes.Buffer
		header := &doc.GenManHeader{
			Title: strings.ToUpper(name), Section: section, Source: "Konductor", Manual: "Konductor Manual",
			// Without a date it takes today's.
			Date: &time.Time{},
		}
		if err := doc.GenMan(cmd, header, &page); err != nil {
			return nil, fmt.Errorf("%s: %w", cmd.CommandPath(), err)
		}
		noDate := (&time.Time{}).Format("Jan 2006")
		text := page.String()
		if !strings.Contains(text, `"`+noDate+`"`) {
			return nil, fmt.Errorf("%s: the man page's title has no date to take out", name)
		}
		p[name+"."+section] = strings.Replace(text, `"`+noDate+`"`, `""`, 1)
		called := strings.Replace(name, strings.ReplaceAll(program, " ", "-"), alias, 1)
		p[called+"."+section] = fmt.Sprintf(".so man%s/%s.%s\n", section, name, section)
	}
	return p, nil
}

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

	"github.com/LogicIQ/konductor/internal/cli"
)

// pluginCommand is the name in the descriptions of the commands; binaryName is the name of the same program in containers.
const (
	pluginCommand = "kubectl konductor"
	binaryName    = "koncli"
)

// manSection is the section of the manual for user commands.
const manSection = "1"

// pages are texts by file name.
type pages map[string]string

// writePages writes the pages into the named directories.
func writePages(markdown, man string, rest []string) error {
	if len(rest) > 0 || (markdown == "" && man == "") {
		return errors.New("say where to write: -markdown DIR, -man DIR or both")
	}
	if markdown != "" {
		p, err := markdownPages()
		if err != nil {
			return err
		}
		if err := p.replaceFiles(markdown, "*.md"); err != nil {
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
	return p.replaceFiles(man, "*."+manSection)
}

// replaceFiles writes the pages and deletes all other files of that pattern in dir.
func (p pages) replaceFiles(dir, pattern string) error {
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

// commandTree returns the commands. Defaults that come from the environment show the variable instead of its value.
func commandTree() (*cobra.Command, error) {
	// KUBECACHEDIR is hidden: users need not know it.
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
	root := cli.CommandTree(pluginCommand)
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	root.DisableAutoGenTag = true
	return root, nil
}

// visibleCommands returns the command and all below it that are not hidden.
func visibleCommands(cmd *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{cmd}
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() && !c.IsAdditionalHelpTopicCommand() {
			all = append(all, visibleCommands(c)...)
		}
	}
	return all
}

// markdownPages returns a page for each command, and as README.md an index with the flags that all commands have.
func markdownPages() (pages, error) {
	root, err := commandTree()
	if err != nil {
		return nil, err
	}
	p := pages{indexFile: indexPage(root)}
	// The global flags are on the index, and would be longer than all else on each page.
	root.PersistentFlags().VisitAll(func(f *pflag.Flag) { f.Hidden = true })
	for _, cmd := range visibleCommands(root)[1:] {
		cmd.Example = unindent(cmd.Example)
		var page bytes.Buffer
		if err := doc.GenMarkdownCustom(cmd, &page, pageFileName); err != nil {
			return nil, fmt.Errorf("%s: %w", cmd.CommandPath(), err)
		}
		name := pageFileName(strings.ReplaceAll(cmd.CommandPath(), " ", "_") + ".md")
		p[name] = formatPage(page.String())
	}
	return p, nil
}

// indexFile is the page with the links to the others.
const indexFile = "README.md"

// pageFileName returns the file name for a page that cobra calls link: kubectl_konductor_barrier_wait.md becomes barrier_wait.md.
func pageFileName(link string) string {
	root := strings.ReplaceAll(pluginCommand, " ", "_")
	if link == root+".md" {
		return indexFile
	}
	return strings.TrimPrefix(link, root+"_")
}

// formatPage gives a page one title, marks its examples as shell lines, so that they are highlighted and checked as such, and
// adds a link to the global flags.
func formatPage(page string) string {
	page = strings.Replace(page, "## ", "# ", 1)
	page = strings.ReplaceAll(page, "\n### ", "\n## ")
	page = strings.Replace(page, "## Examples\n\n```\n", "## Examples\n\n```sh\n", 1)
	page = strings.Replace(page, "## SEE ALSO\n", "## See also\n", 1)
	page = strings.ReplaceAll(page, "\t - ", ": ")
	page = strings.Replace(page, "## Options\n\n", "## Options\n\nBesides [those of all commands]("+indexFile+"#options-of-all-commands):\n\n", 1)
	return strings.TrimRight(page, "\n") + "\n"
}

// unindent removes the two spaces with which lines of examples begin in the help.
func unindent(example string) string {
	return strings.TrimPrefix(strings.ReplaceAll(example, "\n  ", "\n"), "  ")
}

// indexPage lists the commands as the help does: by group, and then those without a group.
func indexPage(root *cobra.Command) string {
	var page strings.Builder
	fmt.Fprintf(&page, "# Commands\n\n%s\n\n", root.Long)
	fmt.Fprintf(&page, "`%s` and, in containers, `%s` are the same program. These pages are written\nby `make generate` from the commands themselves; `make man` writes them as man pages to `bin/man`.\n", pluginCommand, binaryName)
	groups := append(root.Groups(), &cobra.Group{Title: "All commands"})
	if len(groups) > 1 {
		groups[len(groups)-1].Title = "Other Commands"
	}
	for _, group := range groups {
		title := fmt.Sprintf("\n## %s\n\n| | |\n|---|---|\n", strings.TrimSuffix(group.Title, ":"))
		for _, cmd := range root.Commands() {
			if cmd.GroupID != group.ID || !cmd.IsAvailableCommand() || cmd.IsAdditionalHelpTopicCommand() {
				continue
			}
			for _, c := range visibleCommands(cmd) {
				name := strings.TrimPrefix(c.CommandPath(), pluginCommand+" ")
				fmt.Fprintf(&page, "%s| [%s](%s.md) | %s |\n", title, name, strings.ReplaceAll(name, " ", "_"), strings.ReplaceAll(c.Short, "|", `\|`))
				title = ""
			}
		}
	}
	fmt.Fprintf(&page, "\n## Options of all commands\n\n```\n%s```\n", root.PersistentFlags().FlagUsages())
	return page.String()
}

// manPages returns a man page for each command under its name as a plugin, and a reference to that page under the name of the
// program in containers.
func manPages() (pages, error) {
	root, err := commandTree()
	if err != nil {
		return nil, err
	}
	p := pages{}
	for _, cmd := range visibleCommands(root) {
		name := strings.ReplaceAll(cmd.CommandPath(), " ", "-")
		var page bytes.Buffer
		header := &doc.GenManHeader{
			Title: strings.ToUpper(name), Section: manSection, Source: "Konductor", Manual: "Konductor Manual",
			// Without a date cobra would use today's.
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
		p[name+"."+manSection] = strings.Replace(text, `"`+noDate+`"`, `""`, 1)
		called := strings.Replace(name, strings.ReplaceAll(pluginCommand, " ", "-"), binaryName, 1)
		p[called+"."+manSection] = fmt.Sprintf(".so man%s/%s.%s\n", manSection, name, manSection)
	}
	return p, nil
}

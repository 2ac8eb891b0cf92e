package tui

import (
	"github.com/charmbracelet/bubbles/key"

	"github.com/LogicIQ/konductor/internal/view"
)

// keyMap are all key bindings; they follow k9s where it has the same function. Each contains its own help.
type keyMap struct {
	down, up, first, last, pageDown, pageUp           key.Binding
	open, back, describe, yaml, help, quit, interrupt key.Binding
	filter, sort, namespace, allNamespaces, suspend   key.Binding
	arrive, release, breakHold, resize, delete        key.Binding
	yes, no, accept                                   key.Binding
}

func newKeyMap() keyMap {
	bind := func(shown, help string, keys ...string) key.Binding {
		return key.NewBinding(key.WithKeys(keys...), key.WithHelp(shown, help))
	}
	return keyMap{
		down: bind("j", "down", "j", "down"), up: bind("k", "up", "k", "up"),
		first: bind("g", "first", "g", "home"), last: bind("G", "last", "G", "end"),
		pageDown: bind("ctrl-f", "page down", "ctrl+f", "pgdown", " "), pageUp: bind("ctrl-b", "page up", "ctrl+b", "pgup"),
		open: bind("enter", "details", "enter"), back: bind("esc", "back", "esc", "alt+esc"),
		describe: bind("d", "describe", "d"), yaml: bind("y", "yaml", "y"),
		help: bind("?", "help", "?"), quit: bind("q", "quit", "q"), interrupt: bind("ctrl-c", "quit", "ctrl+c"),
		filter: bind("/", "filter", "/"), sort: bind("s", "sort", "s"),
		namespace: bind("n", "namespace", "n"), allNamespaces: bind("0", "all namespaces", "0"), suspend: bind("ctrl-z", "suspend", "ctrl+z"),
		arrive: bind("a", "arrive", "a"), release: bind("r", "release", "r"), breakHold: bind("b", "break", "b"),
		resize: bind("z", "resize", "z"), delete: bind("ctrl-d", "delete", "ctrl+d"),
		yes: bind("y", "run it", "y", "Y"), no: bind("n", "cancel", "n", "N", "esc", "q"), accept: bind("enter", "run it", "enter"),
	}
}

// actionBinding returns the binding of a verb.
func (k *keyMap) actionBinding(verb string) key.Binding {
	return map[string]key.Binding{
		view.VerbArrive: k.arrive, view.VerbRelease: k.release, view.VerbBreak: k.breakHold, view.VerbResize: k.resize, view.VerbDelete: k.delete,
	}[verb]
}

// actionBindings returns the bindings of the actions on objects of a kind.
func (k *keyMap) actionBindings(kind string) []key.Binding {
	var bindings []key.Binding
	for _, verb := range view.ActionVerbs(kind) {
		bindings = append(bindings, k.actionBinding(verb))
	}
	return bindings
}

// helpSection is a group of bindings on the help screen.
type helpSection struct {
	title    string
	bindings []key.Binding
}

func (k *keyMap) helpSections() []helpSection {
	describe := func(b key.Binding, help string) key.Binding {
		b.SetHelp(b.Help().Key, help)
		return b
	}
	return []helpSection{
		{"Navigate", []key.Binding{
			describe(k.down, "down (also the arrow key)"), describe(k.up, "up (also the arrow key)"), k.first, k.last, describe(k.pageDown, "page down (also PgDn)"), describe(k.pageUp, "page up (also PgUp)"),
		}},
		{"View", []key.Binding{
			describe(k.open, "details of the selected object"), describe(k.describe, "details (same as enter)"),
			describe(k.yaml, "the object as YAML"), describe(k.back, "back; clears the filter"),
			describe(k.filter, "filter by name, state or holder; !word excludes"), describe(k.sort, "sort by kind, state, name, waiting or age"),
			describe(k.namespace, "switch to another namespace"), k.allNamespaces,
		}},
		{"Act (shows the command, and asks for confirmation)", []key.Binding{
			describe(k.arrive, "arrive at a barrier"), describe(k.release, "release a hold on a lease or semaphore"),
			describe(k.breakHold, "break a lease: end its holder's hold"), describe(k.resize, "resize a semaphore: change its number of permits"),
			describe(k.delete, "delete the object"),
		}},
		{"General", []key.Binding{k.help, k.quit, k.suspend}},
	}
}

package tui

import (
	"github.com/charmbracelet/bubbles/key"

	"github.com/LogicIQ/konductor/plugins/konductor/view"
)

// keys are all bindings, those that people know from k9s first. Each carries its own help.
type keys struct {
	down, up, first, last, pageDown, pageUp           key.Binding
	open, back, describe, yaml, help, quit, interrupt key.Binding
	filter, sort, namespace, all, suspend             key.Binding
	arrive, release, take, resize, remove             key.Binding
	yes, no, accept                                   key.Binding
}

func newKeys() keys {
	bind := func(shown, help string, keys ...string) key.Binding {
		return key.NewBinding(key.WithKeys(keys...), key.WithHelp(shown, help))
	}
	return keys{
		down: bind("j", "down", "j", "down"), up: bind("k", "up", "k", "up"),
		first: bind("g", "first", "g", "home"), last: bind("G", "last", "G", "end"),
		pageDown: bind("ctrl-f", "a page down", "ctrl+f", "pgdown", " "), pageUp: bind("ctrl-b", "a page up", "ctrl+b", "pgup"),
		open: bind("enter", "details", "enter"), back: bind("esc", "back", "esc", "alt+esc"),
		describe: bind("d", "describe", "d"), yaml: bind("y", "yaml", "y"),
		help: bind("?", "help", "?"), quit: bind("q", "quit", "q"), interrupt: bind("ctrl-c", "quit", "ctrl+c"),
		filter: bind("/", "filter", "/"), sort: bind("s", "sort", "s"),
		namespace: bind("n", "namespace", "n"), all: bind("0", "all namespaces", "0"), suspend: bind("ctrl-z", "suspend", "ctrl+z"),
		arrive: bind("a", "arrive", "a"), release: bind("r", "release", "r"), take: bind("b", "break", "b"),
		resize: bind("z", "resize", "z"), remove: bind("ctrl-d", "delete", "ctrl+d"),
		yes: bind("y", "run it", "y", "Y"), no: bind("n", "cancel", "n", "N", "esc", "q"), accept: bind("enter", "run it", "enter"),
	}
}

// action returns the binding of a verb.
func (k *keys) action(verb string) key.Binding {
	return map[string]key.Binding{
		view.Arrive: k.arrive, view.Release: k.release, view.Break: k.take, view.Resize: k.resize, view.Delete: k.remove,
	}[verb]
}

// actions returns the bindings of what can be done to objects of a kind.
func (k *keys) actions(kind string) []key.Binding {
	var bindings []key.Binding
	for _, verb := range view.Verbs(kind) {
		bindings = append(bindings, k.action(verb))
	}
	return bindings
}

// helpSection is a group of bindings on the screen of help.
type helpSection struct {
	title    string
	bindings []key.Binding
}

func (k *keys) sections() []helpSection {
	describe := func(b key.Binding, help string) key.Binding {
		b.SetHelp(b.Help().Key, help)
		return b
	}
	return []helpSection{
		{"Move", []key.Binding{
			describe(k.down, "down; or the arrow"), describe(k.up, "up; or the arrow"), k.first, k.last, describe(k.pageDown, "a page down; or PgDn"), describe(k.pageUp, "a page up; or PgUp"),
		}},
		{"Look", []key.Binding{
			describe(k.open, "the details of the selected object"), describe(k.describe, "the same"),
			describe(k.yaml, "the object as YAML"), describe(k.back, "back; clears the filter"),
			describe(k.filter, "filter: words of name, state or holder; !word: without it"), describe(k.sort, "sort by kind, state, name, waiting, age"),
			describe(k.namespace, "another namespace"), k.all,
		}},
		{"Act, after a confirmation that shows the command", []key.Binding{
			describe(k.arrive, "arrive at a barrier"), describe(k.release, "release a hold of a lease or semaphore"),
			describe(k.take, "break: take a lease away from its holder"), describe(k.resize, "resize: change a semaphore's permits"),
			describe(k.remove, "delete the object"),
		}},
		{"Leave", []key.Binding{k.help, k.quit, k.suspend}},
	}
}

package cli

import (
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func TestWatchArgumentErrors(t *testing.T) {
	for args, want := range map[string]string{
		"koncli watch -o yaml":                                `-o must be json, not "yaml"`,
		"koncli watch --color sometimes":                      `--color: must be auto, always or never, not "sometimes" (see 'koncli watch --help')`,
		"koncli watch --background blue":                      `--background must be auto, dark or light, not "blue"`,
		"koncli wacth":                                        `koncli has no command "wacth": did you mean watch?`,
		"koncli status all --sort-by size":                    `--sort-by must be kind, state, name, waiting or age, not "size"`,
		"koncli status all -w -o yaml":                        `-o must be json with --watch, not "yaml"`,
		"koncli status all -w --field-selector metadata.name": `--watch can't be used with --field-selector: omit one of them`,
	} {
		got := runCLI(t, strings.Fields(args)...)
		if got.Err != "error: "+want+"\n" || got.Code != exitError {
			t.Errorf("%s: exit code %d, %q, want %q", args, got.Code, got.Err, want)
		}
	}
}

func TestRedactedClusterFlags(t *testing.T) {
	a := &app{configFlags: newConfigFlags(io.Discard), displayName: "koncli", color: "auto"}
	root := a.rootCommand()
	var shown []string
	watch, _, err := root.Find([]string{"watch"})
	if err != nil {
		t.Fatal(err)
	}
	watch.RunE = func(cmd *cobra.Command, _ []string) error {
		shown = redactedClusterFlags(cmd.Root().PersistentFlags())
		return nil
	}
	root.SetArgs([]string{"watch", "-n", "etl", "--context=prod", "--token=secret", "--as-group=a", "--as-group=b", "--as=me"})
	if err := root.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The connection itself names the context.
	if want := []string{"--as=me", "--as-group=a", "--as-group=b", "--token=REDACTED"}; !slices.Equal(shown, want) {
		t.Errorf("shown %q, want %q", shown, want)
	}
}

package cli

import (
	"strings"
	"testing"

	"github.com/LogicIQ/konductor/internal/cli/clierror"
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
		if got.Err != "error: "+want+"\n" || got.Code != clierror.ExitError {
			t.Errorf("%s: exit code %d, %q, want %q", args, got.Code, got.Err, want)
		}
	}
}

package cluster

import (
	"io"
	"slices"
	"testing"

	"github.com/spf13/pflag"
)

func TestRedactedFlags(t *testing.T) {
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	NewConnection("test", io.Discard).ConfigFlags.AddFlags(flags)
	if err := flags.Parse([]string{"-n", "etl", "--context=prod", "--token=secret", "--as-group=a", "--as-group=b", "--as=me"}); err != nil {
		t.Fatal(err)
	}
	// The connection itself names the context.
	if shown, want := RedactedFlags(flags), []string{"--as=me", "--as-group=a", "--as-group=b", "--token=REDACTED"}; !slices.Equal(shown, want) {
		t.Errorf("shown %q, want %q", shown, want)
	}
}

package terminal

import (
	"bytes"
	"os"
	"testing"

	"github.com/muesli/termenv"
)

func fakeGetenv(values map[string]string) GetenvFunc {
	return func(name string) string { return values[name] }
}

func TestParseBackgroundResponse(t *testing.T) {
	for answer, dark := range map[string]bool{
		"\x1b]11;rgb:ffff/ffff/ffff\x1b\\\x1b[?62;c": false,
		"\x1b]11;rgb:fafa/fafa/fafa\x07\x1b[?6c":     false,
		"\x1b]11;rgb:0000/0000/0000\x07\x1b[?6c":     true,
		"\x1b]11;rgb:28/2c/34\x07\x1b[?6c":           true,
		"\x1b]11;rgba:fd/f6/e3/ff\x07\x1b[?6c":       false,
		"\x1b]11;rgb:0000/0000/ffff\x07\x1b[?6c":     true, // blue is dark
		"\x1b[?6c":                                   true,
		"":                                           true,
		"\x1b]11;rgb:zz/zz/zz\x07":                   true,
		"\x1b]11;rgb:fffffffffffffffffffff/0/0\x07":  true,
	} {
		if got := parseBackgroundResponse(answer); got != dark {
			t.Errorf("%q is dark: %t, want %t", answer, got, dark)
		}
	}
}

func TestIsASCIIOnly(t *testing.T) {
	for name, c := range map[string]struct {
		env  map[string]string
		want bool
	}{
		"nothing is said":           {nil, false},
		"a UTF-8 locale":            {map[string]string{"LANG": "en_US.UTF-8"}, false},
		"the same in small letters": {map[string]string{"LC_CTYPE": "de_DE.utf8"}, false},
		"the C locale":              {map[string]string{"LANG": "C"}, true},
		"LC_ALL overrules":          {map[string]string{"LC_ALL": "POSIX", "LANG": "en_US.UTF-8"}, true},
		"an old locale":             {map[string]string{"LANG": "de_DE.ISO-8859-1"}, true},
		"the console of Linux":      {map[string]string{"TERM": "linux", "LANG": "en_US.UTF-8"}, true},
	} {
		if got := IsASCIIOnly(fakeGetenv(c.env)); got != c.want {
			t.Errorf("%s: %t, want %t", name, got, c.want)
		}
	}
}

func TestNewRenderer(t *testing.T) {
	for name, c := range map[string]struct {
		when string
		env  map[string]string
		want termenv.Profile
	}{
		"not on a terminal":            {"auto", map[string]string{"TERM": "xterm-256color"}, termenv.Ascii},
		"always":                       {"always", nil, termenv.ANSI256},
		"always, on a good one":        {"always", map[string]string{"COLORTERM": "truecolor"}, termenv.TrueColor},
		"always, in spite of NO_COLOR": {"always", map[string]string{"NO_COLOR": "1"}, termenv.ANSI256},
		"never":                        {"never", map[string]string{"COLORTERM": "truecolor"}, termenv.Ascii},
	} {
		r, err := NewRenderer(&bytes.Buffer{}, c.when, true, fakeGetenv(c.env))
		if err != nil {
			t.Fatal(err)
		}
		if got := r.ColorProfile(); got != c.want {
			t.Errorf("%s: %s, want %s", name, got.Name(), c.want.Name())
		}
	}
	if _, err := NewRenderer(&bytes.Buffer{}, "sometimes", true, fakeGetenv(nil)); err == nil {
		t.Error("sometimes is no time for colours")
	}
}

func TestBrokenPipeContext(t *testing.T) {
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	ctx, leave := BrokenPipeContext(t.Context(), writer)
	defer leave()
	if ctx.Err() != nil {
		t.Fatal("it has ended while somebody could read")
	}
	if err := reader.Close(); err != nil {
		t.Fatal(err)
	}
	<-ctx.Done()
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
}

package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestBundle(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"as two words": {[]string{"runc", "--root", "/r", "create", "--bundle", "/b", "id"}, "/b"},
		"short":        {[]string{"runc", "create", "-b", "/b", "id"}, "/b"},
		"as one word":  {[]string{"runc", "run", "--bundle=/b", "id"}, "/b"},
		"not given":    {[]string{"runc", "create", "id"}, "."},
		"cut off":      {[]string{"runc", "create", "--bundle"}, "."},
	} {
		t.Run(name, func(t *testing.T) {
			if got := bundle(tc.args); got != tc.want {
				t.Errorf("bundle = %q, want %q", got, tc.want)
			}
		})
	}
}

func TestOnlyTheProfileGoes(t *testing.T) {
	for name, tc := range map[string]struct{ before, after string }{
		"with a profile": {
			`{"ociVersion":"1.2.0","linux":{"seccomp":{"defaultAction":"SCMP_ACT_ERRNO"},"resources":{"cpu":{"shares":2}}},"process":{"args":["<a>"],"n":9007199254740993}}`,
			`{"linux":{"resources":{"cpu":{"shares":2}}},"ociVersion":"1.2.0","process":{"args":["\u003ca\u003e"],"n":9007199254740993}}`,
		},
		"without a profile": {`{ "linux": { "resources": null } }`, `{ "linux": { "resources": null } }`},
		"not for Linux":     {`{ "windows": {} }`, `{ "windows": {} }`},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "config.json")
			if err := os.WriteFile(path, []byte(tc.before), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := dropSeccomp(path); err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(path)
			if err != nil || string(got) != tc.after {
				t.Errorf("%s, %v; want %s", got, err, tc.after)
			}
		})
	}
}

package toolchain

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCacheDir(t *testing.T) {
	for name, tc := range map[string]struct {
		env     map[string]string
		want    string
		wantErr bool
	}{
		"KONDUCTOR_CACHE is taken as it is":  {env: map[string]string{"KONDUCTOR_CACHE": "/k", "XDG_CACHE_HOME": "/x", "HOME": "/h"}, want: "/k"},
		"XDG_CACHE_HOME comes before HOME":   {env: map[string]string{"XDG_CACHE_HOME": "/x", "HOME": "/h"}, want: "/x/konductor"},
		"the default is below HOME":          {env: map[string]string{"HOME": "/h"}, want: "/h/.cache/konductor"},
		"without any of them it is an error": {wantErr: true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := cacheDir(func(name string) string { return tc.env[name] })
			if got != tc.want || (err != nil) != tc.wantErr {
				t.Errorf("cacheDir = %q, %v; want %q, error %v", got, err, tc.want, tc.wantErr)
			}
		})
	}
}

func TestCatalogIsPinned(t *testing.T) {
	e2e, err := ModuleRoot()
	if err != nil {
		t.Fatal(err)
	}
	var tools []tool
	for _, k := range pinnedKubernetes() {
		tools = append(tools, catalog(k.folder)...)
	}
	for _, tl := range tools {
		dir := filepath.Join(e2e, "tools", tl.folder)
		version, err := pinnedVersion(dir, tl.module)
		if err != nil || (version == "") != (tl.module == "") {
			t.Errorf("%s: version %q, %v", tl.folder, version, err)
		}
		for _, name := range []string{"GOFLAGS", "GOWORK"} {
			if env := buildEnv([]string{name + "=theirs"}, tl); slices.Contains(env, name+"=theirs") {
				t.Errorf("%s: %s of the caller reaches the build", tl.folder, name)
			}
		}
	}
	names := ToolNames()
	if unique := slices.Compact(slices.Clone(names)); len(unique) != len(names) {
		t.Errorf("two tools have the same name: %v", names)
	}
}

func TestPathUnknownTool(t *testing.T) {
	_, err := (&Toolchain{}).Path(t.Context(), "kubctl")
	if err == nil || !strings.Contains(err.Error(), `"kubctl"`) || !strings.Contains(err.Error(), "kubectl") {
		t.Errorf("error: %v", err)
	}
}

func TestCacheKey(t *testing.T) {
	base := map[string]string{"go.mod": "module m\n", "go.sum": "", "main.go": "package main\n"}
	keyOf := func(t *testing.T, files map[string]string, version, goenv string, tl tool) string {
		t.Helper()
		dir := t.TempDir()
		for name, content := range files {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		k, err := cacheKey(dir, version, goenv, tl)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	with := func(name, content string) map[string]string {
		files := map[string]string{name: content}
		for k, v := range base {
			if _, ok := files[k]; !ok {
				files[k] = v
			}
		}
		return files
	}
	reference := keyOf(t, base, "v1.2.3", "go1 linux amd64", tool{})
	if !strings.HasPrefix(reference, "v1.2.3-") {
		t.Errorf("key %q does not begin with the version", reference)
	}
	for name, tc := range map[string]struct {
		files          map[string]string
		version, goenv string
		tool           tool
		same           bool
	}{
		"the same":              {files: base, same: true},
		"a test of our own":     {files: with("main_test.go", "package main\n"), same: true},
		"a note":                {files: with("README.md", "read me"), same: true},
		"another requirement":   {files: with("go.mod", "module m\n\nrequire x v1\n")},
		"another checksum":      {files: with("go.sum", "x v1 h1:=")},
		"another source":        {files: with("main.go", "package main // changed\n")},
		"one more source":       {files: with("more.go", "package main\n")},
		"another version":       {files: base, version: "v1.2.4"},
		"another Go":            {files: base, goenv: "go2 linux amd64"},
		"another architecture":  {files: base, goenv: "go1 linux arm64"},
		"a build tag":           {files: base, tool: tool{tags: []string{"t"}}},
		"cgo":                   {files: base, tool: tool{cgo: true}},
		"a version stamped in":  {files: base, tool: tool{versionPackages: []string{"p"}}},
		"bytes moved to go.sum": {files: map[string]string{"go.mod": "module ", "go.sum": "m\n", "main.go": "package main\n"}},
	} {
		t.Run(name, func(t *testing.T) {
			version, goenv := tc.version, tc.goenv
			if version == "" {
				version = "v1.2.3"
			}
			if goenv == "" {
				goenv = "go1 linux amd64"
			}
			if got := keyOf(t, tc.files, version, goenv, tc.tool); (got == reference) != tc.same {
				t.Errorf("key %s, reference %s, want the same: %v", got, reference, tc.same)
			}
		})
	}
}

func TestLdflags(t *testing.T) {
	tl := tool{versionPackages: []string{"a/version"}}
	want := "-s -w -X a/version.gitVersion=v1.36.3 -X a/version.gitMajor=1 -X a/version.gitMinor=36 " +
		"-X a/version.gitCommit=unknown -X a/version.gitTreeState=archive"
	if diff := cmp.Diff(want, tl.ldflags("v1.36.3")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestPathConcurrentCallersBuildOnce(t *testing.T) {
	e2e, err := ModuleRoot()
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	builds := 0
	open := func() *Toolchain {
		return &Toolchain{toolsDir: filepath.Join(e2e, "tools"), cacheDir: filepath.Join(t.TempDir(), "cache"), log: func(format string, args ...any) {
			mu.Lock()
			defer mu.Unlock()
			if strings.HasPrefix(fmt.Sprintf(format, args...), "built ") {
				builds++
			}
		}}
	}
	shared := open()
	var callers sync.WaitGroup
	for range 3 {
		callers.Go(func() {
			path, err := shared.Path(t.Context(), "pause")
			if err != nil || !isRegularFile(path) {
				t.Errorf("Path = %q, %v", path, err)
			}
		})
	}
	callers.Wait()
	if builds != 1 {
		t.Errorf("%d builds, want 1", builds)
	}
	left, err := filepath.Glob(filepath.Join(shared.cacheDir, "*", "build-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left in the cache: %v (%v)", left, err)
	}
}

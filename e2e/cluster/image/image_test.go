package image

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// buildProgram builds a Go program for a container.
func buildProgram(t *testing.T, env ...string) string {
	t.Helper()
	dir := t.TempDir()
	source := filepath.Join(dir, "main.go")
	if err := os.WriteFile(source, []byte("package main\n\nfunc main() {}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "program")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", binary, source)
	cmd.Env = append(append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux"), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return binary
}

func TestProgramImage(t *testing.T) {
	binary := buildProgram(t)
	dir := t.TempDir()
	first, second := filepath.Join(dir, "first.tar"), filepath.Join(dir, "second.tar")
	for _, file := range []string{first, second} {
		i, err := ProgramImage("logiciq/koncli:dev", "koncli", binary)
		if err != nil {
			t.Fatal(err)
		}
		if err := WriteArchive(file, i); err != nil {
			t.Fatal(err)
		}
	}
	a, _ := os.ReadFile(first)
	b, _ := os.ReadFile(second)
	if !bytes.Equal(a, b) {
		t.Error("two archives of one program differ")
	}

	img, err := tarball.ImageFromPath(first, nil)
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	got := []any{config.Config.Entrypoint, config.Config.User, config.Architecture, config.Config.Env}
	want := []any{[]string{"/koncli"}, "65532:65532", runtime.GOARCH, []string{"PATH=/:/usr/local/bin:/usr/bin:/bin"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
	files := map[string]string{}
	r := tar.NewReader(mutate.Extract(img))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if !h.ModTime.Equal(epoch()) {
			t.Errorf("%s has the time %s", h.Name, h.ModTime)
		}
		files[h.Name] = h.FileInfo().Mode().String()
	}
	wantFiles := map[string]string{
		"koncli": "-rwxr-xr-x", "etc": "drwxr-xr-x", "etc/passwd": "-rw-r--r--", "etc/group": "-rw-r--r--", "tmp": "dtrwxrwxrwx",
		"etc/ssl": "drwxr-xr-x", "etc/ssl/certs": "drwxr-xr-x", "etc/ssl/certs/ca-certificates.crt": "-rw-r--r--",
	}
	if diff := cmp.Diff(wantFiles, files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestProgramImageRejectsInvalidBinaries(t *testing.T) {
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	other := "arm64"
	if runtime.GOARCH == other {
		other = "amd64"
	}
	for name, tc := range map[string]struct{ binary, want string }{
		"no program at all":        {filepath.Join(t.TempDir(), "none"), "no such file"},
		"a script":                 {script, "not a Linux program: build it with GOOS=linux"},
		"another architecture":     {buildProgram(t, "GOARCH="+other), "not for"},
		"a dynamically linked one": {findDynamicProgram(t), "build it with CGO_ENABLED=0"},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.binary == "" {
				t.Skip("none found on this machine")
			}
			if _, err := ProgramImage("x", "x", tc.binary); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q in it", err, tc.want)
			}
			if IsStatic(tc.binary) {
				t.Error("it passes for static")
			}
		})
	}
}

// findDynamicProgram returns a dynamically linked program of this machine.
func findDynamicProgram(t *testing.T) string {
	t.Helper()
	if runtime.GOOS != "linux" {
		return ""
	}
	path, err := exec.LookPath("ls")
	if err != nil || IsStatic(path) {
		return ""
	}
	return path
}

func TestMultiCallImage(t *testing.T) {
	i, err := MultiCallImage("busybox:1", "busybox", buildProgram(t), []string{"sh", "ls", "busybox"})
	if err != nil {
		t.Fatal(err)
	}
	links := map[string]string{}
	for _, f := range i.Files {
		if f.Link != "" {
			links[f.Path] = f.Link
		}
	}
	if diff := cmp.Diff(map[string]string{"/bin/sh": "/bin/busybox", "/bin/ls": "/bin/busybox"}, links); diff != "" {
		t.Errorf("links (-want +got):\n%s", diff)
	}
}

func TestWriteArchiveInvalidTag(t *testing.T) {
	if err := WriteArchive(filepath.Join(t.TempDir(), "x.tar"), Image{Tag: "UPPER CASE"}); err == nil {
		t.Error("no error for a bad name")
	}
}

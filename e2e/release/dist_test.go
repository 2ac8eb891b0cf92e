// These tests check a release that was built: "make release-snapshot release-test".

//go:build dist

package release

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/LogicIQ/konductor/e2e/cluster/image"
	"github.com/LogicIQ/konductor/e2e/cluster/toolchain/toolchaintest"
)

// distDir returns the directory that "make release-snapshot" writes to.
func distDir(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("KONDUCTOR_DIST")
	if dir == "" {
		t.Fatal("KONDUCTOR_DIST is not set: 'make release-snapshot release-test' builds a release and checks it")
	}
	return dir
}

// readBuiltKrewManifest reads the krew manifest of the build, which lists the archives.
func readBuiltKrewManifest(t *testing.T, dir string) krewPlugin {
	t.Helper()
	p, err := parseKrewManifest(readFile(t, filepath.Join(dir, "krew", "konductor.yaml")))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// archivePath returns the path of the archive that a platform's entry in the manifest refers to.
func (p krewPlatform) archivePath(dir string) string { return filepath.Join(dir, path.Base(p.URI)) }

func (p krewPlatform) isCurrentPlatform() bool { return p.String() == runtime.GOOS+"/"+runtime.GOARCH }

func TestBuiltKrewManifest(t *testing.T) {
	dir := distDir(t)
	p := readBuiltKrewManifest(t, dir)
	// A snapshot's URL contains the tag of the last release, and doesn't exist.
	for i := range p.Spec.Platforms {
		uri := &p.Spec.Platforms[i].URI
		if !strings.HasPrefix(*uri, "https://github.com/LogicIQ/konductor/releases/download/v") {
			t.Errorf("%s is not where releases are", *uri)
		}
	}
	if faults := krewViolations(p); len(faults) > 0 {
		t.Errorf("faults: %s", strings.Join(faults, "\n"))
	}
	for _, pl := range p.Spec.Platforms {
		if got := sha256Hex(readFile(t, pl.archivePath(dir))); got != pl.Sha256 {
			t.Errorf("%s: the archive's sum is %s, the manifest's %s", pl, got, pl.Sha256)
		}
	}
}

func TestArchiveContents(t *testing.T) {
	dir := distDir(t)
	manifest := readBuiltKrewManifest(t, dir)
	license := readFile(t, filepath.Join(repoRoot(t), "LICENSE"))
	for _, pl := range manifest.Spec.Platforms {
		t.Run(pl.String(), func(t *testing.T) {
			entries, err := ReadArchive(pl.archivePath(dir))
			if err != nil {
				t.Fatal(err)
			}
			files := map[string]Entry{}
			for _, e := range entries {
				if path.IsAbs(e.Name) || slices.Contains(strings.Split(e.Name, "/"), "..") {
					t.Errorf("%s leaves the folder it is unpacked in", e.Name)
				}
				if e.ModTime.Unix() != entries[0].ModTime.Unix() {
					t.Errorf("%s is of %s, the first file of %s: want the commit's time", e.Name, e.ModTime, entries[0].ModTime)
				}
				files[e.Name] = e
			}
			if !bytes.Equal(files["LICENSE"].Data, license) {
				t.Error("LICENSE is missing or another")
			}
			for _, name := range []string{"koncli.bash", "_koncli", "koncli.fish", "koncli.ps1"} {
				if !bytes.Contains(files["completions/"+name].Data, []byte("__complete")) {
					t.Errorf("completions/%s is missing or completes nothing", name)
				}
			}
			program, ok := files[pl.Bin]
			if !ok {
				t.Fatalf("%s is missing", pl.Bin)
			}
			checkProgram(t, pl, program)
			if pl.isCurrentPlatform() {
				file := filepath.Join(t.TempDir(), pl.Bin)
				if err := os.WriteFile(file, program.Data, 0o755); err != nil {
					t.Fatal(err)
				}
				checkVersion(t, manifest.Spec.Version, file)
			}
		})
	}
}

// checkProgram checks the build information of a program that may not run here.
func checkProgram(t *testing.T, pl krewPlatform, program Entry) {
	t.Helper()
	if program.Mode.Perm()&0o111 != 0o111 {
		t.Errorf("%s has mode %s", program.Name, program.Mode)
	}
	info, err := buildinfo.Read(bytes.NewReader(program.Data))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, s := range info.Settings {
		got[s.Key] = s.Value
	}
	for key, want := range map[string]string{
		"GOOS": pl.Selector.MatchLabels["os"], "GOARCH": pl.Selector.MatchLabels["arch"], "CGO_ENABLED": "0", "-trimpath": "true",
	} {
		if got[key] != want {
			t.Errorf("%s was built with %s=%s, want %s", program.Name, key, got[key], want)
		}
	}
	if bytes.Contains(program.Data, []byte(repoRoot(t))) {
		t.Errorf("%s names the folder that it was built in", program.Name)
	}
}

func TestChecksums(t *testing.T) {
	dir := distDir(t)
	listed := map[string]bool{}
	for line := range strings.Lines(string(readFile(t, filepath.Join(dir, "checksums.txt")))) {
		want, name, ok := strings.Cut(strings.TrimSpace(line), "  ")
		if !ok {
			t.Fatalf("%q is no line of sha256sum", line)
		}
		file := filepath.Join(dir, name)
		switch {
		case strings.HasSuffix(name, ".oci.tar"):
			file = filepath.Join(dir, "../release/koncli-image.oci.tar")
		case strings.HasSuffix(name, ".tgz"):
			file = filepath.Join(dir, "../release", name)
		}
		if got := sha256Hex(readFile(t, file)); got != want {
			t.Errorf("%s: the sum is %s, listed %s", name, got, want)
		}
		listed[name] = true
	}
	if len(listed) != 6*2+2*3+1+1 {
		t.Errorf("%d files are listed, want an archive and a bill for each of 6 platforms, a package for each of 2 and 3 formats, the image, and the chart:\n%v", len(listed), listed)
	}
	for _, pattern := range []string{"*.tar.gz", "*.zip", "*.deb", "*.rpm", "*.apk", "*.json"} {
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			switch name := filepath.Base(file); name {
			case "artifacts.json", "metadata.json":
			default:
				if !listed[name] {
					t.Errorf("%s is not listed", name)
				}
			}
		}
	}
}

func TestArchiveSBOMs(t *testing.T) {
	dir := distDir(t)
	p := readBuiltKrewManifest(t, dir)
	for _, pl := range p.Spec.Platforms {
		t.Run(pl.String(), func(t *testing.T) {
			checkBOM(t, pl.archivePath(dir), strings.TrimPrefix(p.Spec.Version, "v"), func(archive string) []byte {
				return readFile(t, archive+".cdx.json")
			})
		})
	}
}

func TestImageMatchesArchives(t *testing.T) {
	dir := distDir(t)
	p := readBuiltKrewManifest(t, dir)
	layout := filepath.Join(dir, "../release/image")
	checkImage(t, layout, strings.TrimPrefix(p.Spec.Version, "v"))
	index, err := image.OpenOCILayout(layout)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	archived := map[string]string{}
	for _, pl := range p.Spec.Platforms {
		program, err := findProgram(pl.archivePath(dir))
		if err != nil {
			t.Fatal(err)
		}
		archived[pl.String()] = sha256Hex(program.Data)
	}
	for _, m := range manifest.Manifests {
		img, err := index.Image(m.Digest)
		if err != nil {
			t.Fatal(err)
		}
		if got := sha256Hex(imageFiles(t, img)["koncli"].Data); got != archived[m.Platform.String()] {
			t.Errorf("%s: the image holds another program than the archive", m.Platform)
		}
	}
}

// TestChartImageVersion checks that the chart installs the release's image by default: users need not know its tag.
func TestChartImageVersion(t *testing.T) {
	dir := distDir(t)
	version := readBuiltKrewManifest(t, dir).Spec.Version
	chart := filepath.Join(dir, "../release/konductor-"+strings.TrimPrefix(version, "v")+".tgz")
	home := t.TempDir()
	env := []string{"HOME=" + home, "HELM_CACHE_HOME=" + home, "HELM_CONFIG_HOME=" + home, "HELM_DATA_HOME=" + home}
	for _, helm := range []string{"helm", "helm3"} {
		out := mustRun(t, home, env, toolchaintest.ProgramPath(t, helm), "template", "konductor", chart, "--kube-version", "v1.36.3")
		for _, want := range []string{`image: "logiciq/koncli:` + version + `"`, "app.kubernetes.io/version: " + version} {
			if !strings.Contains(out, want) {
				t.Errorf("%s: the chart doesn't have %s", helm, want)
			}
		}
	}
}

// TestInstallWithKrew lets krew's own checker read the manifest and install every platform's archive, and then kubectl run what
// was installed for this one. Only the URLs of the archives are changed: they are served from here.
func TestInstallWithKrew(t *testing.T) {
	dir := distDir(t)
	server := httptest.NewServer(http.FileServer(http.Dir(dir)))
	defer server.Close()
	p := readBuiltKrewManifest(t, dir)
	manifest := string(readFile(t, filepath.Join(dir, "krew", "konductor.yaml")))
	for _, pl := range p.Spec.Platforms {
		manifest = strings.Replace(manifest, pl.URI, server.URL+"/"+path.Base(pl.URI), 1)
	}
	file := filepath.Join(t.TempDir(), "konductor.yaml")
	writeFile(t, file, manifest)

	bin := t.TempDir()
	for _, name := range []string{"kubectl", "kubectl-krew"} {
		if err := os.Symlink(toolchaintest.ProgramPath(t, name), filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	env := []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "KREW_NO_UPGRADE_CHECK=1"}
	mustRun(t, bin, env, toolchaintest.ProgramPath(t, "validate-krew-manifest"), "-manifest", file)

	root := t.TempDir()
	env = append(env, "KREW_ROOT="+root)
	for _, pl := range p.Spec.Platforms {
		if pl.isCurrentPlatform() {
			mustRun(t, bin, env, "kubectl", "krew", "install", "--manifest", file, "--archive", pl.archivePath(dir))
		}
	}
	env[0] = "PATH=" + filepath.Join(root, "bin") + ":" + bin + ":" + os.Getenv("PATH")
	if out := mustRun(t, bin, env, filepath.Join(bin, "kubectl"), "plugin", "list"); strings.Contains(strings.ToLower(out), "warning") {
		t.Errorf("kubectl plugin list:\n%s", out)
	}
	if out := mustRun(t, bin, env, filepath.Join(bin, "kubectl"), "konductor", "version", "--client"); out != "Client Version: "+p.Spec.Version+"\n" {
		t.Errorf("kubectl konductor version --client: %q", out)
	}
}

// hasTool reports whether a program is installed; with it some tests check more.
func hasTool(ctx context.Context, name string) bool {
	_, err := runCommand(ctx, "", nil, name, "--version")
	return err == nil
}

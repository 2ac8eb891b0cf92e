//go:build dist

package release

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/blakesmith/ar"
	rpmutils "github.com/sassoftware/go-rpmutils"
)

// linuxPackage is the content of a package of any format.
type linuxPackage struct {
	name, arch, license string
	files               map[string]packagedFile // by absolute path; without directories
}

type packagedFile struct {
	link string
	mode int64
	sum  string
}

func TestLinuxPackageContents(t *testing.T) {
	dir := distDir(t)
	p := readBuiltKrewManifest(t, dir)
	programs := map[string]string{}
	for _, pl := range p.Spec.Platforms {
		program, err := findProgram(pl.archivePath(dir))
		if err != nil {
			t.Fatal(err)
		}
		programs[pl.String()] = sha256Hex(program.Data)
	}
	for format, tc := range map[string]struct {
		read          func(*testing.T, string) linuxPackage
		zsh, license  string
		architectures map[string]string
	}{
		"deb": {readDeb, "/usr/share/zsh/vendor-completions/_koncli", "/usr/share/doc/konductor/copyright", map[string]string{"amd64": "amd64", "arm64": "arm64"}},
		"rpm": {readRPM, "/usr/share/zsh/site-functions/_koncli", "/usr/share/licenses/konductor/LICENSE", map[string]string{"amd64": "x86_64", "arm64": "aarch64"}},
		"apk": {readAPK, "/usr/share/zsh/site-functions/_koncli", "/usr/share/licenses/konductor/LICENSE", map[string]string{"amd64": "x86_64", "arm64": "aarch64"}},
	} {
		for arch, called := range tc.architectures {
			t.Run(format+" "+arch, func(t *testing.T) {
				got := tc.read(t, filepath.Join(dir, "konductor_"+p.Spec.Version+"_linux_"+arch+"."+format))
				if got.name != "konductor" || got.arch != called {
					t.Errorf("it is %s for %s, want konductor for %s", got.name, got.arch, called)
				}
				if format != "deb" && got.license != "Apache-2.0" {
					t.Errorf("its licence is %q", got.license)
				}
				if program := got.files["/usr/bin/kubectl-konductor"]; program.sum != programs["linux/"+arch] || program.mode != 0o755 {
					t.Errorf("the program is %+v, want that of the archive, which all may run", program)
				}
				for _, name := range []string{"koncli", "kubectl_complete-konductor"} {
					if link := got.files["/usr/bin/"+name].link; link != "kubectl-konductor" {
						t.Errorf("%s links to %q", name, link)
					}
				}
				for _, name := range []string{
					"/usr/share/bash-completion/completions/koncli", "/usr/share/fish/vendor_completions.d/koncli.fish", tc.zsh, tc.license,
				} {
					if f, ok := got.files[name]; !ok || f.mode != 0o644 {
						t.Errorf("%s is missing or has mode %o", name, f.mode)
					}
				}
				for name := range got.files {
					if !strings.HasPrefix(name, "/usr/") {
						t.Errorf("%s is outside /usr", name)
					}
				}
			})
		}
	}
}

// TestInstallWithDpkg installs the package for this machine with the real dpkg, with a directory as the root, and removes it
// again. Without root's rights it is only unpacked there: dpkg gives the files to root.
func TestInstallWithDpkg(t *testing.T) {
	dir := distDir(t)
	if runtime.GOOS != "linux" || !hasTool(t.Context(), "dpkg") {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs Linux, and dpkg")
		}
		t.Skip("needs Linux, and dpkg")
	}
	version := readBuiltKrewManifest(t, dir).Spec.Version
	root := t.TempDir()
	program := filepath.Join(root, "usr/bin/koncli")
	file := filepath.Join(dir, "konductor_"+version+"_linux_"+runtime.GOARCH+".deb")
	if os.Getuid() != 0 {
		mustRun(t, root, nil, "dpkg", "--extract", file, root)
		checkVersion(t, version, program)
		return
	}
	for _, name := range []string{"var/lib/dpkg/status", "var/lib/dpkg/updates/.keep", "var/lib/dpkg/info/.keep", "var/lib/dpkg/triggers/.keep"} {
		writeFile(t, filepath.Join(root, name), "")
	}
	mustRun(t, root, nil, "dpkg", "--root="+root, "--log=/dev/null", "--install", file)
	checkVersion(t, version, program)
	mustRun(t, root, nil, "dpkg", "--root="+root, "--log=/dev/null", "--purge", "konductor")
	if _, err := os.Lstat(program); !os.IsNotExist(err) {
		t.Errorf("koncli is still there: %v", err)
	}
}

func readDeb(t *testing.T, file string) linuxPackage {
	t.Helper()
	p := linuxPackage{files: map[string]packagedFile{}}
	members := ar.NewReader(bytes.NewReader(readFile(t, file)))
	for {
		h, err := members.Next()
		if errors.Is(err, io.EOF) {
			return p
		}
		if err != nil {
			t.Fatal(err)
		}
		switch strings.TrimSuffix(h.Name, "/") {
		case "control.tar.gz":
			for name, data := range readTar(t, members, nil) {
				if name == "/control" {
					p.name, p.arch = fieldValue(data, "Package: "), fieldValue(data, "Architecture: ")
				}
			}
		case "data.tar.gz":
			readTar(t, members, p.files)
		}
	}
}

func readAPK(t *testing.T, file string) linuxPackage {
	t.Helper()
	p := linuxPackage{files: map[string]packagedFile{}}
	info := readTar(t, bytes.NewReader(readFile(t, file)), p.files)["/.PKGINFO"]
	p.name, p.arch, p.license = fieldValue(info, "pkgname = "), fieldValue(info, "arch = "), fieldValue(info, "license = ")
	delete(p.files, "/.PKGINFO")
	return p
}

// readTar returns the content of the files of a compressed tar by absolute path, and adds them to files.
func readTar(t *testing.T, in io.Reader, files map[string]packagedFile) map[string]string {
	t.Helper()
	zr, err := gzip.NewReader(in)
	if err != nil {
		t.Fatal(err)
	}
	content := map[string]string{}
	err = forEachTarFile(zr, func(h *tar.Header, data []byte) {
		name := "/" + strings.TrimPrefix(strings.TrimPrefix(h.Name, "."), "/")
		content[name] = string(data)
		if h.Name == ".PKGINFO" {
			content["/.PKGINFO"] = string(data)
			return
		}
		if files != nil {
			files[name] = packagedFile{link: h.Linkname, mode: h.Mode & 0o7777, sum: sha256Hex(data)}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// fieldValue returns the rest of the line that begins with key.
func fieldValue(text, key string) string {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, key); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func readRPM(t *testing.T, file string) linuxPackage {
	t.Helper()
	rpm, err := rpmutils.ReadRpm(bytes.NewReader(readFile(t, file)))
	if err != nil {
		t.Fatal(err)
	}
	nevra, err := rpm.Header.GetNEVRA()
	if err != nil {
		t.Fatal(err)
	}
	p := linuxPackage{name: nevra.Name, arch: nevra.Arch, files: map[string]packagedFile{}}
	if p.license, err = rpm.Header.GetString(rpmutils.LICENSE); err != nil {
		t.Fatal(err)
	}
	payload, err := rpm.PayloadReaderExtended()
	if err != nil {
		t.Fatal(err)
	}
	for {
		info, err := payload.Next()
		if errors.Is(err, io.EOF) {
			return p
		}
		if err != nil {
			t.Fatal(err)
		}
		const kind, folder = 0o170000, 0o040000
		if info.Mode()&kind == folder {
			continue
		}
		data, err := io.ReadAll(payload)
		if err != nil {
			t.Fatal(err)
		}
		p.files[info.Name()] = packagedFile{link: info.Linkname(), mode: int64(info.Mode() & 0o7777), sum: sha256Hex(data)}
	}
}

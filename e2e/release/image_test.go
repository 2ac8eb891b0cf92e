package release

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"io"
	"log"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/LogicIQ/konductor/e2e/cluster/image"
)

// maxImageSize is the maximum compressed size of the image of one platform, in bytes.
const maxImageSize = 25e6

// newExampleImage returns an image with a program for this machine, and a small one for another architecture: release-test checks
// real ones for both.
func newExampleImage(t *testing.T, program string) Image {
	t.Helper()
	return Image{
		Tag:      "registry.example/logiciq/koncli:v1.2.3",
		Version:  "1.2.3",
		Revision: "0123456789abcdef0123456789abcdef01234567",
		Created:  commitTime,
		Programs: map[string]string{runtime.GOARCH: program, otherArch(): buildEmptyProgram(t, otherArch())},
		License:  filepath.Join(repoRoot(t), "LICENSE"),
	}
}

func TestImageWrite(t *testing.T) {
	i := newExampleImage(t, koncliBinary(t))
	dir := filepath.Join(t.TempDir(), "image")
	digest, err := i.Write(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := checkImage(t, dir, "1.2.3"); got != digest {
		t.Errorf("the index has digest %s, and Write said %s", got, digest)
	}

	again := filepath.Join(t.TempDir(), "image")
	second, err := i.Write(again)
	if err != nil {
		t.Fatal(err)
	}
	if second != digest {
		t.Errorf("a second build has digest %s, the first %s", second, digest)
	}
	one, two := filepath.Join(t.TempDir(), "one.tar"), filepath.Join(t.TempDir(), "two.tar")
	for file, dir := range map[string]string{one: dir, two: again} {
		if err := image.PackOCIArchive(file, dir); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(readFile(t, one), readFile(t, two)) {
		t.Error("two archives of the same image differ")
	}
	mustRun(t, "", nil, "diff", "-r", dir, again)
}

// checkImage checks everything that the documentation says of a release's image, and returns its digest.
func checkImage(t *testing.T, dir, version string) v1.Hash {
	t.Helper()
	index, err := image.OpenOCILayout(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(index); err != nil {
		t.Errorf("the index is not sound: %v", err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if manifest.MediaType != types.OCIImageIndex {
		t.Errorf("the index is %s", manifest.MediaType)
	}
	checkLabels(t, "the index", manifest.Annotations, version)
	var platforms []string
	for _, m := range manifest.Manifests {
		platforms = append(platforms, m.Platform.String())
		img, err := index.Image(m.Digest)
		if err != nil {
			t.Fatal(err)
		}
		checkPlatformImage(t, m.Platform, img, version)
	}
	if diff := cmp.Diff([]string{"linux/amd64", "linux/arm64"}, platforms); diff != "" {
		t.Errorf("platforms (-want +got):\n%s", diff)
	}
	digest, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

func checkPlatformImage(t *testing.T, platform *v1.Platform, img v1.Image, version string) {
	t.Helper()
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.OS != platform.OS || config.Architecture != platform.Architecture {
		t.Errorf("%s: its configuration says %s/%s", platform, config.OS, config.Architecture)
	}
	if diff := cmp.Diff([]string{"/koncli"}, config.Config.Entrypoint); diff != "" {
		t.Errorf("%s: entrypoint (-want +got):\n%s", platform, diff)
	}
	// With a name, the kubelet would have to read /etc/passwd to check runAsNonRoot, which it doesn't.
	if !regexp.MustCompile(`^[1-9][0-9]*:[1-9][0-9]*$`).MatchString(config.Config.User) {
		t.Errorf("%s: it runs as %q, want a number that isn't root's", platform, config.Config.User)
	}
	checkLabels(t, platform.String(), config.Config.Labels, version)
	manifest, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	size := manifest.Config.Size
	for _, l := range manifest.Layers {
		size += l.Size
	}
	if size > maxImageSize {
		t.Errorf("%s: %.1f MB compressed, want at most %.0f MB", platform, float64(size)/1e6, maxImageSize/1e6)
	}
	t.Logf("%s: %.1f MB compressed", platform, float64(size)/1e6)
	// The image has no shell and no package manager: exactly these files.
	files := imageFiles(t, img)
	modes := map[string]string{}
	for name, e := range files {
		modes[name] = e.Mode.String()
	}
	want := map[string]string{
		"LICENSE": "-rw-r--r--", "etc/group": "-rw-r--r--", "etc/passwd": "-rw-r--r--",
		"etc/ssl/certs/ca-certificates.crt": "-rw-r--r--", "koncli": "-rwxr-xr-x",
	}
	if diff := cmp.Diff(want, modes); diff != "" {
		t.Errorf("%s: files (-want +got):\n%s", platform, diff)
	}
	checkCABundle(t, files["etc/ssl/certs/ca-certificates.crt"].Data)
}

// checkCABundle checks that the bundle can verify commonly used servers.
func checkCABundle(t *testing.T, bundle []byte) {
	t.Helper()
	names := map[string]bool{}
	for block, rest := pem.Decode(bundle); block != nil; block, rest = pem.Decode(rest) {
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatalf("certificate authorities: %v", err)
		}
		if !c.IsCA {
			t.Errorf("%s is no authority", c.Subject)
		}
		names[c.Subject.CommonName] = true
	}
	for _, name := range []string{"ISRG Root X1", "DigiCert Global Root G2", "GTS Root R1", "Amazon Root CA 1"} {
		if !names[name] {
			t.Errorf("%s is not among the %d certificate authorities", name, len(names))
		}
	}
}

func checkLabels(t *testing.T, of string, labels map[string]string, version string) {
	t.Helper()
	for _, key := range []string{"title", "description", "url", "source", "documentation", "licenses", "vendor", "version", "revision", "created"} {
		if labels["org.opencontainers.image."+key] == "" {
			t.Errorf("%s: label org.opencontainers.image.%s is missing", of, key)
		}
	}
	if got := labels["org.opencontainers.image.version"]; got != version {
		t.Errorf("%s: its label says version %q, want %q", of, got, version)
	}
	if _, err := time.Parse(time.RFC3339, labels["org.opencontainers.image.created"]); err != nil {
		t.Errorf("%s: created: %v", of, err)
	}
}

// imageFiles returns the files of an image by path.
func imageFiles(t *testing.T, img v1.Image) map[string]Entry {
	t.Helper()
	files := map[string]Entry{}
	in := mutate.Extract(img)
	defer func() { _ = in.Close() }()
	err := forEachTarFile(in, func(h *tar.Header, data []byte) {
		files[h.Name] = Entry{h.Name, h.FileInfo().Mode(), h.ModTime, data}
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestImageWriteErrors(t *testing.T) {
	license := filepath.Join(repoRoot(t), "LICENSE")
	for name, tc := range map[string]struct {
		image Image
		want  string
	}{
		"no program": {Image{Tag: "x:1", License: license}, "name a program for each architecture"},
		"a program for another architecture": {
			Image{Tag: "x:1", License: license, Programs: map[string]string{runtime.GOARCH: buildEmptyProgram(t, otherArch())}}, "not for",
		},
		"no licence": {
			Image{Tag: "x:1", License: "none", Programs: map[string]string{runtime.GOARCH: buildEmptyProgram(t, runtime.GOARCH)}}, "LICENSE",
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "image")
			if _, err := tc.image.Write(dir); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q in it", err, tc.want)
			}
		})
	}
}

func TestPush(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	i := newExampleImage(t, buildEmptyProgram(t, runtime.GOARCH))
	dir := filepath.Join(t.TempDir(), "image")
	written, err := i.Write(dir)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{host + "/logiciq/koncli:v1.2.3", host + "/logiciq/koncli:v1.2"}
	pushed, err := Push(t.Context(), dir, names...)
	if err != nil {
		t.Fatal(err)
	}
	if pushed != written {
		t.Errorf("pushed %s, written %s", pushed, written)
	}
	for _, n := range names {
		ref, err := name.ParseReference(n)
		if err != nil {
			t.Fatal(err)
		}
		index, err := remote.Index(ref, remote.WithContext(t.Context()))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := index.Digest(); err != nil || got != written {
			t.Errorf("%s has digest %s, %v, want %s", n, got, err, written)
		}
	}
}

func TestPushErrors(t *testing.T) {
	for name, tc := range map[string]struct {
		dir   string
		names []string
		want  string
	}{
		"no name":   {t.TempDir(), nil, "name where to"},
		"no layout": {t.TempDir(), []string{"registry.example/x:1"}, "is no OCI layout"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Push(t.Context(), tc.dir, tc.names...); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q in it", err, tc.want)
			}
		})
	}
}

func sha256Hex(data []byte) string {
	s := sha256.Sum256(data)
	return hex.EncodeToString(s[:])
}

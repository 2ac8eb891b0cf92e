// Package image writes container images of single static programs, without a
// container engine: one layer and a configuration, in an archive that containerd,
// docker and podman load, or for several architectures as an OCI layout. The same
// input gives the same bytes, on every machine.
package image

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Image describes an image.
type Image struct {
	// Tag is the name, such as logiciq/koncli:dev.
	Tag string
	// Arch is the architecture, as Go and OCI call it; this machine's when empty.
	Arch string
	// Files of the only layer; their parent directories are added.
	Files      []File
	Entrypoint []string
	Cmd        []string
	Path       []string // directories of $PATH
	User       string   // as in 65532:65532; empty is root
	Labels     map[string]string
	// Created is the time of creation, in whole seconds; 1970 when zero. The present time would make each build another image: use
	// the time of the commit.
	Created time.Time
}

// File is a file, a link or a directory.
type File struct {
	Path string // absolute
	// Source is a file of this machine to copy. Otherwise Content is written, or Link is the target of a link, or Path is a
	// directory if Mode says so.
	Source  string
	Content []byte
	Link    string
	Mode    fs.FileMode
}

// WriteArchive writes the archive. It replaces file only on success.
func WriteArchive(file string, i Image) error {
	tag, err := name.NewTag(i.Tag, name.WeakValidation)
	if err != nil {
		return fmt.Errorf("image: %w", err)
	}
	img, err := i.build(dockerTypes())
	if err != nil {
		return fmt.Errorf("image %s: %w", i.Tag, err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+"-")
	if err != nil {
		return err
	}
	err = tarball.Write(tag, img, tmp)
	err = cmp.Or(err, tmp.Chmod(0o644), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), file)
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
		return fmt.Errorf("image %s: %w", i.Tag, err)
	}
	return nil
}

// mediaTypes are the media types of an image format, and the compression level of the layer.
type mediaTypes struct {
	manifest, config, layer types.MediaType
	compression             int
}

// dockerTypes returns the types that every version of docker loads. Such an archive stays on the machine: speed matters.
func dockerTypes() mediaTypes {
	return mediaTypes{types.DockerManifestSchema2, types.DockerConfigJSON, types.DockerLayer, gzip.BestSpeed}
}

// ociTypes returns the types that registries serve. The image is written once and pulled often: size matters.
func ociTypes() mediaTypes {
	return mediaTypes{types.OCIManifestSchema1, types.OCIConfigJSON, types.OCILayer, gzip.BestCompression}
}

func (i Image) build(kind mediaTypes) (v1.Image, error) {
	data, err := i.layerBytes()
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(data)), nil
	}, tarball.WithMediaType(kind.layer), tarball.WithCompressionLevel(kind.compression), tarball.WithCompressedCaching)
	if err != nil {
		return nil, err
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, kind.manifest), kind.config)
	img, err := mutate.AppendLayers(base, layer)
	if err != nil {
		return nil, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS = "linux"
	config.Architecture = cmp.Or(i.Arch, runtime.GOARCH)
	config.Created = v1.Time{Time: i.creationTime()}
	config.Config = v1.Config{
		Entrypoint: i.Entrypoint,
		Cmd:        i.Cmd,
		User:       i.User,
		WorkingDir: "/",
		Labels:     i.Labels,
	}
	if len(i.Path) > 0 {
		config.Config.Env = []string{"PATH=" + strings.Join(i.Path, ":")}
	}
	return mutate.ConfigFile(img, config)
}

func (i Image) creationTime() time.Time {
	if i.Created.IsZero() {
		return epoch()
	}
	return i.Created.UTC().Truncate(time.Second)
}

// epoch returns the time of every file: the present time would make each build another image.
func epoch() time.Time { return time.Unix(0, 0).UTC() }

func (i Image) layerBytes() ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, f := range withParentDirs(i.Files) {
		if err := f.write(w); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Path, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// withParentDirs adds the parent directories of files, and sorts all by path.
func withParentDirs(files []File) []File {
	byPath := map[string]File{}
	for _, f := range files {
		byPath[f.Path] = f
		for dir := path.Dir(f.Path); dir != "/"; dir = path.Dir(dir) {
			if _, ok := byPath[dir]; !ok {
				byPath[dir] = File{Path: dir, Mode: fs.ModeDir | 0o755}
			}
		}
	}
	all := make([]File, 0, len(byPath))
	for _, f := range byPath {
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return all
}

func (f File) write(w *tar.Writer) error {
	header := &tar.Header{
		Name:    strings.TrimPrefix(f.Path, "/"),
		Mode:    int64(f.Mode.Perm()),
		ModTime: epoch(),
		Format:  tar.FormatPAX,
	}
	if f.Mode&fs.ModeSticky != 0 {
		header.Mode |= 0o1000
	}
	content := f.Content
	switch {
	case f.Mode.IsDir():
		header.Typeflag = tar.TypeDir
		header.Name += "/"
	case f.Link != "":
		header.Typeflag, header.Linkname, header.Mode = tar.TypeSymlink, f.Link, 0o777
	default:
		header.Typeflag = tar.TypeReg
		if f.Source != "" {
			var err error
			if content, err = os.ReadFile(f.Source); err != nil {
				return err
			}
		}
		header.Size = int64(len(content))
	}
	if err := w.WriteHeader(header); err != nil {
		return err
	}
	_, err := w.Write(content)
	return err
}

// Package image writes container images of single static programs, without a
// container engine: one layer, a configuration, in an archive that containerd,
// docker and podman load. The same input gives the same bytes.
package image

import (
	"archive/tar"
	"bytes"
	"cmp"
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

// Image is what an archive is made of.
type Image struct {
	// Tag is the name, such as logiciq/koncli:dev.
	Tag string
	// Files of the only layer; the folders they are in come by themselves.
	Files      []File
	Entrypoint []string
	Cmd        []string
	Path       []string // folders of $PATH
	User       string   // as in 65532:65532; empty is root
	Labels     map[string]string
}

// File is a file, a link or a folder.
type File struct {
	Path string // absolute
	// Source is a file of this machine to copy. Otherwise Content is written, or
	// Link is linked to, or Path is a folder if Mode says so.
	Source  string
	Content []byte
	Link    string
	Mode    fs.FileMode
}

// Write writes the archive, replacing what is at file only when all is well.
func Write(file string, i Image) error {
	tag, err := name.NewTag(i.Tag, name.WeakValidation)
	if err != nil {
		return fmt.Errorf("image: %w", err)
	}
	img, err := i.build()
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

func (i Image) build() (v1.Image, error) {
	data, err := i.layer()
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(data)), nil
	}, tarball.WithMediaType(types.DockerLayer))
	if err != nil {
		return nil, err
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return nil, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS = "linux"
	config.Architecture = runtime.GOARCH
	config.Created = v1.Time{Time: epoch()}
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

// epoch is the time of every file: what an image was built from is told by its
// content, and a clock would make each build another image.
func epoch() time.Time { return time.Unix(0, 0).UTC() }

func (i Image) layer() ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, f := range withFolders(i.Files) {
		if err := f.write(w); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Path, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// withFolders adds the folders that files are in, and sorts all by path.
func withFolders(files []File) []File {
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

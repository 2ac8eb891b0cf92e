package image

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// refNameAnnotation is the annotation by which tools find an image in a layout.
const refNameAnnotation = "org.opencontainers.image.ref.name"

// WriteOCILayout writes images of one program for several architectures as an OCI layout with one index, and returns the index's
// digest, which is also its digest in a registry. dir must be empty or not exist. Annotations describe the index.
func WriteOCILayout(dir string, annotations map[string]string, images ...Image) (v1.Hash, error) {
	if len(images) == 0 {
		return v1.Hash{}, errors.New("image: no architecture is given")
	}
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return v1.Hash{}, fmt.Errorf("image: %s is not empty: name a new folder", dir)
	}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, i := range images {
		img, err := i.build(ociTypes())
		if err != nil {
			return v1.Hash{}, fmt.Errorf("image %s for %s: %w", i.Tag, i.Arch, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        img,
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: i.Arch}},
		})
	}
	described, ok := mutate.Annotations(index, annotations).(v1.ImageIndex)
	if !ok {
		return v1.Hash{}, errors.New("image: the index can't be annotated")
	}
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return v1.Hash{}, fmt.Errorf("image: %w", err)
	}
	if err := path.AppendIndex(described, layout.WithAnnotations(map[string]string{refNameAnnotation: images[0].Tag})); err != nil {
		return v1.Hash{}, fmt.Errorf("image: %w", err)
	}
	return described.Digest()
}

// OpenOCILayout returns the index that WriteOCILayout wrote into dir.
func OpenOCILayout(dir string) (v1.ImageIndex, error) {
	outer, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, fmt.Errorf("image: %s is no OCI layout: %w", dir, err)
	}
	manifest, err := outer.IndexManifest()
	if err != nil {
		return nil, fmt.Errorf("image: %s: %w", dir, err)
	}
	if n := len(manifest.Manifests); n != 1 || manifest.Manifests[0].MediaType != types.OCIImageIndex {
		return nil, fmt.Errorf("image: %s has %d entries, want one index", dir, n)
	}
	return outer.ImageIndex(manifest.Manifests[0].Digest)
}

// PackOCIArchive writes the layout in dir as one file, an OCI archive, which containerd,
// podman, skopeo and newer docker load.
func PackOCIArchive(file, dir string) (err error) {
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	w := tar.NewWriter(out)
	// WalkDir walks in the order of names, so the same layout gives the same file.
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		return packFile(w, dir, path)
	})
	return errors.Join(err, w.Close())
}

func packFile(w *tar.Writer, dir, path string) error {
	name, err := filepath.Rel(dir, path)
	if err != nil {
		return err
	}
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	err = w.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: filepath.ToSlash(name), Size: info.Size(), Mode: 0o644, ModTime: epoch(), Format: tar.FormatPAX,
	})
	if err != nil {
		return err
	}
	_, err = io.Copy(w, in)
	return err
}

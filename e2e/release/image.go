package release

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/LogicIQ/konductor/e2e/cluster/image"
)

// Image describes the release's image.
type Image struct {
	// Tag is its full name, such as ghcr.io/logiciq/koncli:v1.2.3.
	Tag string
	// Version is the release's, without a v.
	Version string
	// Revision is the commit, Created its time.
	Revision string
	Created  time.Time
	// Programs are the static Linux programs by architecture (GOARCH).
	Programs map[string]string
	// License is the path of the license file.
	License string
}

// Write writes the image into dir as an OCI layout, replacing what is there, and returns the digest of its index.
func (i Image) Write(dir string) (v1.Hash, error) {
	if len(i.Programs) == 0 {
		return v1.Hash{}, errors.New("image: name a program for each architecture, such as linux/amd64=PATH")
	}
	var images []image.Image
	for _, arch := range slices.Sorted(maps.Keys(i.Programs)) {
		one, err := image.ProgramImageFor(arch, i.Tag, "koncli", i.Programs[arch])
		if err != nil {
			return v1.Hash{}, err
		}
		maps.Copy(one.Labels, i.annotations())
		one.Files = append(one.Files, image.File{Path: "/LICENSE", Source: i.License, Mode: 0o644})
		one.Created = i.Created
		images = append(images, one)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return v1.Hash{}, err
	}
	// The temporary directory is next to dir, so that dir is complete at any time.
	tmp, err := os.MkdirTemp(filepath.Dir(dir), ".image-")
	if err != nil {
		return v1.Hash{}, err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	digest, err := image.WriteOCILayout(tmp, i.annotations(), images...)
	if err != nil {
		return v1.Hash{}, err
	}
	return digest, cmp.Or(os.Chmod(tmp, 0o755), os.RemoveAll(dir), os.Rename(tmp, dir))
}

// annotations returns OCI's annotations, for the index and as labels of each image.
func (i Image) annotations() map[string]string {
	const oci = "org.opencontainers.image."
	return map[string]string{
		oci + "title":         "koncli",
		oci + "description":   "Barriers, gates, leases and semaphores for Kubernetes Jobs, CronJobs and Pods",
		oci + "url":           repository,
		oci + "source":        repository,
		oci + "documentation": repository + "/tree/main/docs",
		oci + "licenses":      license,
		oci + "vendor":        "LogicIQ",
		oci + "version":       i.Version,
		oci + "revision":      i.Revision,
		oci + "created":       i.Created.UTC().Format(time.RFC3339),
	}
}

// Push uploads the layout in dir under each name, with the credentials that docker login has stored, and returns the digest,
// which is the same for all names.
func Push(ctx context.Context, dir string, names ...string) (v1.Hash, error) {
	if len(names) == 0 {
		return v1.Hash{}, errors.New("push: name where to, such as ghcr.io/logiciq/koncli:v1.2.3")
	}
	index, err := image.OpenOCILayout(dir)
	if err != nil {
		return v1.Hash{}, err
	}
	for _, n := range names {
		ref, err := name.NewTag(n, name.StrictValidation)
		if err != nil {
			return v1.Hash{}, fmt.Errorf("push: %w", err)
		}
		if err := remote.WriteIndex(ref, index, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)); err != nil {
			return v1.Hash{}, fmt.Errorf("push to %s: %w", ref, err)
		}
	}
	return index.Digest()
}

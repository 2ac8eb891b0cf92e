package release

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"
)

// Entry is a file of an archive.
type Entry struct {
	Name    string
	Mode    fs.FileMode
	ModTime time.Time
	Data    []byte
}

// IsPlugin reports whether the entry is the program.
func (e Entry) IsPlugin() bool {
	return strings.TrimSuffix(path.Base(e.Name), ".exe") == "kubectl-konductor"
}

// ReadArchive returns the regular files of a .tar.gz or .zip, in the archive's order.
func ReadArchive(file string) ([]Entry, error) {
	read := readTarGz
	if strings.HasSuffix(file, ".zip") {
		read = readZip
	}
	entries, err := read(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return entries, nil
}

// findProgram returns the program of an archive.
func findProgram(file string) (Entry, error) {
	entries, err := ReadArchive(file)
	if err != nil {
		return Entry{}, err
	}
	for _, e := range entries {
		if e.IsPlugin() {
			return e, nil
		}
	}
	return Entry{}, fmt.Errorf("%s has no kubectl-konductor in it", file)
}

func readTarGz(file string) ([]Entry, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	zr, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	var entries []Entry
	err = forEachTarFile(zr, func(h *tar.Header, data []byte) {
		if h.Typeflag == tar.TypeReg {
			entries = append(entries, Entry{h.Name, h.FileInfo().Mode(), h.ModTime, data})
		}
	})
	return entries, err
}

// forEachTarFile calls f for every entry of a tar except directories.
func forEachTarFile(in io.Reader, f func(h *tar.Header, data []byte)) error {
	for r := tar.NewReader(in); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if h.Typeflag == tar.TypeDir {
			continue
		}
		data, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		f(h, data)
	}
}

func readZip(file string) ([]Entry, error) {
	r, err := zip.OpenReader(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	var entries []Entry
	for _, f := range r.File {
		if !f.Mode().IsRegular() {
			continue
		}
		data, err := readZipFile(f)
		if err != nil {
			return nil, err
		}
		entries = append(entries, Entry{f.Name, f.Mode(), f.Modified, data})
	}
	return entries, nil
}

func readZipFile(f *zip.File) ([]byte, error) {
	in, err := f.Open()
	if err != nil {
		return nil, err
	}
	defer func() { _ = in.Close() }()
	return io.ReadAll(in)
}

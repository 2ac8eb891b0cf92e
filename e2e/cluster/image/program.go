package image

import (
	"debug/elf"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"runtime"

	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// nonrootUID is the user that images of programs run as.
const nonrootUID = 65532

// ProgramImage returns an image of one static program for this machine's architecture, at /NAME, which is its entrypoint and also
// found on PATH, run by an unprivileged user. There is no shell in it.
func ProgramImage(tag, name, binary string) (Image, error) {
	return ProgramImageFor(runtime.GOARCH, tag, name, binary)
}

// ProgramImageFor is ProgramImage for the architecture arch, as Go and OCI call it.
func ProgramImageFor(arch, tag, name, binary string) (Image, error) {
	if err := checkStatic(binary, arch); err != nil {
		return Image{}, err
	}
	file := "/" + name
	return Image{
		Tag:  tag,
		Arch: arch,
		Files: []File{
			{Path: file, Source: binary, Mode: 0o755},
			{Path: "/etc/passwd", Content: fmt.Appendf(nil, "root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:%d:%[1]d:nonroot:/:/sbin/nologin\n", nonrootUID), Mode: 0o644},
			{Path: "/etc/group", Content: fmt.Appendf(nil, "root:x:0:\nnonroot:x:%d:\n", nonrootUID), Mode: 0o644},
			{Path: "/etc/ssl/certs/ca-certificates.crt", Content: caBundle(), Mode: 0o644},
			{Path: "/tmp", Mode: fs.ModeDir | fs.ModeSticky | 0o777},
		},
		Entrypoint: []string{file},
		Path:       []string{"/", "/usr/local/bin", "/usr/bin", "/bin"},
		User:       fmt.Sprintf("%d:%[1]d", nonrootUID),
		Labels: map[string]string{
			"org.opencontainers.image.title":    name,
			"org.opencontainers.image.ref.name": tag,
			"org.opencontainers.image.source":   "https://github.com/LogicIQ/konductor",
			"org.opencontainers.image.licenses": "Apache-2.0",
		},
	}, nil
}

// MultiCallImage returns an image of one static program with many names in /bin, as busybox has, which runs a shell.
func MultiCallImage(tag, name, binary string, names []string) (Image, error) {
	if err := checkStatic(binary, runtime.GOARCH); err != nil {
		return Image{}, err
	}
	file := path.Join("/bin", name)
	files := []File{
		{Path: file, Source: binary, Mode: 0o755},
		{Path: "/etc/passwd", Content: []byte("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"), Mode: 0o644},
		{Path: "/etc/group", Content: []byte("root:x:0:\nnobody:x:65534:\n"), Mode: 0o644},
		{Path: "/root", Mode: fs.ModeDir | 0o700},
		{Path: "/tmp", Mode: fs.ModeDir | fs.ModeSticky | 0o777},
	}
	for _, n := range names {
		if n != name {
			files = append(files, File{Path: path.Join("/bin", n), Link: file})
		}
	}
	return Image{Tag: tag, Files: files, Cmd: []string{"sh"}, Path: []string{"/usr/local/bin", "/usr/bin", "/bin"}}, nil
}

// checkStatic returns an error for programs that would not start as the only file of an image.
func checkStatic(binary, arch string) error {
	f, err := elf.Open(binary)
	if _, ok := errors.AsType[*fs.PathError](err); ok {
		return err
	}
	if err != nil {
		return fmt.Errorf("%s is not a Linux program: build it with GOOS=linux", binary)
	}
	defer func() { _ = f.Close() }()
	if want := elfMachine(arch); want != f.Machine {
		return fmt.Errorf("%s is for %s, not for %s", binary, f.Machine, want)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("%s is dynamically linked: build it with CGO_ENABLED=0", binary)
		}
	}
	return nil
}

// IsStatic reports whether a program can be the only file of an image for this machine.
func IsStatic(binary string) bool { return checkStatic(binary, runtime.GOARCH) == nil }

func elfMachine(arch string) elf.Machine {
	switch arch {
	case "amd64":
		return elf.EM_X86_64
	case "arm64":
		return elf.EM_AARCH64
	case "riscv64":
		return elf.EM_RISCV
	case "s390x":
		return elf.EM_S390
	case "ppc64le":
		return elf.EM_PPC64
	}
	return elf.EM_NONE
}

// caBundle returns a bundle of certificate authorities as PEM: Mozilla's, in the version that go.mod pins, so that an image does
// not depend on the machine it was built on. An authority that Mozilla trusts only for certificates issued before a date is left
// out: PEM can't express that.
func caBundle() []byte {
	var out []byte
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate})...)
		}
	}
	return out
}

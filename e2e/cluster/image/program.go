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

// nonroot is the user that images of programs run as.
const nonroot = 65532

// Program is an image of one static program for this machine's architecture, at
// /NAME, which is its entrypoint and also found on PATH, run by a user without
// rights. There is no shell in it.
func Program(tag, name, binary string) (Image, error) {
	return ProgramFor(runtime.GOARCH, tag, name, binary)
}

// ProgramFor is Program for the architecture arch, as Go and OCI call it.
func ProgramFor(arch, tag, name, binary string) (Image, error) {
	if err := static(binary, arch); err != nil {
		return Image{}, err
	}
	file := "/" + name
	return Image{
		Tag:  tag,
		Arch: arch,
		Files: []File{
			{Path: file, Source: binary, Mode: 0o755},
			{Path: "/etc/passwd", Content: fmt.Appendf(nil, "root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:%d:%[1]d:nonroot:/:/sbin/nologin\n", nonroot), Mode: 0o644},
			{Path: "/etc/group", Content: fmt.Appendf(nil, "root:x:0:\nnonroot:x:%d:\n", nonroot), Mode: 0o644},
			{Path: "/etc/ssl/certs/ca-certificates.crt", Content: authorities(), Mode: 0o644},
			{Path: "/tmp", Mode: fs.ModeDir | fs.ModeSticky | 0o777},
		},
		Entrypoint: []string{file},
		Path:       []string{"/", "/usr/local/bin", "/usr/bin", "/bin"},
		User:       fmt.Sprintf("%d:%[1]d", nonroot),
		Labels: map[string]string{
			"org.opencontainers.image.title":    name,
			"org.opencontainers.image.ref.name": tag,
			"org.opencontainers.image.source":   "https://github.com/LogicIQ/konductor",
			"org.opencontainers.image.licenses": "Apache-2.0",
		},
	}, nil
}

// MultiCall is an image of one static program that goes by many names in /bin, as
// busybox does, and runs a shell.
func MultiCall(tag, name, binary string, names []string) (Image, error) {
	if err := static(binary, runtime.GOARCH); err != nil {
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

// static refuses programs that would not start in an image of their own.
func static(binary, arch string) error {
	f, err := elf.Open(binary)
	if _, ok := errors.AsType[*fs.PathError](err); ok {
		return err
	}
	if err != nil {
		return fmt.Errorf("%s is not a Linux program: build it with GOOS=linux", binary)
	}
	defer func() { _ = f.Close() }()
	if want := machine(arch); want != f.Machine {
		return fmt.Errorf("%s is for %s, not for %s", binary, f.Machine, want)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("%s is dynamically linked: build it with CGO_ENABLED=0", binary)
		}
	}
	return nil
}

// Static tells whether a program can be the only file of an image for this machine.
func Static(binary string) bool { return static(binary, runtime.GOARCH) == nil }

func machine(arch string) elf.Machine {
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

// authorities is a bundle of certificate authorities as PEM: Mozilla's, in the
// version that go.mod pins, so that an image does not depend on the machine it was
// built on. An authority that Mozilla trusts only for certificates of before some
// day is left out: PEM has no way to say so.
func authorities() []byte {
	var out []byte
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate})...)
		}
	}
	return out
}

package runner

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestIsForeignBinary(t *testing.T) {
	head := func(machine string) string {
		return "\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 11) + machine + strings.Repeat("\x00", 50)
	}
	const riscV = "\xf3\x00"
	own, err := readFileHead("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		formats []string
		head    string
		want    bool
	}{
		"another machine's":                        {[]string{"register", "status"}, head(riscV), true},
		"no program":                               {[]string{"register", "status"}, "\x00\x01\x02\n", true},
		"this machine's":                           {[]string{"register", "status"}, string(own), false},
		"a script":                                 {[]string{"register", "status"}, "exit 7\n", false},
		"another machine's, with an emulator":      {[]string{"register", "status", "qemu-riscv64"}, head(riscV), false},
		"another machine's, where nothing is told": {nil, head(riscV), false},
		"no program, where nothing is told":        {nil, "\x00\x01\x02\n", true},
		"no program, with further formats":         {[]string{"register", "status", "jar"}, "\x00\x01\x02\n", false},
	} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			for _, name := range c.formats {
				if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if got := isForeignBinaryFor(dir, []byte(c.head)); got != c.want {
				t.Errorf("foreign: %t", got)
			}
		})
	}
	if isForeignBinaryFor(filepath.Join(t.TempDir(), "none"), []byte(head(riscV))) {
		t.Error("nobody knows that where there is no such directory")
	}
}

func TestStartForeignBinary(t *testing.T) {
	path := filepath.Join(t.TempDir(), "foreign")
	if err := os.WriteFile(path, []byte("\x00\x01\x02\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	c := shellCommand("")
	c.Path = path
	var failed *StartError
	if _, err := prepareAndStart(c, Callbacks{}); !errors.As(err, &failed) || failed.ExitCode != ExitCodeNotExecutable {
		t.Errorf("%v, want exit code %d", err, ExitCodeNotExecutable)
	}
}

package runner

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"runtime"
	"slices"
)

// nativeMachines returns the machines whose programs the kernel of an architecture can execute; nil: unknown.
func nativeMachines(architecture string) []elf.Machine {
	switch architecture {
	case "amd64":
		return []elf.Machine{elf.EM_X86_64, elf.EM_386}
	case "arm64":
		return []elf.Machine{elf.EM_AARCH64, elf.EM_ARM}
	}
	return nil
}

// binfmtDir is where the kernel lists further formats that were registered.
const binfmtDir = "/proc/sys/fs/binfmt_misc"

// isForeignBinary reports whether a file with this beginning, which has no interpreter line, certainly can't be executed on
// this machine.
func isForeignBinary(head []byte) bool { return isForeignBinaryFor(binfmtDir, head) }

func isForeignBinaryFor(formats string, head []byte) bool {
	const own = 2 // register and status, which are no formats
	entries, err := os.ReadDir(formats)
	told := err == nil && len(entries) >= own
	if told && len(entries) > own {
		return false // Further formats are registered.
	}
	if !bytes.HasPrefix(head, []byte(elf.ELFMAG)) {
		return !isScript(head)
	}
	if !told {
		// As in most containers. Other machines' programs may be executable all the same: their emulators are registered
		// from outside.
		return false
	}
	const machineAt = 18
	native := nativeMachines(runtime.GOARCH)
	if native == nil || len(head) < machineAt+2 {
		return false
	}
	var order binary.ByteOrder = binary.LittleEndian
	if elf.Data(head[elf.EI_DATA]) == elf.ELFDATA2MSB {
		order = binary.BigEndian
	}
	return !slices.Contains(native, elf.Machine(order.Uint16(head[machineAt:])))
}

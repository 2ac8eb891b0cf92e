package konductor

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/user"
	"strconv"
	"strings"
)

// machineID distinguishes the machine or container, and the user, from others with the same hostname. Both parts are empty
// if the operating system has nothing to distinguish them by.
type machineID struct {
	// perBoot is for holds: no other machine or container has it, not even a copy of this one with all its files. It
	// changes when the machine restarts.
	perBoot string
	// persistent is for arrivals, which must count once even after a restart of the machine.
	persistent string
}

// osFacts are identifiers from the operating system; empty: unknown.
type osFacts struct {
	machineID   string // stays the same after a restart; a copy of the machine may have it too
	bootID      string // changes with each restart
	containerID string // of a running container; empty: not in a container
}

// currentMachineID returns the machineID of this machine and user.
func currentMachineID() machineID { return newMachineID(readOSFacts(), userID()) }

func newMachineID(f osFacts, user string) machineID {
	if f.machineID == "" && f.bootID == "" {
		return machineID{}
	}
	m := machineID{perBoot: shortHash(f.machineID, f.bootID, f.containerID, user)}
	m.persistent = m.perBoot
	if f.machineID != "" && f.containerID == "" {
		// Not in a container: its image may have the machine ID of the machine that built it.
		m.persistent = shortHash(f.machineID, user)
	}
	return m
}

// podMachineID returns the machineID of a Pod that works in another namespace than its own, where it can't be bound.
func podMachineID(uid string) machineID {
	return machineID{perBoot: shortHash(uid), persistent: shortHash(uid)}
}

// shortHash returns 8 hex digits that don't reveal what they are made of.
func shortHash(parts ...string) string {
	const length = 4
	sum := sha256.Sum256([]byte("konductor.io\x00" + strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:length])
}

func userID() string {
	if id := os.Getuid(); id >= 0 {
		return strconv.Itoa(id)
	}
	if u, err := user.Current(); err == nil {
		return u.Uid
	}
	return ""
}

// readFirstNonEmpty returns the content, without surrounding space, of the first of these files that has any.
func readFirstNonEmpty(files ...string) string {
	for _, file := range files {
		if b, err := os.ReadFile(file); err == nil {
			if text := strings.TrimSpace(string(b)); text != "" && text != "uninitialized" {
				return text
			}
		}
	}
	return ""
}

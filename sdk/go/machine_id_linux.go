package konductor

import "os"

// hostPIDNamespace is the initial PID namespace of every machine; a container has another.
const hostPIDNamespace = "pid:[4026531836]"

func readOSFacts() osFacts {
	f := osFacts{
		machineID: readFirstNonEmpty("/etc/machine-id", "/var/lib/dbus/machine-id"),
		bootID:    readFirstNonEmpty("/proc/sys/kernel/random/boot_id"),
	}
	if pidNamespace, err := os.Readlink("/proc/self/ns/pid"); err == nil && pidNamespace != hostPIDNamespace {
		f.containerID = pidNamespace
	}
	return f
}

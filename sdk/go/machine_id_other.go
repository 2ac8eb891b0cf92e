//go:build !linux && !darwin && !windows

package konductor

func readOSFacts() osFacts {
	return osFacts{machineID: readFirstNonEmpty("/etc/machine-id", "/etc/hostid", "/var/lib/dbus/machine-id")}
}

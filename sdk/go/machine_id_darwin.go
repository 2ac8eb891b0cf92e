package konductor

import "golang.org/x/sys/unix"

func readOSFacts() osFacts {
	bootID, err := unix.Sysctl("kern.bootsessionuuid")
	if err != nil {
		bootID = ""
	}
	return osFacts{bootID: bootID}
}

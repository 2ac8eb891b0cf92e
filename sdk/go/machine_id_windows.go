package konductor

import "golang.org/x/sys/windows/registry"

func readOSFacts() osFacts {
	key, err := registry.OpenKey(registry.LOCAL_MACHINE, `SOFTWARE\Microsoft\Cryptography`, registry.QUERY_VALUE|registry.WOW64_64KEY)
	if err != nil {
		return osFacts{}
	}
	defer func() { _ = key.Close() }()
	id, _, err := key.GetStringValue("MachineGuid")
	if err != nil {
		id = ""
	}
	return osFacts{machineID: id}
}

package isolate

import (
	"fmt"
	"os"

	"github.com/vishvananda/netlink"
)

func setUpNetwork(o Options) error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("loopback device: %w", err)
	}
	if err := addAddresses(lo, o.Addresses...); err != nil {
		return err
	}
	// The network plugin would create the bridge with the first Pod. The kubelet needs an address that isn't loopback before that.
	bridge := &netlink.Bridge{LinkAttrs: netlink.NewLinkAttrs()}
	bridge.Name = o.Bridge
	if err := netlink.LinkAdd(bridge); err != nil {
		return fmt.Errorf("add bridge %s: %w", o.Bridge, err)
	}
	// By default a bridge takes the lowest address of its ports and changes it as Pods come and go; every Pod then sends to the old
	// address until its neighbor table is updated.
	made, err := netlink.LinkByName(o.Bridge)
	if err != nil {
		return fmt.Errorf("bridge %s: %w", o.Bridge, err)
	}
	if err := netlink.LinkSetHardwareAddr(made, made.Attrs().HardwareAddr); err != nil {
		return fmt.Errorf("keep the address of bridge %s: %w", o.Bridge, err)
	}
	if err := addAddresses(bridge, o.BridgeAddress); err != nil {
		return err
	}
	// A Pod that connects to an address outside of the cluster, or to the missing name server, gets an error at once and every time;
	// otherwise it would wait for a timeout.
	for name, value := range map[string]string{"ip_forward": "1", "icmp_ratelimit": "0"} {
		if err := os.WriteFile("/proc/sys/net/ipv4/"+name, []byte(value), 0o644); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	return nil
}

func addAddresses(link netlink.Link, addresses ...string) error {
	name := link.Attrs().Name
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("set %s up: %w", name, err)
	}
	for _, address := range addresses {
		addr, err := netlink.ParseAddr(address)
		if err != nil {
			return err
		}
		if err := netlink.AddrAdd(link, addr); err != nil {
			return fmt.Errorf("add %s to %s: %w", address, name, err)
		}
	}
	return nil
}

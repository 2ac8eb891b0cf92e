package isolate

// Options of Enter.
type Options struct {
	Hostname string
	// BindMounts maps target paths to directories of the host.
	BindMounts map[string]string
	// KeepVisible lists directories of the host that must stay visible where they are.
	KeepVisible []string
	// Addresses are for the loopback device, such as 10.96.0.1/32.
	Addresses []string
	// Bridge and BridgeAddress are the device that Pods are attached to.
	Bridge, BridgeAddress string
}

package component

import (
	"fmt"
	"path/filepath"
)

// Images that every node has from the start.
const (
	PauseImage = "docker.io/konductor/pause:1"
	ShellImage = "docker.io/library/busybox:1.37"
)

// NodeSetup is what a node needs beyond the control plane.
type NodeSetup struct {
	CgroupRoot  string `json:"cgroupRoot"`  // of all Pods, such as /konductor-1a2b3c
	CNIBin      string `json:"cniBin"`      // directory of the network plugins
	Runc        string `json:"runc"`        // the OCI runtime of containerd
	Snapshotter string `json:"snapshotter"` // overlayfs, or native where that can't be stacked
}

// Containerd returns the container runtime.
func (p Plan) Containerd() Component {
	spec := p.processSpec(Containerd, "--config="+p.Layout.Config("containerd.toml"), "--log-level=warn")
	// containerd looks for its shim and the network plugins' helpers on PATH.
	spec.Env[0] = "PATH=" + filepath.Dir(p.Binaries[Containerd]) + ":" + searchPath
	return Component{Spec: spec, Probe: newSocketProbe(p.Layout.Socket(Containerd))}
}

// Kubelet returns the kubelet.
func (p Plan) Kubelet() Component {
	return Component{
		Spec: p.processSpec(Kubelet,
			"--config="+p.Layout.Config("kubelet.json"),
			"--kubeconfig="+p.Layout.Kubeconfig(Kubelet),
			"--root-dir="+p.Layout.Data(Kubelet),
			"--cert-dir="+p.Layout.path("kubelet-pki"),
			"--hostname-override="+NodeName,
			"--node-ip="+NodeIP,
		),
		Probe: newHTTPProbe(fmt.Sprintf("http://%s/healthz", loopbackAddress(p.Ports.KubeletHealth)), "", ""),
	}
}

// containerdConfig returns containerd's configuration, version 3.
func (p Plan) containerdConfig(n NodeSetup) string {
	return fmt.Sprintf(`version = 3
root = %[1]q
state = %[2]q
imports = []
disabled_plugins = [
  "io.containerd.image-verifier.v1.bindir",
  "io.containerd.internal.v1.opt",
  "io.containerd.internal.v1.tracing",
  "io.containerd.nri.v1.nri",
  "io.containerd.snapshotter.v1.blockfile",
  "io.containerd.snapshotter.v1.erofs",
  "io.containerd.tracing.processor.v1.otlp",
]

[grpc]
  address = %[3]q

[plugins."io.containerd.metadata.v1.bolt"]
  no_sync = true # the data need not survive a power cut

[plugins."io.containerd.cri.v1.images"]
  snapshotter = %[4]q
  stats_collect_period = 600
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = %[5]q

[plugins."io.containerd.cri.v1.runtime"]
  # Without CAP_SYS_RESOURCE an oom_score_adj can't be lowered, and trying fails every sandbox.
  restrict_oom_score_adj = true
  # A profile would be loaded into the kernel of the host, and stay there.
  disable_apparmor = true
  # Nobody looks at them, and asking a hundred shims every second is work.
  stats_collect_period = "1m"
  stats_retention_period = "10m"
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = [%[6]q]
    conf_dir = %[7]q
    use_internal_loopback = true
  [plugins."io.containerd.cri.v1.runtime".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
        BinaryName = %[8]q
        SystemdCgroup = false
`, p.Layout.Data(Containerd), p.Layout.Data("containerd-state"), p.Layout.Socket(Containerd),
		n.Snapshotter, PauseImage, n.CNIBin, p.Layout.Config("cni"), n.Runc)
}

type jsonObject = map[string]any

// kubeletConfig returns a KubeletConfiguration for a node that starts a hundred small Pods at once on two cores.
func (p Plan) kubeletConfig(n NodeSetup) jsonObject {
	return jsonObject{
		"apiVersion":      "kubelet.config.k8s.io/v1beta1",
		"kind":            "KubeletConfiguration",
		"address":         "0.0.0.0",
		"port":            p.Ports.Kubelet,
		"readOnlyPort":    0,
		"healthzPort":     p.Ports.KubeletHealth,
		"authentication":  jsonObject{"anonymous": jsonObject{"enabled": false}, "webhook": jsonObject{"enabled": false}, "x509": jsonObject{"clientCAFile": p.Layout.PKI("ca.crt")}},
		"authorization":   jsonObject{"mode": "AlwaysAllow"}, // only for clients of the authority above: the API server
		"clusterDomain":   "cluster.local",
		"clusterDNS":      []string{DNSServerIP}, // no server there; without an address each Pod gets a warning event
		"resolvConf":      "",
		"maxPods":         250,
		"podLogsDir":      filepath.Join(p.Layout.Logs, "pods"),
		"volumePluginDir": p.Layout.Data("volume-plugins"),

		"containerRuntimeEndpoint": "unix://" + p.Layout.Socket(Containerd),
		"serializeImagePulls":      false,
		// Images come only from "image load": none may be collected.
		"imageGCHighThresholdPercent": 100,
		"imageGCLowThresholdPercent":  99,

		"cgroupDriver":           "cgroupfs",
		"cgroupRoot":             n.CgroupRoot,
		"failCgroupV1":           false,
		"failSwapOn":             false,
		"enforceNodeAllocatable": []string{},
		// The disk of a developer's machine is fuller than a node's: no eviction.
		"evictionHard":           jsonObject{},
		"makeIPTablesUtilChains": false, // no iptables needed

		"kubeAPIQPS":                1000,
		"kubeAPIBurst":              2000,
		"eventRecordQPS":            500,
		"eventBurst":                1000,
		"nodeStatusUpdateFrequency": "5s",
		"nodeStatusReportFrequency": "1m",
		"syncFrequency":             "10s",
		"volumeStatsAggPeriod":      "-1s",
		"runtimeRequestTimeout":     "2m",
		"logging":                   jsonObject{"verbosity": 1},
	}
}

// schedulerConfig removes the client-side limits and shortens the backoff of Pods that did not fit.
func (p Plan) schedulerConfig() jsonObject {
	return jsonObject{
		"apiVersion":               "kubescheduler.config.k8s.io/v1",
		"kind":                     "KubeSchedulerConfiguration",
		"leaderElection":           jsonObject{"leaderElect": false},
		"clientConnection":         jsonObject{"kubeconfig": p.Layout.Kubeconfig(Scheduler), "qps": 1000, "burst": 2000},
		"podInitialBackoffSeconds": 1,
		"podMaxBackoffSeconds":     2,
	}
}

// cniConfig attaches each Pod to one bridge. Pods reach each other and the API server and nothing else.
func (p Plan) cniConfig() jsonObject {
	return jsonObject{
		"cniVersion": "1.0.0",
		"name":       "konductor",
		"plugins": []jsonObject{{
			"type":      "bridge",
			"bridge":    Bridge,
			"isGateway": true,
			"ipMasq":    false,
			"ipam": jsonObject{
				"type":    "host-local",
				"ranges":  [][]jsonObject{{{"subnet": PodCIDR, "gateway": NodeIP}}},
				"routes":  []jsonObject{{"dst": "0.0.0.0/0"}},
				"dataDir": p.Layout.Data("pod-addresses"),
			},
		}},
	}
}

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

// NodeSetup is what a node depends on beyond the control plane.
type NodeSetup struct {
	CgroupRoot  string `json:"cgroupRoot"`  // of all Pods, such as /konductor-1a2b3c
	CNIBin      string `json:"cniBin"`      // folder of the network plugins
	Runc        string `json:"runc"`        // program that containerd runs containers with
	Snapshotter string `json:"snapshotter"` // overlayfs, or native where that can't be stacked
}

// Containerd runs the containers.
func (p Plan) Containerd() Component {
	spec := p.spec(Containerd, "--config="+p.Layout.Config("containerd.toml"), "--log-level=warn")
	// containerd looks for its shim and the network plugins' helpers on PATH.
	spec.Env[0] = "PATH=" + filepath.Dir(p.Binaries[Containerd]) + ":" + path
	return Component{Spec: spec, Probe: socketProbe(p.Layout.Socket(Containerd))}
}

// Kubelet runs Pods.
func (p Plan) Kubelet() Component {
	return Component{
		Spec: p.spec(Kubelet,
			"--config="+p.Layout.Config("kubelet.json"),
			"--kubeconfig="+p.Layout.Kubeconfig(Kubelet),
			"--root-dir="+p.Layout.Data(Kubelet),
			"--cert-dir="+p.Layout.path("kubelet-pki"),
			"--hostname-override="+NodeName,
			"--node-ip="+NodeIP,
		),
		Probe: httpProbe(fmt.Sprintf("http://%s/healthz", onLoopback(p.Ports.KubeletHealth)), "", ""),
	}
}

// containerdConfig is containerd's configuration, version 3.
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

type object = map[string]any

// kubeletConfig is a KubeletConfiguration for a node that starts a hundred small
// Pods at once on two cores.
func (p Plan) kubeletConfig(n NodeSetup) object {
	return object{
		"apiVersion":      "kubelet.config.k8s.io/v1beta1",
		"kind":            "KubeletConfiguration",
		"address":         "0.0.0.0",
		"port":            p.Ports.Kubelet,
		"readOnlyPort":    0,
		"healthzPort":     p.Ports.KubeletHealth,
		"authentication":  object{"anonymous": object{"enabled": false}, "webhook": object{"enabled": false}, "x509": object{"clientCAFile": p.Layout.PKI("ca.crt")}},
		"authorization":   object{"mode": "AlwaysAllow"}, // for whom the authority above signed: the API server
		"clusterDomain":   "cluster.local",
		"clusterDNS":      []string{DNSServerIP}, // nobody answers there; without one each Pod gets a warning event
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
		"evictionHard":           object{},
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
		"logging":                   object{"verbosity": 1},
	}
}

// schedulerConfig lifts the client-side limits and lets a Pod that did not fit be
// tried again soon.
func (p Plan) schedulerConfig() object {
	return object{
		"apiVersion":               "kubescheduler.config.k8s.io/v1",
		"kind":                     "KubeSchedulerConfiguration",
		"leaderElection":           object{"leaderElect": false},
		"clientConnection":         object{"kubeconfig": p.Layout.Kubeconfig(Scheduler), "qps": 1000, "burst": 2000},
		"podInitialBackoffSeconds": 1,
		"podMaxBackoffSeconds":     2,
	}
}

// cniConfig hangs each Pod on one bridge. Pods reach each other and the API server
// and nothing else: the cluster's network ends here.
func (p Plan) cniConfig() object {
	return object{
		"cniVersion": "1.0.0",
		"name":       "konductor",
		"plugins": []object{{
			"type":      "bridge",
			"bridge":    Bridge,
			"isGateway": true,
			"ipMasq":    false,
			"ipam": object{
				"type":    "host-local",
				"ranges":  [][]object{{{"subnet": PodCIDR, "gateway": NodeIP}}},
				"routes":  []object{{"dst": "0.0.0.0/0"}},
				"dataDir": p.Layout.Data("pod-addresses"),
			},
		}},
	}
}

package toolchain

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
)

// tool is one directory below e2e/tools: a Go module that pins a program, or a few programs built from the same source,
// independently of the other requirements of this repository.
type tool struct {
	folder   string
	module   string // the module whose version names the cache entry; empty for our own sources
	binaries []binary
	tags     []string
	cgo      bool
	// versionPackages lists the packages that contain the program's version; without it kubectl calls itself v0.0.0-master.
	versionPackages []string
}

type binary struct {
	name string
	pkg  string
	// buildTimeHint is how long a first build takes on two cores, for the progress line, when those above it in the same module were
	// built before.
	buildTimeHint string
}

// KubernetesEnv is the environment variable with the minor version of kube-apiserver, kubectl and so on, such as 1.32. Empty: the
// newest of KubernetesVersions.
const KubernetesEnv = "KONDUCTOR_KUBERNETES"

// pinnedKubernetes returns the directories that pin Kubernetes, by minor version, the oldest first. The oldest is that of the
// chart's kubeVersion.
func pinnedKubernetes() []kubernetesVersion {
	return []kubernetesVersion{
		{"1.32", "kubernetes-1.32"},
		{"1.34", "kubernetes-1.34"},
		{"1.36", "kubernetes"},
	}
}

type kubernetesVersion struct{ minor, folder string }

// KubernetesVersions returns the pinned minor versions of Kubernetes, the oldest first.
func KubernetesVersions() []string {
	var versions []string
	for _, k := range pinnedKubernetes() {
		versions = append(versions, k.minor)
	}
	return versions
}

// kubernetesFolder returns the directory that pins a minor version of Kubernetes; for "" that of the newest.
func kubernetesFolder(minor string) (string, error) {
	if minor == "" {
		versions := pinnedKubernetes()
		return versions[len(versions)-1].folder, nil
	}
	for _, k := range pinnedKubernetes() {
		if k.minor == minor {
			return k.folder, nil
		}
	}
	return "", fmt.Errorf("%s=%s: no such version of Kubernetes is pinned; there are: %s", KubernetesEnv, minor, strings.Join(KubernetesVersions(), ", "))
}

// catalog returns every tool, with Kubernetes from that directory.
func catalog(kubernetes string) []tool {
	return []tool{
		{
			folder: "etcd", module: "go.etcd.io/etcd/server/v3",
			binaries: []binary{{"etcd", "go.etcd.io/etcd/server/v3", "about 1 min"}},
		},
		{
			folder: kubernetes, module: "k8s.io/kubernetes",
			binaries: []binary{
				{"kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver", "about 4 min"},
				{"kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager", "about 2 min"},
				{"kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler", "under 1 min"},
				{"kubectl", "k8s.io/kubernetes/cmd/kubectl", "under 1 min"},
				{"kubelet", "k8s.io/kubernetes/cmd/kubelet", "about 1 min"},
			},
			versionPackages: []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"},
		},
		{
			folder: "containerd", module: "github.com/containerd/containerd/v2",
			binaries: []binary{
				{"containerd", "github.com/containerd/containerd/v2/cmd/containerd", "about 1 min"},
				{"containerd-shim-runc-v2", "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2", "seconds"},
				{"ctr", "github.com/containerd/containerd/v2/cmd/ctr", "seconds"},
			},
			// The snapshotters left out need kernel headers or tools that an ordinary machine lacks.
			tags: []string{"no_btrfs", "no_devmapper", "no_zfs"},
		},
		{
			// The loopback plugin is left out: containerd has it built in.
			folder: "cni", module: "github.com/containernetworking/plugins",
			binaries: []binary{
				{"bridge", "github.com/containernetworking/plugins/plugins/main/bridge", "seconds"},
				{"host-local", "github.com/containernetworking/plugins/plugins/ipam/host-local", "seconds"},
			},
		},
		{
			folder: "runc", module: "github.com/opencontainers/runc", cgo: true,
			binaries: []binary{
				{"runc", "github.com/opencontainers/runc", "seconds"},
				{"runc-noseccomp", "./noseccomp", "seconds"}, // expects runc in its own directory
			},
		},
		{
			folder: "controller-gen", module: "sigs.k8s.io/controller-tools",
			binaries: []binary{{"controller-gen", "sigs.k8s.io/controller-tools/cmd/controller-gen", "under 1 min"}},
		},
		{
			folder: "helm", module: "helm.sh/helm/v4",
			binaries: []binary{{"helm", "helm.sh/helm/v4/cmd/helm", "about 2 min"}},
		},
		{
			// The chart supports helm 3, too.
			folder: "helm3", module: "helm.sh/helm/v3",
			binaries: []binary{{"helm3", "helm.sh/helm/v3/cmd/helm", "about 2 min"}},
		},
		{
			folder: "prometheus", module: "github.com/prometheus/prometheus",
			binaries: []binary{
				{"prometheus", "github.com/prometheus/prometheus/cmd/prometheus", "about 3 min"},
				{"promtool", "github.com/prometheus/prometheus/cmd/promtool", "under 1 min"},
			},
			// Service discovery for all clouds is most of Prometheus, and the tests use static targets.
			tags: []string{"remove_all_sd"},
		},
		{
			folder: "golangci-lint", module: "github.com/golangci/golangci-lint/v2",
			binaries: []binary{{"golangci-lint", ".", "about 1 min"}},
		},
		{
			folder: "goreleaser", module: "github.com/goreleaser/goreleaser/v2",
			binaries: []binary{{"goreleaser", "github.com/goreleaser/goreleaser/v2", "about 2 min"}},
		},
		{
			folder: "krew", module: "sigs.k8s.io/krew",
			binaries: []binary{
				{"kubectl-krew", "sigs.k8s.io/krew/cmd/krew", "seconds"},
				{"validate-krew-manifest", "sigs.k8s.io/krew/cmd/validate-krew-manifest", "seconds"},
			},
		},
		{
			folder: "actionlint", module: "github.com/rhysd/actionlint",
			binaries: []binary{{"actionlint", "github.com/rhysd/actionlint/cmd/actionlint", "seconds"}},
		},
		{
			folder: "gotestsum", module: "gotest.tools/gotestsum",
			binaries: []binary{{"gotestsum", "gotest.tools/gotestsum", "seconds"}},
		},
		{
			folder: "govulncheck", module: "golang.org/x/vuln",
			binaries: []binary{{"govulncheck", "golang.org/x/vuln/cmd/govulncheck", "seconds"}},
		},
		{
			// It starts and stops Jobs as the operator does.
			folder: "kueue", module: "sigs.k8s.io/kueue",
			binaries: []binary{{"kueue", "sigs.k8s.io/kueue/cmd/kueue", "about 4 min"}},
		},
		{folder: "shell", binaries: []binary{{"shell", ".", "seconds"}}},
		{folder: "pause", binaries: []binary{{"pause", ".", "seconds"}}},
	}
}

// ToolNames returns the names of all binaries that Path knows, sorted.
func ToolNames() []string {
	var names []string
	for _, t := range catalog("") {
		for _, b := range t.binaries {
			names = append(names, b.name)
		}
	}
	slices.Sort(names)
	return names
}

func findTool(kubernetes, name string) (tool, binary, error) {
	for _, t := range catalog(kubernetes) {
		for _, b := range t.binaries {
			if b.name == name {
				return t, b, nil
			}
		}
	}
	return tool{}, binary{}, fmt.Errorf("no tool is called %q; there are: %s", name, strings.Join(ToolNames(), ", "))
}

// ldflags strips symbols and stamps version where the tool expects one. The build date keeps its default on purpose: the present
// time in the flags would make every build another one.
func (t tool) ldflags(version string) string {
	flags := []string{"-s", "-w"}
	for _, pkg := range t.versionPackages {
		major, minor := majorMinor(version)
		for _, v := range [][2]string{
			{"gitVersion", version},
			{"gitMajor", major},
			{"gitMinor", minor},
			{"gitCommit", "unknown"},
			{"gitTreeState", "archive"},
		} {
			flags = append(flags, "-X", pkg+"."+v[0]+"="+v[1])
		}
	}
	return strings.Join(flags, " ")
}

func majorMinor(version string) (string, string) {
	parts := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	if len(parts) < 2 {
		return "", ""
	}
	return parts[0], parts[1]
}

// platform returns what the binaries run on, for a progress line.
func platform() string { return runtime.GOOS + "/" + runtime.GOARCH }

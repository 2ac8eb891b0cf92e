package toolchain

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
)

// tool is one folder below e2e/tools: a Go module that pins a program, or a few
// programs built from the same source, apart from every other requirement of
// this repository.
type tool struct {
	folder   string
	module   string // the module whose version names the cache entry; empty for sources of our own
	binaries []binary
	tags     []string
	cgo      bool
	// stamp lists the packages that hold the program's idea of its own
	// version; without it kubectl calls itself v0.0.0-master.
	stamp []string
}

type binary struct {
	name string
	pkg  string
	// hint is how long a first build takes on two cores, for the progress line,
	// when those above it in the same module were built before.
	hint string
}

func catalog() []tool {
	return []tool{
		{
			folder: "etcd", module: "go.etcd.io/etcd/server/v3",
			binaries: []binary{{"etcd", "go.etcd.io/etcd/server/v3", "about 1 min"}},
		},
		{
			folder: "kubernetes", module: "k8s.io/kubernetes",
			binaries: []binary{
				{"kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver", "about 4 min"},
				{"kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager", "about 2 min"},
				{"kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler", "under 1 min"},
				{"kubectl", "k8s.io/kubernetes/cmd/kubectl", "under 1 min"},
				{"kubelet", "k8s.io/kubernetes/cmd/kubelet", "about 1 min"},
			},
			stamp: []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"},
		},
		{
			folder: "containerd", module: "github.com/containerd/containerd/v2",
			binaries: []binary{
				{"containerd", "github.com/containerd/containerd/v2/cmd/containerd", "about 1 min"},
				{"containerd-shim-runc-v2", "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2", "seconds"},
				{"ctr", "github.com/containerd/containerd/v2/cmd/ctr", "seconds"},
			},
			// The snapshotters left out need kernel headers or tools a plain machine lacks.
			tags: []string{"no_btrfs", "no_devmapper", "no_zfs"},
		},
		{
			// No loopback plugin: containerd has that built in.
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
				{"runc-noseccomp", "./noseccomp", "seconds"}, // expects runc in its own folder
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
			// The chart is for those who use this one, too.
			folder: "helm3", module: "helm.sh/helm/v3",
			binaries: []binary{{"helm3", "helm.sh/helm/v3/cmd/helm", "about 2 min"}},
		},
		{
			folder: "prometheus", module: "github.com/prometheus/prometheus",
			binaries: []binary{
				{"prometheus", "github.com/prometheus/prometheus/cmd/prometheus", "about 3 min"},
				{"promtool", "github.com/prometheus/prometheus/cmd/promtool", "under 1 min"},
			},
			// The clients of every cloud that it can find targets in are most of it, and tests name theirs.
			tags: []string{"remove_all_sd"},
		},
		{
			folder: "golangci-lint", module: "github.com/golangci/golangci-lint/v2",
			binaries: []binary{{"golangci-lint", "github.com/golangci/golangci-lint/v2/cmd/golangci-lint", "about 1 min"}},
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
			folder: "govulncheck", module: "golang.org/x/vuln",
			binaries: []binary{{"govulncheck", "golang.org/x/vuln/cmd/govulncheck", "seconds"}},
		},
		{folder: "shell", binaries: []binary{{"shell", ".", "seconds"}}},
		{folder: "pause", binaries: []binary{{"pause", ".", "seconds"}}},
	}
}

// Names lists every binary that Path can give, sorted.
func Names() []string {
	var names []string
	for _, t := range catalog() {
		for _, b := range t.binaries {
			names = append(names, b.name)
		}
	}
	slices.Sort(names)
	return names
}

func find(name string) (tool, binary, error) {
	for _, t := range catalog() {
		for _, b := range t.binaries {
			if b.name == name {
				return t, b, nil
			}
		}
	}
	return tool{}, binary{}, fmt.Errorf("no tool is called %q; there are: %s", name, strings.Join(Names(), ", "))
}

// ldflags strips symbols and stamps version where the tool wants one. The build
// date is left at its default on purpose: a clock in the flags would make every
// build another one.
func (t tool) ldflags(version string) string {
	flags := []string{"-s", "-w"}
	for _, pkg := range t.stamp {
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

// platform is what the binaries run on, in the words of a progress line.
func platform() string { return runtime.GOOS + "/" + runtime.GOARCH }

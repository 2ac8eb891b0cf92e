package cluster

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/LogicIQ/konductor/e2e/cluster/internal/state"
	"github.com/LogicIQ/konductor/e2e/cluster/internal/supervisor"
)

// leftovers is what a cluster could leave on a machine, by kind.
type leftovers map[string][]string

// findLeftovers finds what belongs to the clusters of dirs, or can only belong to a cluster with a node.
func findLeftovers(t *testing.T, dirs ...string) leftovers {
	t.Helper()
	found := leftovers{}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, "konductor") {
			found["mount"] = append(found["mount"], line)
		}
	}
	devices, err := os.ReadDir("/sys/class/net")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range devices {
		if strings.HasPrefix(d.Name(), "veth") || strings.HasPrefix(d.Name(), "konductor") {
			found["device"] = append(found["device"], d.Name())
		}
	}
	for _, dir := range dirs {
		marked, err := state.FindMarkedProcesses(dir)
		if err != nil {
			t.Fatal(err)
		}
		if len(marked) > 0 {
			found["process"] = append(found["process"], slices.Collect(maps.Values(marked))...)
		}
		for _, pattern := range []string{
			"/sys/fs/cgroup" + supervisor.CgroupRoot(dir),
			"/sys/fs/cgroup/*" + supervisor.CgroupRoot(dir),
			supervisor.SocketDir(dir),
			dir,
		} {
			files, err := filepath.Glob(pattern)
			if err != nil {
				t.Fatal(err)
			}
			found["file"] = append(found["file"], files...)
		}
	}
	for _, path := range []string{"/var/lib/cni", "/var/lib/kubelet", "/run/containerd", "/run/netns", "/var/log/containers"} {
		if _, err := os.Stat(path); err == nil {
			found["folder"] = append(found["folder"], path)
		}
	}
	for kind, list := range found {
		if len(list) == 0 {
			delete(found, kind)
		}
	}
	return found
}

package component

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/csv"
	"encoding/json"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/cert"
)

func TestFreePorts(t *testing.T) {
	ports, err := FreePorts(rand.IntN)
	if err != nil {
		t.Fatal(err)
	}
	all := []int{ports.APIServer, ports.SecondAPIServer, ports.Etcd, ports.EtcdPeer, ports.ControllerManager, ports.Scheduler}
	for _, port := range all {
		if port < firstPort || port >= lastPort {
			t.Errorf("port %d is out of the range", port)
		}
	}
	slices.Sort(all)
	if len(slices.Compact(all)) != 6 {
		t.Errorf("a port was given twice: %+v", ports)
	}
}

func TestFreePortsSkipsTakenPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := l.Addr().(*net.TCPAddr).Port - firstPort
	candidates := []int{taken, 1, 1, 2, 3, 4, 5}
	ports, err := FreePorts(func(int) int {
		next := candidates[0]
		if len(candidates) > 1 {
			candidates = candidates[1:]
		}
		return next
	})
	if err != nil {
		t.Skip(err) // another process listens on one of the others
	}
	if ports.APIServer == taken+firstPort || ports.Etcd == ports.APIServer {
		t.Errorf("%+v", ports)
	}
}

func TestWriteCredentials(t *testing.T) {
	dir := t.TempDir()
	layout := Layout{Dir: dir, Logs: filepath.Join(dir, "logs")}
	access, err := WriteCredentials(layout, "https://127.0.0.1:1234")
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", layout.AdminKubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	if config.Host != access.Server || config.BearerToken != access.Token || string(config.CAData) != string(access.CA) {
		t.Error("the kubeconfig file doesn't agree with what was returned")
	}
	f, err := os.Open(layout.PKI("tokens.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	users := map[string]string{}
	tokens := map[string]bool{}
	for _, row := range rows {
		users[row[1]] = row[3]
		tokens[row[0]] = true
	}
	want := map[string]string{
		"konductor-admin":                "system:masters",
		"system:kube-controller-manager": "",
		"system:kube-scheduler":          "",
		"system:node:konductor":          "system:nodes",
	}
	if diff := cmp.Diff(want, users); diff != "" {
		t.Errorf("users and groups (-want +got):\n%s", diff)
	}
	if len(tokens) != len(users) || !tokens[access.Token] {
		t.Error("users share a token, or the administrator's isn't there")
	}
	roots, err := cert.NewPoolFromBytes(access.CA)
	if err != nil {
		t.Fatal(err)
	}
	for name, use := range map[string]x509.VerifyOptions{
		"kube-apiserver": {DNSName: "127.0.0.1", KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}},
		"kubelet-client": {KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}},
	} {
		pair, err := tls.LoadX509KeyPair(layout.PKI(name+".crt"), layout.PKI(name+".key"))
		if err != nil {
			t.Fatal(err)
		}
		use.Roots = roots
		if _, err := pair.Leaf.Verify(use); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, secret := range []string{"tokens.csv", "kube-apiserver.key", "serviceaccount.key"} {
		if info, err := os.Stat(layout.PKI(secret)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: others may read it (%v)", secret, err)
		}
	}
}

func TestWriteNodeConfig(t *testing.T) {
	dir := t.TempDir()
	plan := Plan{
		Layout:    Layout{Dir: dir, Logs: dir},
		Ports:     StandardPorts(),
		Node:      true,
		MarkerDir: "/checkout/.cluster",
		Binaries:  map[string]string{Containerd: "/cache/containerd/bin/containerd"},
	}
	setup := NodeSetup{CgroupRoot: "/konductor-1", CNIBin: "/cache/cni", Runc: "/usr/sbin/runc", Snapshotter: "native"}
	if err := plan.WriteNodeConfig(setup); err != nil {
		t.Fatal(err)
	}
	var kubelet struct {
		CgroupRoot               string
		ContainerRuntimeEndpoint string
		MaxPods                  int
		EvictionHard             map[string]string
	}
	readJSON(t, plan.Layout.Config("kubelet.json"), &kubelet)
	if kubelet.CgroupRoot != setup.CgroupRoot || kubelet.MaxPods != 250 || kubelet.EvictionHard == nil {
		t.Errorf("kubelet: %+v", kubelet)
	}
	if got, want := kubelet.ContainerRuntimeEndpoint, "unix://"+plan.Layout.Socket(Containerd); got != want {
		t.Errorf("the kubelet asks %s, containerd listens on %s", got, want)
	}
	var cni struct {
		Plugins []struct {
			Bridge string
			IPAM   struct {
				Ranges [][]struct{ Subnet, Gateway string }
			}
		}
	}
	readJSON(t, plan.Layout.Config("cni/10-konductor.conflist"), &cni)
	if r := cni.Plugins[0].IPAM.Ranges[0][0]; cni.Plugins[0].Bridge != Bridge || r.Subnet != PodCIDR || r.Gateway != NodeIP {
		t.Errorf("network: %+v", cni)
	}
	readJSON(t, plan.Layout.Config("scheduler.json"), &struct{}{})
	containerd, err := os.ReadFile(plan.Layout.Config("containerd.toml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`BinaryName = "/usr/sbin/runc"`, `snapshotter = "native"`, `bin_dirs = ["/cache/cni"]`, `sandbox = "` + PauseImage + `"`} {
		if !strings.Contains(string(containerd), want) {
			t.Errorf("containerd.toml lacks %s:\n%s", want, containerd)
		}
	}
	if strings.Contains(string(containerd), "%!") {
		t.Errorf("containerd.toml is badly formatted:\n%s", containerd)
	}
	// The shim is in the same directory and found on PATH.
	if env := plan.Containerd().Env; !strings.HasPrefix(env[0], "PATH=/cache/containerd/bin:") || !slices.Contains(env, "KONDUCTOR_CLUSTER=/checkout/.cluster") {
		t.Errorf("environment of containerd: %v", env)
	}
}

func TestAPIServerBindAddress(t *testing.T) {
	for name, tc := range map[string]struct {
		node bool
		want []string
	}{
		"control plane alone": {false, []string{"--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--secure-port=443"}},
		"with a node":         {true, []string{"--bind-address=0.0.0.0", "--advertise-address=10.96.0.1", "--secure-port=443", "--kubelet-preferred-address-types=InternalIP"}},
	} {
		t.Run(name, func(t *testing.T) {
			args := Plan{Node: tc.node, Ports: StandardPorts()}.APIServer().Args
			for _, want := range tc.want {
				if !slices.Contains(args, want) {
					t.Errorf("%s is missing in %v", want, args)
				}
			}
		})
	}
}

func TestFailedHealthChecks(t *testing.T) {
	report := "[+]ping ok\n[-]etcd failed: reason withheld\n[+]log ok\n[-]informer-sync failed: 1 not started\nreadyz check failed\n"
	want := "etcd failed: reason withheld, informer-sync failed: 1 not started"
	if got := failedHealthChecks(report); got != want {
		t.Errorf("unwell = %q, want %q", got, want)
	}
	if got := failedHealthChecks("forbidden\n"); got != "forbidden" {
		t.Errorf("unwell = %q", got)
	}
}

func readJSON(t *testing.T, path string, into any) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

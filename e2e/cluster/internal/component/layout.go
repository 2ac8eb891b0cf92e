// Package component says what a cluster consists of: the programs, their flags
// and configuration files, and how to see that each of them works.
package component

import (
	"fmt"
	"net"
	"path/filepath"
	"strconv"
)

// Names of the components, as used in commands, log files and errors.
const (
	Etcd              = "etcd"
	APIServer         = "kube-apiserver"
	ControllerManager = "kube-controller-manager"
	Scheduler         = "kube-scheduler"
	Containerd        = "containerd"
	Kubelet           = "kubelet"
)

// Addresses of a cluster. Pods and Services have the same ones in every cluster:
// a cluster with a node has a network of its own, one without has no Pods.
const (
	ServiceCIDR = "10.96.0.0/16"
	ServiceIP   = "10.96.0.1" // of the Service "kubernetes"
	DNSServerIP = "10.96.0.10"
	PodCIDR     = "10.244.0.0/16"
	NodeIP      = "10.244.0.1" // of the bridge that Pods hang on
	Bridge      = "konductor0"
	loopback    = "127.0.0.1"
)

// Layout names the files of a cluster as its components see them.
type Layout struct {
	Dir  string // keys, configuration, data
	Logs string
}

func (l Layout) path(elem ...string) string {
	return filepath.Join(append([]string{l.Dir}, elem...)...)
}

// PKI is a file with a key, a certificate or tokens; without a name their folder.
func (l Layout) PKI(name string) string { return l.path("pki", name) }

// Kubeconfig is the client configuration of a component.
func (l Layout) Kubeconfig(component string) string { return l.path("kubeconfig", component+".yaml") }

// Config is a folder or file of configuration.
func (l Layout) Config(name string) string { return l.path("config", name) }

// Data is where a component keeps what it stores.
func (l Layout) Data(component string) string { return l.path("data", component) }

// Socket is the unix socket of a component.
func (l Layout) Socket(component string) string { return l.path(component + ".sock") }

// Log is the file a component's output goes to.
func (l Layout) Log(component string) string { return filepath.Join(l.Logs, component+".log") }

func (l Layout) dirs() []string {
	return []string{l.PKI(""), l.path("kubeconfig"), l.Config(""), l.path("data"), l.path("tmp"), l.Images(), l.Logs}
}

// Ports of the components on loopback.
type Ports struct {
	APIServer         int `json:"apiServer"`
	Etcd              int `json:"etcd"`
	EtcdPeer          int `json:"etcdPeer"`
	ControllerManager int `json:"controllerManager"`
	Scheduler         int `json:"scheduler"`
	Kubelet           int `json:"kubelet,omitempty"`
	KubeletHealth     int `json:"kubeletHealth,omitempty"`
}

// NodePorts are the usual ports. A cluster with a node has them all to itself;
// the API server's is the one that Pods are told.
func NodePorts() Ports {
	return Ports{
		APIServer: 443, Etcd: 2379, EtcdPeer: 2380, ControllerManager: 10257, Scheduler: 10259,
		Kubelet: 10250, KubeletHealth: 10248,
	}
}

// The range is below those from which Linux (32768) and macOS (49152) take the
// ports of outgoing connections and of listeners on port 0. A port in it that is
// free now is therefore very likely still free when the component binds it.
const (
	firstPort = 20000
	lastPort  = 32000
)

// FreePorts picks ports that nothing listens on. next gives the candidates, as
// math/rand/v2's IntN does.
func FreePorts(next func(n int) int) (Ports, error) {
	var p Ports
	taken := map[int]bool{}
	for _, port := range []*int{&p.APIServer, &p.Etcd, &p.EtcdPeer, &p.ControllerManager, &p.Scheduler} {
		free, err := freePort(next, taken)
		if err != nil {
			return Ports{}, err
		}
		*port = free
		taken[free] = true
	}
	return p, nil
}

func freePort(next func(n int) int, taken map[int]bool) (int, error) {
	const attempts = 200
	var last error
	for range attempts {
		port := firstPort + next(lastPort-firstPort)
		if taken[port] {
			continue
		}
		l, err := net.Listen("tcp", onLoopback(port))
		if err != nil {
			last = err
			continue
		}
		return port, l.Close()
	}
	return 0, fmt.Errorf("no free port between %d and %d on loopback: %w", firstPort, lastPort, last)
}

func onLoopback(port int) string { return net.JoinHostPort(loopback, strconv.Itoa(port)) }

// Images is where image archives wait to be imported by a new node.
func (l Layout) Images() string { return l.path("images") }

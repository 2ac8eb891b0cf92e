// Package component describes the components of a cluster: the programs, their flags and configuration files, and their health
// probes.
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
	SecondAPIServer   = "kube-apiserver-2"
	ControllerManager = "kube-controller-manager"
	Scheduler         = "kube-scheduler"
	Containerd        = "containerd"
	Kubelet           = "kubelet"
)

// Addresses of a cluster. Pods and Services have the same ones in every cluster: a cluster with a node has a network of its own,
// one without has no Pods.
const (
	ServiceCIDR = "10.96.0.0/16"
	ServiceIP   = "10.96.0.1" // of the Service "kubernetes"
	DNSServerIP = "10.96.0.10"
	PodCIDR     = "10.244.0.0/16"
	NodeIP      = "10.244.0.1" // of the bridge that Pods are attached to
	Bridge      = "konductor0"
	loopback    = "127.0.0.1"
)

// Layout has the paths of a cluster's files as its components see them.
type Layout struct {
	Dir  string // keys, configuration, data
	Logs string
}

func (l Layout) path(elem ...string) string {
	return filepath.Join(append([]string{l.Dir}, elem...)...)
}

// PKI returns the path of a file with a key, a certificate or tokens; with an empty name their directory.
func (l Layout) PKI(name string) string { return l.path("pki", name) }

// Kubeconfig returns the path of a component's client configuration.
func (l Layout) Kubeconfig(component string) string { return l.path("kubeconfig", component+".yaml") }

// Config returns the path of a directory or file of configuration.
func (l Layout) Config(name string) string { return l.path("config", name) }

// Data returns the path of a component's data.
func (l Layout) Data(component string) string { return l.path("data", component) }

// Socket returns the path of a component's unix socket.
func (l Layout) Socket(component string) string { return l.path(component + ".sock") }

// Log returns the path of a component's log.
func (l Layout) Log(component string) string { return filepath.Join(l.Logs, component+".log") }

func (l Layout) dirs() []string {
	return []string{l.PKI(""), l.path("kubeconfig"), l.Config(""), l.path("data"), l.path("tmp"), l.Images(), l.Logs}
}

// Ports of the components on loopback.
type Ports struct {
	APIServer         int `json:"apiServer"`
	SecondAPIServer   int `json:"secondAPIServer,omitempty"`
	Etcd              int `json:"etcd"`
	EtcdPeer          int `json:"etcdPeer"`
	ControllerManager int `json:"controllerManager"`
	Scheduler         int `json:"scheduler"`
	Kubelet           int `json:"kubelet,omitempty"`
	KubeletHealth     int `json:"kubeletHealth,omitempty"`
}

// StandardPorts returns the usual ports. A cluster with a node has a network of its own; Pods are configured with the API
// server's port.
func StandardPorts() Ports {
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

// FreePorts picks ports that nothing listens on. next returns random numbers, as math/rand/v2's IntN does.
func FreePorts(next func(n int) int) (Ports, error) {
	var p Ports
	taken := map[int]bool{}
	for _, port := range []*int{&p.APIServer, &p.SecondAPIServer, &p.Etcd, &p.EtcdPeer, &p.ControllerManager, &p.Scheduler} {
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
		l, err := net.Listen("tcp", loopbackAddress(port))
		if err != nil {
			last = err
			continue
		}
		return port, l.Close()
	}
	return 0, fmt.Errorf("no free port between %d and %d on loopback: %w", firstPort, lastPort, last)
}

func loopbackAddress(port int) string { return net.JoinHostPort(loopback, strconv.Itoa(port)) }

// Images returns the directory of the image archives that a new node imports.
func (l Layout) Images() string { return l.path("images") }

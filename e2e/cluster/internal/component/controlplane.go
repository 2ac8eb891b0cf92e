package component

import (
	"fmt"

	"github.com/LogicIQ/konductor/e2e/cluster/internal/state"
	"github.com/LogicIQ/konductor/e2e/internal/process"
)

// Component is a program and the probe of its health.
type Component struct {
	process.Spec
	Probe Probe
}

// Plan is everything that the flags of a cluster's components depend on.
type Plan struct {
	Layout    Layout
	Ports     Ports
	Access    Access
	Binaries  map[string]string // by component
	Node      bool              // whether Pods run here
	MarkerDir string            // marks the processes; see state.MarkerEnv
}

// searchPath is the PATH of components; only the kubelet and containerd use it.
const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

func (p Plan) processSpec(name string, args ...string) process.Spec {
	return process.Spec{
		Name: name,
		Path: p.Binaries[name],
		Args: args,
		Env:  append([]string{"PATH=" + searchPath, "HOME=" + p.Layout.Dir, "TMPDIR=" + p.Layout.path("tmp")}, state.MarkerEnv(p.MarkerDir, name)...),
		Log:  p.Layout.Log(name),
	}
}

// EtcdClientURL returns the client URL of etcd.
func (p Plan) EtcdClientURL() string { return "http://" + loopbackAddress(p.Ports.Etcd) }

// Etcd returns the API server's storage.
func (p Plan) Etcd() Component {
	client := p.EtcdClientURL()
	peer := "http://" + loopbackAddress(p.Ports.EtcdPeer)
	return Component{
		Spec: p.processSpec(Etcd,
			"--name=konductor",
			"--data-dir="+p.Layout.Data(Etcd),
			"--listen-client-urls="+client,
			"--advertise-client-urls="+client,
			"--listen-peer-urls="+peer,
			"--initial-advertise-peer-urls="+peer,
			"--initial-cluster=konductor="+peer,
			// The data need not survive a power cut, and fsync is most of a write.
			"--unsafe-no-fsync",
			// A single member need not wait for others before it elects itself.
			"--heartbeat-interval=20",
			"--election-timeout=200",
			"--quota-backend-bytes=4294967296",
			"--log-level=warn",
		),
		Probe: newHTTPProbe(client+"/health", "", ""),
	}
}

// APIServer returns kube-apiserver.
func (p Plan) APIServer() Component {
	return p.newAPIServer(APIServer, p.Ports.APIServer, p.EtcdClientURL())
}

// SecondAPIServer returns another kube-apiserver, which reaches etcd at that URL.
func (p Plan) SecondAPIServer(etcd string) Component {
	second := p.newAPIServer(SecondAPIServer, p.Ports.SecondAPIServer, etcd)
	second.Path = p.Binaries[APIServer]
	return second
}

func (p Plan) newAPIServer(name string, port int, etcd string) Component {
	// With a node, Pods reach it by the Service's address, which is on loopback.
	bind, advertise := loopback, loopback
	if p.Node {
		bind, advertise = "0.0.0.0", ServiceIP
	}
	args := []string{
		"--etcd-servers=" + etcd,
		"--bind-address=" + bind,
		"--advertise-address=" + advertise,
		fmt.Sprintf("--secure-port=%d", port),
		"--tls-cert-file=" + p.Layout.PKI(APIServer+".crt"),
		"--tls-private-key-file=" + p.Layout.PKI(APIServer+".key"),
		"--client-ca-file=" + p.Layout.PKI("ca.crt"),
		"--token-auth-file=" + p.Layout.PKI("tokens.csv"),
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--allow-privileged=true",
		"--service-cluster-ip-range=" + ServiceCIDR,
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + p.Layout.PKI("serviceaccount.key"),
		"--service-account-signing-key-file=" + p.Layout.PKI("serviceaccount.key"),
		// Nothing proxies Services here, and the reconciler rejects loopback addresses.
		"--endpoint-reconciler-type=none",
		"--delete-collection-workers=8",
		// It ends open watches on SIGTERM; without it every stop takes the whole request timeout, a minute, as soon as one client
		// watches something.
		"--shutdown-watch-termination-grace-period=2s",
	}
	if p.Node {
		args = append(args,
			"--kubelet-client-certificate="+p.Layout.PKI("kubelet-client.crt"),
			"--kubelet-client-key="+p.Layout.PKI("kubelet-client.key"),
			"--kubelet-preferred-address-types=InternalIP",
		)
	}
	return Component{
		Spec:  p.processSpec(name, args...),
		Probe: newHTTPProbe("https://"+loopbackAddress(port)+"/readyz?verbose", p.Layout.PKI("ca.crt"), p.Access.Token),
	}
}

// ControllerManager returns kube-controller-manager: Jobs, garbage collection, deletion of namespaces, and so on.
func (p Plan) ControllerManager() Component {
	return Component{
		Spec: p.processSpec(ControllerManager,
			"--kubeconfig="+p.Layout.Kubeconfig(ControllerManager),
			"--bind-address="+loopback,
			fmt.Sprintf("--secure-port=%d", p.Ports.ControllerManager),
			"--leader-elect=false",
			"--use-service-account-credentials",
			"--root-ca-file="+p.Layout.PKI("ca.crt"),
			"--service-account-private-key-file="+p.Layout.PKI("serviceaccount.key"),
			// A hundred Jobs at once must not wait for the client's own throttle.
			"--kube-api-qps=1000",
			"--kube-api-burst=2000",
			"--concurrent-job-syncs=20",
			"--concurrent-cron-job-syncs=10",
			"--concurrent-ttl-after-finished-syncs=10",
			"--concurrent-namespace-syncs=20",
			// The directory is created if missing, by default below /usr.
			"--flex-volume-plugin-dir="+p.Layout.Data("volume-plugins"),
		),
		Probe: newHTTPProbe("https://"+loopbackAddress(p.Ports.ControllerManager)+"/healthz", "", ""),
	}
}

// Scheduler returns kube-scheduler.
func (p Plan) Scheduler() Component {
	return Component{
		Spec:  p.processSpec(Scheduler, "--config="+p.Layout.Config("scheduler.json"), "--bind-address="+loopback, fmt.Sprintf("--secure-port=%d", p.Ports.Scheduler)),
		Probe: newHTTPProbe("https://"+loopbackAddress(p.Ports.Scheduler)+"/healthz", "", ""),
	}
}

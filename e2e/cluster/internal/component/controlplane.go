package component

import (
	"fmt"

	"github.com/LogicIQ/konductor/e2e/cluster/internal/process"
	"github.com/LogicIQ/konductor/e2e/cluster/internal/state"
)

// Component is a program and how to see that it works.
type Component struct {
	process.Spec
	Probe Probe
}

// Plan is all that the flags of a cluster's components depend on.
type Plan struct {
	Layout   Layout
	Ports    Ports
	Access   Access
	Binaries map[string]string // by component
	Node     bool              // whether Pods run here
	Marker   string            // what the processes are marked with; see state.Marks
}

// path is the PATH of components; only the kubelet and containerd look things up in it.
const path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

func (p Plan) spec(name string, args ...string) process.Spec {
	return process.Spec{
		Name: name,
		Path: p.Binaries[name],
		Args: args,
		Env:  append([]string{"PATH=" + path, "HOME=" + p.Layout.Dir, "TMPDIR=" + p.Layout.path("tmp")}, state.Marks(p.Marker, name)...),
		Log:  p.Layout.Log(name),
	}
}

// EtcdURL is where etcd serves its clients.
func (p Plan) EtcdURL() string { return "http://" + onLoopback(p.Ports.Etcd) }

// Etcd keeps what the API server stores.
func (p Plan) Etcd() Component {
	client := p.EtcdURL()
	peer := "http://" + onLoopback(p.Ports.EtcdPeer)
	return Component{
		Spec: p.spec(Etcd,
			"--name=konductor",
			"--data-dir="+p.Layout.Data(Etcd),
			"--listen-client-urls="+client,
			"--advertise-client-urls="+client,
			"--listen-peer-urls="+peer,
			"--initial-advertise-peer-urls="+peer,
			"--initial-cluster=konductor="+peer,
			// The data need not survive a power cut, and fsync is most of a write.
			"--unsafe-no-fsync",
			// A member alone elects itself as soon as it may stand.
			"--heartbeat-interval=20",
			"--election-timeout=200",
			"--quota-backend-bytes=4294967296",
			"--log-level=warn",
		),
		Probe: httpProbe(client+"/health", "", ""),
	}
}

// APIServer serves the API.
func (p Plan) APIServer() Component {
	// With a node, Pods reach it by the Service's address, which is on loopback.
	bind, advertise := loopback, loopback
	if p.Node {
		bind, advertise = "0.0.0.0", ServiceIP
	}
	args := []string{
		"--etcd-servers=" + p.EtcdURL(),
		"--bind-address=" + bind,
		"--advertise-address=" + advertise,
		fmt.Sprintf("--secure-port=%d", p.Ports.APIServer),
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
		// Nothing proxies Services here, and the reconciler refuses loopback.
		"--endpoint-reconciler-type=none",
		"--delete-collection-workers=8",
		// Ends open watches on SIGTERM; without it every stop takes the whole
		// request timeout, a minute, as soon as one client watches something.
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
		Spec:  p.spec(APIServer, args...),
		Probe: httpProbe("https://"+onLoopback(p.Ports.APIServer)+"/readyz?verbose", p.Layout.PKI("ca.crt"), p.Access.Token),
	}
}

// ControllerManager runs Jobs, collects garbage, deletes namespaces, and so on.
func (p Plan) ControllerManager() Component {
	return Component{
		Spec: p.spec(ControllerManager,
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
			// It is created if missing, by default below /usr.
			"--flex-volume-plugin-dir="+p.Layout.Data("volume-plugins"),
		),
		Probe: httpProbe("https://"+onLoopback(p.Ports.ControllerManager)+"/healthz", "", ""),
	}
}

// Scheduler assigns Pods to the node.
func (p Plan) Scheduler() Component {
	return Component{
		Spec:  p.spec(Scheduler, "--config="+p.Layout.Config("scheduler.json"), "--bind-address="+loopback, fmt.Sprintf("--secure-port=%d", p.Ports.Scheduler)),
		Probe: httpProbe("https://"+onLoopback(p.Ports.Scheduler)+"/healthz", "", ""),
	}
}

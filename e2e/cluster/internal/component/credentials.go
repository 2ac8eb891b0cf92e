package component

import (
	"fmt"
	"os"
	"strings"

	"github.com/LogicIQ/konductor/e2e/cluster/internal/pki"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Access is how an administrator reaches the API server.
type Access struct {
	Server string `json:"server"`
	CA     []byte `json:"ca"`
	Token  string `json:"token"`
}

// adminName is the name of the administrator's kubeconfig file.
const adminName = "admin"

// NodeName is the name of the only node.
const NodeName = "konductor"

// WriteCredentials writes all keys, certificates, tokens and kubeconfig files of a new cluster below l.Dir. server is the URL for
// the components.
func WriteCredentials(l Layout, server string) (Access, error) {
	for _, dir := range l.dirs() {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return Access{}, err
		}
	}
	ca, err := pki.NewAuthority("konductor")
	if err != nil {
		return Access{}, fmt.Errorf("certificate authority: %w", err)
	}
	dir := l.PKI("")
	if err := os.WriteFile(l.PKI("ca.crt"), ca.PEM(), 0o644); err != nil {
		return Access{}, err
	}
	if err := ca.WriteServing(dir, APIServer, loopback, ServiceIP, NodeIP, "localhost",
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"); err != nil {
		return Access{}, fmt.Errorf("certificate of %s: %w", APIServer, err)
	}
	if err := ca.WriteClient(dir, "kubelet-client", "kube-apiserver-kubelet-client", "system:masters"); err != nil {
		return Access{}, fmt.Errorf("certificate for the kubelet: %w", err)
	}
	if err := pki.WriteKey(l.PKI("serviceaccount.key")); err != nil {
		return Access{}, fmt.Errorf("ServiceAccount key: %w", err)
	}

	access := Access{Server: server, CA: ca.PEM()}
	var tokens strings.Builder
	for _, user := range []struct{ component, name, group string }{
		{adminName, "konductor-admin", "system:masters"},
		{ControllerManager, "system:kube-controller-manager", ""},
		{Scheduler, "system:kube-scheduler", ""},
		{Kubelet, "system:node:" + NodeName, "system:nodes"},
	} {
		token := pki.NewToken()
		fmt.Fprintf(&tokens, "%s,%s,%s,%q\n", token, user.name, user.name, user.group)
		as := Access{Server: server, CA: access.CA, Token: token}
		if err := as.WriteKubeconfig(l.Kubeconfig(user.component)); err != nil {
			return Access{}, err
		}
		if user.component == adminName {
			access.Token = token
		}
	}
	return access, os.WriteFile(l.PKI("tokens.csv"), []byte(tokens.String()), 0o600)
}

// WriteKubeconfig writes a kubeconfig file with a single context.
func (a Access) WriteKubeconfig(path string) error {
	const name = "konductor"
	config := clientcmdapi.NewConfig()
	config.Clusters[name] = &clientcmdapi.Cluster{Server: a.Server, CertificateAuthorityData: a.CA}
	config.AuthInfos[name] = &clientcmdapi.AuthInfo{Token: a.Token}
	config.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	config.CurrentContext = name
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		return fmt.Errorf("write kubeconfig: %w", err)
	}
	return nil
}

// AdminKubeconfig returns the path of the administrator's kubeconfig.
func (l Layout) AdminKubeconfig() string { return l.Kubeconfig(adminName) }

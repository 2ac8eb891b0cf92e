package component

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"

	"github.com/LogicIQ/konductor/e2e/internal/credentials"
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
	ca, err := newAuthority("konductor")
	if err != nil {
		return Access{}, fmt.Errorf("certificate authority: %w", err)
	}
	caPEM, err := cert.EncodeCertificates(ca.certificate)
	if err != nil {
		return Access{}, err
	}
	if err := cert.WriteCert(l.PKI("ca.crt"), caPEM); err != nil {
		return Access{}, err
	}
	if err := ca.issue(l.PKI(APIServer), cert.Config{
		CommonName: APIServer, Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		AltNames: cert.AltNames{
			IPs:      []net.IP{net.ParseIP(loopback), net.ParseIP(ServiceIP), net.ParseIP(NodeIP)},
			DNSNames: []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"},
		},
	}); err != nil {
		return Access{}, fmt.Errorf("certificate of %s: %w", APIServer, err)
	}
	if err := ca.issue(l.PKI("kubelet-client"), cert.Config{
		CommonName: "kube-apiserver-kubelet-client", Organization: []string{"system:masters"}, Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}); err != nil {
		return Access{}, fmt.Errorf("certificate for the kubelet: %w", err)
	}
	if _, _, err := keyutil.LoadOrGenerateKeyFile(l.PKI("serviceaccount.key")); err != nil {
		return Access{}, fmt.Errorf("ServiceAccount key: %w", err)
	}

	access := Access{Server: server, CA: caPEM}
	var tokens strings.Builder
	for _, user := range []struct{ component, name, group string }{
		{adminName, "konductor-admin", "system:masters"},
		{ControllerManager, "system:kube-controller-manager", ""},
		{Scheduler, "system:kube-scheduler", ""},
		{Kubelet, "system:node:" + NodeName, "system:nodes"},
	} {
		token := rand.Text()
		fmt.Fprintf(&tokens, "%s,%s,%s,%q\n", token, user.name, user.name, user.group)
		as := Access{Server: server, CA: access.CA, Token: token}
		if err := credentials.WriteKubeconfig(as.Config(), "", l.Kubeconfig(user.component)); err != nil {
			return Access{}, err
		}
		if user.component == adminName {
			access.Token = token
		}
	}
	return access, os.WriteFile(l.PKI("tokens.csv"), []byte(tokens.String()), 0o600)
}

// Config returns a client configuration without a client-side rate limit. Each call returns a copy.
func (a Access) Config() *rest.Config {
	return &rest.Config{Host: a.Server, BearerToken: a.Token, TLSClientConfig: rest.TLSClientConfig{CAData: slices.Clone(a.CA)}, QPS: -1}
}

// AdminKubeconfig returns the path of the administrator's kubeconfig.
func (l Layout) AdminKubeconfig() string { return l.Kubeconfig(adminName) }

// authority signs certificates. Its key exists only in memory: nothing can be signed once the cluster is set up.
type authority struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

func newAuthority(name string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	const clockSkew = time.Hour // clocks that differ a little
	certificate, err := cert.NewSelfSignedCACert(cert.Config{CommonName: name, NotBefore: time.Now().Add(-clockSkew)}, key)
	return &authority{certificate, key}, err
}

// issue writes PATH.crt and PATH.key. client-go has no function that signs with an authority and an elliptic key, and RSA would be
// a part of what the benchmarks measure.
func (a *authority) issue(path string, config cert.Config) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: config.CommonName, Organization: config.Organization},
		DNSNames:    config.AltNames.DNSNames,
		IPAddresses: config.AltNames.IPs,
		NotBefore:   a.certificate.NotBefore,
		NotAfter:    a.certificate.NotAfter,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: config.Usages,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	if err != nil {
		return err
	}
	certPEM, certErr := cert.EncodeCertificates(&x509.Certificate{Raw: der})
	keyPEM, keyErr := keyutil.MarshalPrivateKeyToPEM(key)
	return errors.Join(certErr, keyErr, cert.WriteCert(path+".crt", certPEM), keyutil.WriteKey(path+".key", keyPEM))
}

package install

import (
	"context"
	"fmt"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// OperatorConfig returns the config of an operator that runs beside the cluster, with the installed account and exactly its
// rights.
func OperatorConfig(ctx context.Context, config *rest.Config) (*rest.Config, error) {
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	day := int64(24 * time.Hour / time.Second)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &day}}
	token, err := kube.CoreV1().ServiceAccounts(Namespace).CreateToken(ctx, Deployment, request, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("a token for the operator: %w", err)
	}
	return WithToken(config, token.Status.Token), nil
}

// WithToken returns a copy of config that authenticates with that token.
func WithToken(config *rest.Config, token string) *rest.Config {
	config = rest.AnonymousClientConfig(config)
	config.BearerToken = token
	return config
}

// WriteKubeconfig writes config, which authenticates with a token, as a kubeconfig file.
func WriteKubeconfig(config *rest.Config, namespace, file string) error {
	const name = "e2e"
	return clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{name: {Server: config.Host, CertificateAuthorityData: config.CAData}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{name: {Token: config.BearerToken}},
		Contexts:       map[string]*clientcmdapi.Context{name: {Cluster: name, AuthInfo: name, Namespace: namespace}},
		CurrentContext: name,
	}, file)
}

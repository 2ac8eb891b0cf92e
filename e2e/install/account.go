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

// OperatorKubeconfig writes a file by which an operator that runs beside the cluster reaches it as the account that the
// chart has made, with its rights and no others.
func OperatorKubeconfig(ctx context.Context, config *rest.Config, file string) error {
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	day := int64(24 * time.Hour / time.Second)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &day}}
	token, err := kube.CoreV1().ServiceAccounts(Namespace).CreateToken(ctx, Deployment, request, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("a token for the operator: %w", err)
	}
	return WriteKubeconfig(config, token.Status.Token, Namespace, file)
}

// WriteKubeconfig writes a file by which the bearer of a token reaches the API server of config.
func WriteKubeconfig(config *rest.Config, token, namespace, file string) error {
	const name = "e2e"
	return clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{name: {Server: config.Host, CertificateAuthorityData: config.CAData}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{name: {Token: token}},
		Contexts:       map[string]*clientcmdapi.Context{name: {Cluster: name, AuthInfo: name, Namespace: namespace}},
		CurrentContext: name,
	}, file)
}

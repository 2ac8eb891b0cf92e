// Package credentials returns the configs of clients with the tokens of ServiceAccounts and Pods, and writes kubeconfig files.
package credentials

import (
	"context"
	"errors"
	"fmt"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// ForAccount returns a copy of config that authenticates as a ServiceAccount for a day; as a process in pod, unless that is nil.
func ForAccount(ctx context.Context, kube kubernetes.Interface, config *rest.Config, namespace, account string, pod *corev1.Pod) (*rest.Config, error) {
	day := int64(24 * time.Hour / time.Second)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &day}}
	if pod != nil {
		request.Spec.BoundObjectRef = &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID}
	}
	token, err := kube.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, account, request, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("a token of %s/%s: %w", namespace, account, err)
	}
	config = rest.AnonymousClientConfig(config)
	config.BearerToken = token.Status.Token
	return config, nil
}

// ForNewPod creates a Pod and returns a copy of config that authenticates as a process in it. No node runs the Pod, but its holds
// are bound to it all the same.
func ForNewPod(ctx context.Context, kube kubernetes.Interface, config *rest.Config, namespace, name string) (*rest.Config, error) {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "main", Image: "none"}}},
	}
	var created *corev1.Pod
	var forbidden error
	err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, 30*time.Second, true, func(ctx context.Context) (_ bool, err error) {
		// A new namespace has no ServiceAccount for a moment.
		if created, err = kube.CoreV1().Pods(namespace).Create(ctx, pod, metav1.CreateOptions{}); apierrors.IsForbidden(err) {
			forbidden = err
			return false, nil
		}
		return err == nil, err
	})
	if err != nil {
		return nil, fmt.Errorf("creating pod %s/%s: %w", namespace, name, errors.Join(err, forbidden))
	}
	return ForAccount(ctx, kube, config, namespace, "default", created)
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

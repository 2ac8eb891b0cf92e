package clients

import (
	"context"
	"fmt"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// createPodConfig waits for the namespace's ServiceAccount, creates a Pod and returns the config of a process in it. No node runs
// the Pod, but its holds are bound to it all the same.
func (p *Env) createPodConfig(ctx context.Context, name string) (*rest.Config, error) {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: name},
		Spec:       corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "main", Image: "none"}}},
	}
	limited, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		err := p.Objects.Create(limited, pod)
		if err == nil {
			break
		}
		sleep(limited, 50*time.Millisecond)
		if limited.Err() != nil {
			return nil, fmt.Errorf("creating pod %s: %w", name, err)
		}
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: "default"}}
	token := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID},
	}}
	if err := p.Objects.SubResource("token").Create(ctx, account, token); err != nil {
		return nil, fmt.Errorf("asking for the token of pod %s: %w", name, err)
	}
	config := rest.AnonymousClientConfig(p.Config)
	config.BearerToken, config.QPS = token.Status.Token, -1
	return config, nil
}

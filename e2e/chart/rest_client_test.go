package chart

import (
	"context"
	"fmt"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/e2e/cluster"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// newRESTClient returns a client for requests that the SDK would never send.
func newRESTClient(t *testing.T, config *rest.Config) rest.Interface {
	t.Helper()
	gv := konductorv1.GroupVersion()
	config = rest.CopyConfig(config)
	config.GroupVersion, config.APIPath = &gv, "/apis"
	scheme := runtime.NewScheme()
	if err := konductorv1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	client, err := rest.RESTClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// newPodRESTClient returns such a client with the token of a Pod.
func newPodRESTClient(t *testing.T, cp *cluster.ControlPlane, p *corev1.Pod) rest.Interface {
	t.Helper()
	return newRESTClient(t, podTokenConfig(t, cp, p))
}

// podTokenConfig returns a config with a token that is bound to the Pod.
func podTokenConfig(t *testing.T, cp *cluster.ControlPlane, p *corev1.Pod) *rest.Config {
	t.Helper()
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: p.Name, UID: p.UID},
	}}
	token, err := kubernetes.NewForConfigOrDie(cp.Config()).CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), "default", request, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	config := rest.AnonymousClientConfig(cp.Config())
	config.BearerToken = token.Status.Token
	return config
}

func createObject(ctx context.Context, c rest.Interface, resource, body string) error {
	return c.Post().Namespace(namespace).Resource(resource).SetHeader("Content-Type", "application/json").Body([]byte(body)).Do(ctx).Error()
}

func boundClaimJSON(name, pod string, uid types.UID) string {
	return fmt.Sprintf(`{"apiVersion":"konductor.io/v1","kind":"Claim","metadata":{"name":%q},"spec":{"target":{"kind":"Lease","name":"db"},"holder":"x","boundTo":{"kind":"Pod","name":%q,"uid":%q}}}`, name, pod, uid)
}

func boundArrivalJSON(name, pod string, uid types.UID) string {
	return fmt.Sprintf(`{"apiVersion":"konductor.io/v1","kind":"Arrival","metadata":{"name":%q},"spec":{"barrier":"done","participant":"x","boundTo":{"kind":"Pod","name":%q,"uid":%q}}}`, name, pod, uid)
}

// awaitAdmissionPolicy waits until the API server enforces the policy, which it does some time after it was created.
func awaitAdmissionPolicy(t *testing.T, attacker rest.Interface, victim *corev1.Pod) {
	t.Helper()
	n := 0
	eventually(t, "the policy is in force", func() bool {
		n++
		err := createObject(t.Context(), attacker, "claims", boundClaimJSON(fmt.Sprintf("probe-%d", n), victim.Name, victim.UID))
		return err != nil && strings.Contains(err.Error(), "konductor-participants")
	})
}

// awaitClaimName returns the name of the SDK's claim once it exists.
func awaitClaimName(t *testing.T, people *konductor.Client) (name string) {
	t.Helper()
	eventually(t, "the claim is made", func() bool {
		claims, err := people.ListClaims(t.Context(), konductorv1.KindLease, "db")
		if err != nil {
			return false
		}
		for _, c := range claims.Items {
			if strings.HasPrefix(c.Name, "lease-db-") {
				name = c.Name
				return true
			}
		}
		return false
	})
	return name
}

package konductor

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// identity is who this process is.
type identity struct {
	host      string
	namespace string    // of the Pod; empty outside of one
	pod       string    // empty outside of a Pod
	podUID    types.UID // empty outside of a Pod
}

// ownIdentity reads the identity from the token that config authenticates with. Kubernetes issues a Pod's token with
// the Pod's name and UID in it, so no downward API is needed, and a token of another kind just has none. The API server
// verifies the token; here it is only read.
func ownIdentity(config *rest.Config) identity {
	id := identity{host: hostname()}
	token := config.BearerToken
	if config.BearerTokenFile != "" {
		if b, err := os.ReadFile(config.BearerTokenFile); err == nil {
			token = string(b)
		}
	}
	parts := strings.Split(strings.TrimSpace(token), ".")
	if len(parts) != 3 {
		return id
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return id
	}
	var claims struct {
		Kubernetes struct {
			Namespace string `json:"namespace"`
			Pod       *struct {
				Name string    `json:"name"`
				UID  types.UID `json:"uid"`
			} `json:"pod"`
		} `json:"kubernetes.io"`
	}
	if json.Unmarshal(payload, &claims) != nil || claims.Kubernetes.Pod == nil {
		return id
	}
	id.namespace, id.pod, id.podUID = claims.Kubernetes.Namespace, claims.Kubernetes.Pod.Name, claims.Kubernetes.Pod.UID
	return id
}

// bound returns the Pod to bind to, or nil outside of one.
func (id identity) bound() *konductorv1.BoundObject {
	if id.pod == "" {
		return nil
	}
	return &konductorv1.BoundObject{Kind: konductorv1.KindPod, Name: id.pod, UID: id.podUID}
}

// Holder returns under which name this client acquires: that of WithHolder, else the Pod's, else the host's.
func (c *Client) Holder(opts ...Option) string { return c.holder(collect(opts)) }

func (c *Client) holder(o options) string {
	switch {
	case o.holder != "":
		return o.holder
	case c.identity.pod != "":
		return c.identity.pod
	default:
		return c.identity.host
	}
}

// Pod returns the name of the Pod that this process runs in, and to which its holds are bound; empty outside of one, or
// when the Client works in another namespace.
func (c *Client) Pod() string { return c.identity.pod }

// Participant returns under which name this client arrives at barriers: that of WithHolder; else the Job that the Pod
// belongs to, as job/NAME, or job/NAME/INDEX in an Indexed Job; else the Pod, as pod/NAME; else the host's name.
//
// It returns a *ForbiddenError when the ServiceAccount may not read its own Pod, which alone tells its Job.
func (c *Client) Participant(ctx context.Context, opts ...Option) (string, error) {
	o := collect(opts)
	if o.holder != "" {
		return o.holder, nil
	}
	if c.identity.pod == "" {
		return c.identity.host, nil
	}
	pods := schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	var pod *metav1.PartialObjectMetadata
	err := c.retry(ctx, func() (err error) {
		pod, err = c.metadata.Resource(pods).Namespace(c.namespace).Get(ctx, c.identity.pod, metav1.GetOptions{})
		return err
	})
	if err != nil {
		return "", fmt.Errorf("finding out which job pod %s belongs to (a name given as holder makes it unnecessary): %w",
			c.identity.pod, c.explain(err, "get", "pods", c.identity.pod))
	}
	owner := metav1.GetControllerOf(pod)
	if owner == nil || owner.Kind != "Job" {
		return "pod/" + c.identity.pod, nil
	}
	// Kubernetes notes the index of an Indexed Job's Pod here; a Pod of any other Job has none.
	const indexAnnotation = "batch.kubernetes.io/job-completion-index"
	if index, ok := pod.Annotations[indexAnnotation]; ok {
		return "job/" + owner.Name + "/" + index, nil
	}
	return "job/" + owner.Name, nil
}

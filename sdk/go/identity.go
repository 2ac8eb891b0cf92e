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

// identity identifies this process as a holder and participant.
type identity struct {
	host      string
	machine   machineID // outside of a Pod, distinguishes it from hosts of the same name
	namespace string    // of the Pod; empty outside of one
	pod       string    // empty outside of a Pod
	podUID    types.UID // empty outside of a Pod
}

// detectIdentity reads the identity from the token that config authenticates with. Kubernetes issues a Pod's token with the
// Pod's name and UID in it, so no downward API is needed; other tokens have none. The API server verifies the token; here
// it is only decoded.
func detectIdentity(config *rest.Config) identity {
	id := identity{host: hostname(), machine: currentMachineID()}
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

// boundPod returns the Pod to bind to, or nil outside of one.
func (id identity) boundPod() *konductorv1.BoundObject {
	if id.pod == "" {
		return nil
	}
	return &konductorv1.BoundObject{Kind: konductorv1.KindPod, Name: id.pod, UID: id.podUID}
}

// inOtherNamespace returns the identity for another namespace than the Pod's, where nothing can be bound to the Pod.
func (id identity) inOtherNamespace() identity {
	other := identity{host: id.host, machine: id.machine}
	if id.podUID != "" {
		other.machine = podMachineID(string(id.podUID))
	}
	return other
}

// hostWithSuffix returns the host's name with a suffix, if there is one, that distinguishes it from hosts of the same name.
func (id identity) hostWithSuffix(suffix string) string {
	if suffix == "" {
		return id.host
	}
	return id.host + "/" + suffix
}

// Holder returns the name under which this client acquires: that of WithHolder, else the Pod's, else the host's with a
// suffix that no other machine, container or user has. The suffix stays the same until the machine restarts.
func (c *Client) Holder(opts ...HolderOption) string { return c.holderFor(applyOptions(opts)) }

func (c *Client) holderFor(o options) string {
	switch {
	case o.holder != "":
		return o.holder
	case c.identity.pod != "":
		return c.identity.pod
	default:
		return c.identity.hostWithSuffix(c.identity.machine.perBoot)
	}
}

// Pod returns the name of the Pod that this process runs in and that its holds are bound to. It is empty outside of a Pod,
// and if the Client works in another namespace than the Pod's.
func (c *Client) Pod() string { return c.identity.pod }

// Participant returns the name under which this client arrives at barriers: that of WithHolder; else the Job that the Pod
// belongs to, as job/NAME, or job/NAME/INDEX in an Indexed Job; else the Pod, as pod/NAME; else the host's name with a
// suffix for the user on this machine, which stays the same when the machine restarts.
//
// It returns a *ForbiddenError if the ServiceAccount may not read its own Pod, which is needed to find the Job.
func (c *Client) Participant(ctx context.Context, opts ...HolderOption) (string, error) {
	return c.participantFor(ctx, applyOptions(opts))
}

func (c *Client) participantFor(ctx context.Context, o options) (string, error) {
	if o.holder != "" {
		return o.holder, nil
	}
	if c.identity.pod == "" {
		return c.identity.hostWithSuffix(c.identity.machine.persistent), nil
	}
	pods := schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	var pod *metav1.PartialObjectMetadata
	err := c.retry(ctx, func(ctx context.Context) (err error) {
		pod, err = c.metadataClient.Resource(pods).Namespace(c.namespace).Get(ctx, c.identity.pod, metav1.GetOptions{})
		return err
	})
	if err != nil {
		return "", fmt.Errorf("finding the job of pod %s (not needed if a holder name is set): %w",
			c.identity.pod, c.explain(err, "get", "pods", c.identity.pod))
	}
	owner := konductorv1.ControllingJob(pod)
	if owner == nil {
		return "pod/" + c.identity.pod, nil
	}
	// Kubernetes sets this annotation on Pods of Indexed Jobs only.
	const indexAnnotation = "batch.kubernetes.io/job-completion-index"
	if index, ok := pod.Annotations[indexAnnotation]; ok {
		return "job/" + owner.Name + "/" + index, nil
	}
	return "job/" + owner.Name, nil
}

// hostname returns the name of this host, or a placeholder.
func hostname() string {
	if name, err := os.Hostname(); err == nil && name != "" {
		return name
	}
	return "unknown-host"
}

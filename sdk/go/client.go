package konductor

import (
	"fmt"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/apiclient"
)

// Client creates, reads, waits for and acquires the barriers, gates, leases and semaphores of one namespace. It is safe for
// concurrent use.
type Client struct {
	namespace      string
	kubeContext    string // name of the kubeconfig's context; empty: none
	identity       identity
	clients        typedClients
	metadataClient metadata.Interface
	restClient     rest.Interface
	serverHost     string // address of the API server
	notify         func(string)
	createdBy      createdByCache

	// requestTimeout is the timeout of one request in the config that the Client was made from; zero: not set.
	requestTimeout time.Duration
	// contacted is true once the API server has carried out a request.
	contacted atomic.Bool
	outages   outageNotifier
	// watchIdleTimeout is how long a watch may be silent before it is considered broken.
	watchIdleTimeout time.Duration
	// identityLocks serializes the holds of the same identity in this Client: to the operator they would be one holder.
	identityLocks keyedMutex
	// targetCache has the leases and semaphores that were acquired recently.
	targetCache targetCache
}

// typedClients are the clients of all kinds, for one namespace.
type typedClients struct {
	barriers   typedClient[*konductorv1.Barrier, *konductorv1.BarrierList]
	arrivals   typedClient[*konductorv1.Arrival, *konductorv1.ArrivalList]
	gates      typedClient[*konductorv1.Gate, *konductorv1.GateList]
	leases     typedClient[*konductorv1.Lease, *konductorv1.LeaseList]
	semaphores typedClient[*konductorv1.Semaphore, *konductorv1.SemaphoreList]
	claims     typedClient[*konductorv1.Claim, *konductorv1.ClaimList]

	// targetReaders read leases and semaphores, by kind, for acquires.
	targetReaders map[string]reader[*partialTarget]
	// openableReaders read barriers and gates, by kind, for waits and arrivals.
	openableReaders map[string]reader[*partialOpenable]
}

// ClientOption configures a Client.
type ClientOption func(*Client)

// InNamespace sets the namespace that the Client works in, instead of the Pod's or the kubeconfig's.
func InNamespace(namespace string) ClientOption {
	return func(c *Client) { c.namespace = namespace }
}

// InContext sets the name of the kubeconfig's context that config was made from, so that messages for people name the
// cluster. New detects it if config is nil.
func InContext(name string) ClientOption {
	return func(c *Client) { c.kubeContext = name }
}

// NotifyFunc sets the function that the Client calls with a sentence for people whenever a wait has something to report:
// the object doesn't exist yet, the API server can't be reached, no operator responds. It may be called from several
// goroutines.
func NotifyFunc(notify func(string)) ClientOption {
	return func(c *Client) { c.notify = notify }
}

// New returns a Client for the cluster of config. If config is nil, that is the cluster the Pod runs in, or outside of one
// the current context of the kubeconfig.
func New(config *rest.Config, opts ...ClientOption) (*Client, error) {
	c := &Client{notify: func(string) {}, watchIdleTimeout: watchIdleTimeout}
	if config == nil {
		var err error
		if config, err = c.defaultConfig(); err != nil {
			return nil, err
		}
	}
	for _, o := range opts {
		o(c)
	}
	c.identity = detectIdentity(config)
	if c.namespace == "" {
		c.namespace = c.identity.namespace
	}
	if c.namespace == "" {
		c.namespace = metav1.NamespaceDefault
	}
	if c.namespace != c.identity.namespace {
		// A hold can be bound only to a Pod of its own namespace.
		c.identity = c.identity.inOtherNamespace()
	}
	return c, c.initClients(config)
}

// Namespace returns the namespace that the Client works in.
func (c *Client) Namespace() string { return c.namespace }

// defaultConfig finds the cluster, its context and the namespace to work in as kubectl does.
func (c *Client) defaultConfig() (*rest.Config, error) {
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		clientcmd.NewDefaultClientConfigLoadingRules(), &clientcmd.ConfigOverrides{})
	config, err := loader.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("finding the cluster: %w", err)
	}
	if c.namespace, _, err = loader.Namespace(); err != nil {
		return nil, fmt.Errorf("finding the namespace: %w", err)
	}
	raw, err := loader.RawConfig()
	if err != nil {
		return nil, fmt.Errorf("finding the cluster: %w", err)
	}
	c.kubeContext = raw.CurrentContext
	return config, nil
}

// initClients creates the clients of all kinds, which share one connection.
func (c *Client) initClients(config *rest.Config) error {
	scheme := runtime.NewScheme()
	if err := konductorv1.AddToScheme(scheme); err != nil {
		return err
	}
	config = rest.CopyConfig(config)
	gv := konductorv1.GroupVersion()
	config.GroupVersion, config.APIPath = &gv, "/apis"
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	// The API server's priority and fairness limits requests. A client-side limit on top would only delay releases.
	config.QPS = -1
	// The config's timeout is for each request, but not for watches.
	c.serverHost, c.requestTimeout, config.Timeout = config.Host, config.Timeout, 0
	if config.UserAgent == "" {
		config.UserAgent = "konductor-sdk-go"
	}
	config.Wrap(stripRetryAfter)
	config.Wrap(apiclient.RejectForeignDeletions)
	client, err := rest.RESTClientFor(config)
	if err != nil {
		return fmt.Errorf("connecting to %s: %w", config.Host, err)
	}
	if c.metadataClient, err = metadata.NewForConfig(config); err != nil {
		return fmt.Errorf("connecting to %s: %w", config.Host, err)
	}
	c.restClient = client
	metav1.AddToGroupVersion(scheme, gv)
	scope := namespacedClient{client, runtime.NewParameterCodec(scheme), c.namespace}
	c.clients = typedClients{
		barriers: newTypedClient(scope, "barriers",
			func() *konductorv1.Barrier { return &konductorv1.Barrier{} }, func() *konductorv1.BarrierList { return &konductorv1.BarrierList{} }),
		arrivals: newTypedClient(scope, "arrivals",
			func() *konductorv1.Arrival { return &konductorv1.Arrival{} }, func() *konductorv1.ArrivalList { return &konductorv1.ArrivalList{} }),
		gates: newTypedClient(scope, "gates",
			func() *konductorv1.Gate { return &konductorv1.Gate{} }, func() *konductorv1.GateList { return &konductorv1.GateList{} }),
		leases: newTypedClient(scope, "leases",
			func() *konductorv1.Lease { return &konductorv1.Lease{} }, func() *konductorv1.LeaseList { return &konductorv1.LeaseList{} }),
		semaphores: newTypedClient(scope, "semaphores",
			func() *konductorv1.Semaphore { return &konductorv1.Semaphore{} }, func() *konductorv1.SemaphoreList { return &konductorv1.SemaphoreList{} }),
		claims: newTypedClient(scope, "claims",
			func() *konductorv1.Claim { return &konductorv1.Claim{} }, func() *konductorv1.ClaimList { return &konductorv1.ClaimList{} }),
		targetReaders: map[string]reader[*partialTarget]{
			konductorv1.KindLease: newTargetReader(scope, "leases"), konductorv1.KindSemaphore: newTargetReader(scope, "semaphores"),
		},
		openableReaders: map[string]reader[*partialOpenable]{
			konductorv1.KindBarrier: newOpenableReader(scope, "barriers"), konductorv1.KindGate: newOpenableReader(scope, "gates"),
		},
	}
	return nil
}

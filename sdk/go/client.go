package konductor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// Client takes part in barriers, gates, leases and semaphores of one namespace. It is safe for concurrent use.
type Client struct {
	namespace string
	context   string // of the kubeconfig; empty: there is none
	identity  identity
	objects   objects
	metadata  metadata.Interface
	server    rest.Interface
	notify    func(string)

	// contacted says that the API server has answered before.
	contacted atomic.Bool
	// turns lets those who share this Client, and so an identity, take turns: to the operator they would be one holder.
	turns turns
	// targets are the leases and semaphores that were acquired a moment ago.
	targets targets
}

// objects are the API resources of a namespace.
type objects struct {
	barriers   resource[*konductorv1.Barrier, *konductorv1.BarrierList]
	arrivals   resource[*konductorv1.Arrival, *konductorv1.ArrivalList]
	gates      resource[*konductorv1.Gate, *konductorv1.GateList]
	leases     resource[*konductorv1.Lease, *konductorv1.LeaseList]
	semaphores resource[*konductorv1.Semaphore, *konductorv1.SemaphoreList]
	claims     resource[*konductorv1.Claim, *konductorv1.ClaimList]

	// targets are leases and semaphores, by their kind, for those who acquire.
	targets map[string]reader[*targetObject]
	// openables are barriers and gates, by their kind, for those who wait or arrive.
	openables map[string]reader[*openable]
}

// ClientOption changes how a Client is made.
type ClientOption func(*Client)

// InNamespace makes the Client work in that namespace instead of the Pod's or the kubeconfig's.
func InNamespace(namespace string) ClientOption {
	return func(c *Client) { c.namespace = namespace }
}

// InContext tells the Client the name of the kubeconfig's context that its config was made from, so that what it says to
// people names the cluster. New finds it out itself when it is given no config.
func InContext(name string) ClientOption {
	return func(c *Client) { c.context = name }
}

// NotifyFunc makes the Client call say with a sentence for people whenever a wait has something to tell: that the
// object doesn't exist yet, that the API server is out of reach, that no operator answers. It may be called from several
// goroutines.
func NotifyFunc(say func(string)) ClientOption {
	return func(c *Client) { c.notify = say }
}

// New returns a Client for the cluster that config names. When config is nil that is the cluster the Pod runs in, or
// outside of one the current context of the kubeconfig.
func New(config *rest.Config, opts ...ClientOption) (*Client, error) {
	c := &Client{notify: func(string) {}}
	if config == nil {
		var err error
		if config, err = c.defaultConfig(); err != nil {
			return nil, err
		}
	}
	for _, o := range opts {
		o(c)
	}
	c.identity = ownIdentity(config)
	if c.namespace == "" {
		c.namespace = c.identity.namespace
	}
	if c.namespace == "" {
		c.namespace = metav1.NamespaceDefault
	}
	if c.namespace != c.identity.namespace {
		// A Pod can bind its holds only where it lives.
		c.identity = identity{host: c.identity.host}
	}
	return c, c.connect(config)
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
	c.context = raw.CurrentContext
	return config, nil
}

// connect makes the clients of all kinds, which share one connection.
func (c *Client) connect(config *rest.Config) error {
	scheme := runtime.NewScheme()
	if err := konductorv1.AddToScheme(scheme); err != nil {
		return err
	}
	config = rest.CopyConfig(config)
	gv := konductorv1.GroupVersion()
	config.GroupVersion, config.APIPath = &gv, "/apis"
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	// The API server's own fairness limits us. A limit here on top would only make a release late.
	config.QPS = -1
	if config.UserAgent == "" {
		config.UserAgent = "konductor-sdk-go"
	}
	config.Wrap(ownPauses)
	client, err := rest.RESTClientFor(config)
	if err != nil {
		return fmt.Errorf("connecting to %s: %w", config.Host, err)
	}
	if c.metadata, err = metadata.NewForConfig(config); err != nil {
		return fmt.Errorf("connecting to %s: %w", config.Host, err)
	}
	c.server = client
	metav1.AddToGroupVersion(scheme, gv)
	at := place{client, runtime.NewParameterCodec(scheme), c.namespace}
	c.objects = objects{
		barriers: newResource(at, "barriers",
			func() *konductorv1.Barrier { return &konductorv1.Barrier{} }, func() *konductorv1.BarrierList { return &konductorv1.BarrierList{} }),
		arrivals: newResource(at, "arrivals",
			func() *konductorv1.Arrival { return &konductorv1.Arrival{} }, func() *konductorv1.ArrivalList { return &konductorv1.ArrivalList{} }),
		gates: newResource(at, "gates",
			func() *konductorv1.Gate { return &konductorv1.Gate{} }, func() *konductorv1.GateList { return &konductorv1.GateList{} }),
		leases: newResource(at, "leases",
			func() *konductorv1.Lease { return &konductorv1.Lease{} }, func() *konductorv1.LeaseList { return &konductorv1.LeaseList{} }),
		semaphores: newResource(at, "semaphores",
			func() *konductorv1.Semaphore { return &konductorv1.Semaphore{} }, func() *konductorv1.SemaphoreList { return &konductorv1.SemaphoreList{} }),
		claims: newResource(at, "claims",
			func() *konductorv1.Claim { return &konductorv1.Claim{} }, func() *konductorv1.ClaimList { return &konductorv1.ClaimList{} }),
		targets: map[string]reader[*targetObject]{
			konductorv1.KindLease: newTargetReader(at, "leases"), konductorv1.KindSemaphore: newTargetReader(at, "semaphores"),
		},
		openables: map[string]reader[*openable]{
			konductorv1.KindBarrier: newOpenableReader(at, "barriers"), konductorv1.KindGate: newOpenableReader(at, "gates"),
		},
	}
	return nil
}

// ownPauses keeps client-go from repeating by itself what the API server was too busy for: it does so after exactly as long
// as the server suggests, and so do all others that were turned away.
func ownPauses(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		resp, err := next.RoundTrip(req)
		if err == nil && resp.StatusCode == http.StatusTooManyRequests {
			resp.Header.Del("Retry-After")
		}
		return resp, err
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// turns is a set of locks by name. A name that nobody uses takes no room.
type turns struct {
	mu    sync.Mutex
	locks map[string]*turn
}

type turn struct {
	lock  chan struct{} // holds one while somebody has the turn
	users int           // those who have it or wait for it
}

// use returns the lock of that name, and what to call when it is not used any more.
func (t *turns) use(name string) (chan struct{}, func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.locks == nil {
		t.locks = map[string]*turn{}
	}
	one, ok := t.locks[name]
	if !ok {
		one = &turn{lock: make(chan struct{}, 1)}
		t.locks[name] = one
	}
	one.users++
	return one.lock, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if one.users--; one.users == 0 {
			delete(t.locks, name)
		}
	}
}

// take waits for the lock of that name and returns what gives it back.
func (t *turns) take(ctx context.Context, name string) (func(), error) {
	lock, unuse := t.use(name)
	select {
	case lock <- struct{}{}:
		return sync.OnceFunc(func() { <-lock; unuse() }), nil
	case <-ctx.Done():
		unuse()
		return nil, context.Cause(ctx)
	}
}

// tryTake takes the lock of that name if nobody has it.
func (t *turns) tryTake(name string) (func(), bool) {
	lock, unuse := t.use(name)
	select {
	case lock <- struct{}{}:
		return sync.OnceFunc(func() { <-lock; unuse() }), true
	default:
		unuse()
		return nil, false
	}
}

// hostname returns the name of this host, or what stands in for it.
func hostname() string {
	if name, err := os.Hostname(); err == nil && name != "" {
		return name
	}
	return "unknown-host"
}

// ref names an object as kubectl does.
func ref(kind, name string) string { return strings.ToLower(kind) + "/" + name }

var errNoName = errors.New("a name is needed")

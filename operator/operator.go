// Package operator is konductor's operator: the process that grants claims, counts arrivals and opens gates. Run starts it;
// the decisions are in internal/rules and the controllers in operator/internal/controller.
package operator

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net/http"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/apiclient"
	"github.com/LogicIQ/konductor/internal/watchretry"
	"github.com/LogicIQ/konductor/operator/internal/controller"
)

// LeaderElectionID is the name of the coordination.k8s.io Lease by which operators elect their leader.
const LeaderElectionID = "konductor-operator"

// Options configure the operator.
type Options struct {
	// Config is how to connect to the API server.
	Config *rest.Config
	// Logger receives the operator's log.
	Logger logr.Logger
	// Namespaces are those to work in; all when empty.
	Namespaces []string
	// HeldWorkloads makes the operator hold Jobs and Pods: it keeps them suspended, or behind a scheduling gate, until they may
	// start. It needs the rights of charts/konductor/files/rbac/held-workloads.yaml.
	HeldWorkloads bool
	// LeaderElection makes operators elect one leader. Without it several may write at once, which costs failed writes and the
	// exact order of the queue, but never grants too many permits.
	LeaderElection bool
	// LeaderElectionNamespace is the namespace of the election's Lease; the Pod's own when empty.
	LeaderElectionNamespace string
	// MetricsAddress is the address to serve metrics on, over HTTPS and to authorized clients; "0": not served.
	MetricsAddress string
	// HealthAddress is the address to serve /healthz and /readyz on; "0": not served.
	HealthAddress string
	// PprofAddress is the address to serve Go's profiles on, over plain HTTP and without authorization; empty: not served.
	PprofAddress string
	// TracingEndpoint is the URL of the collector that receives OpenTelemetry traces by OTLP over gRPC: http://HOST:PORT, or
	// https://HOST:PORT for TLS. Empty: no traces.
	TracingEndpoint string
	// TracingSamplingRate is how many of a million reconciliations are traced, from 0 to MaxTracingSamplingRate.
	TracingSamplingRate int
	// Version is the operator's version, for traces.
	Version string
	// Registerer registers the operator's metrics; nil: controller-runtime's registry.
	Registerer prometheus.Registerer
}

// Run runs the operator until ctx is done. It then finishes the reconciliations in progress, gives up leadership, and
// returns nil.
func Run(ctx context.Context, o Options) error {
	ctx = log.IntoContext(ctx, o.Logger)
	traces, flush, err := newTraces(ctx, o)
	if err != nil {
		return err
	}
	defer flush()
	clock := controller.NewServerClock()
	config := rest.CopyConfig(o.Config)
	// The operator's own work queues limit its rate. A client-side limit on top would only make waiters wait.
	config.QPS = -1
	if traces != nil {
		config.Wrap(traces.WrapTransport)
	}
	config.Wrap(clock.WrapTransport)
	config.Wrap(apiclient.RejectForeignDeletions)
	config.Wrap(watchretry.NewTransport)

	mgr, err := newManager(config, o)
	if err != nil {
		return err
	}
	recorder, stop, err := newEventRecorder(ctx, mgr)
	if err != nil {
		return err
	}
	defer stop()
	counters, err := controller.NewMetrics(o.registererOrDefault())
	if err != nil {
		return fmt.Errorf("registering metrics: %w", err)
	}
	deps := controller.Deps{
		Client: mgr.GetClient(), APIReader: mgr.GetAPIReader(), Recorder: recorder, Clock: clock, Metrics: counters,
		Traces: traces, Elected: mgr.Elected(),
	}
	setupHeldWorkloads := func() error { return nil }
	if o.HeldWorkloads {
		setupHeldWorkloads = func() error {
			return errors.Join(controller.SetupHeldJobs(ctx, mgr, deps), controller.SetupHeldPods(ctx, mgr, deps))
		}
	}
	if err := errors.Join(
		controller.RegisterStateMetrics(o.registererOrDefault(), mgr.GetClient(), clock, mgr.Elected()),
		registerInformers(ctx, mgr, o.Namespaces),
		controller.SetupBarriers(mgr, deps),
		controller.SetupGates(ctx, mgr, deps, o.Namespaces),
		controller.SetupLeases(mgr, deps),
		controller.SetupSemaphores(mgr, deps),
		setupHeldWorkloads(),
		controller.SetupDeadlocks(mgr, deps, o.Namespaces),
		mgr.AddHealthzCheck("ping", healthz.Ping),
		mgr.AddReadyzCheck("caches", newCacheSyncChecker(mgr)),
	); err != nil {
		return fmt.Errorf("setting up the operator: %w", err)
	}
	return mgr.Start(ctx)
}

// NewScheme returns a scheme with the kinds that the operator works with.
func NewScheme() (*runtime.Scheme, error) {
	s := runtime.NewScheme()
	return s, errors.Join(konductorv1.AddToScheme(s), corev1.AddToScheme(s), batchv1.AddToScheme(s))
}

func newManager(config *rest.Config, o Options) (ctrl.Manager, error) {
	s, err := NewScheme()
	if err != nil {
		return nil, err
	}
	drain := 10 * time.Second
	options := ctrl.Options{
		Scheme:                        s,
		Logger:                        o.Logger,
		Cache:                         cacheOptions(o.Namespaces),
		Controller:                    ctrlconfig.Controller{SkipNameValidation: ptr(true)},
		HealthProbeBindAddress:        o.HealthAddress,
		PprofBindAddress:              o.PprofAddress,
		LeaderElection:                o.LeaderElection,
		LeaderElectionID:              LeaderElectionID,
		LeaderElectionNamespace:       o.LeaderElectionNamespace,
		LeaderElectionReleaseOnCancel: true,
		GracefulShutdownTimeout:       &drain,
		Metrics: metricsserver.Options{
			BindAddress:    o.MetricsAddress,
			SecureServing:  true,
			FilterProvider: filters.WithAuthenticationAndAuthorization,
			TLSOpts:        []func(*tls.Config){func(c *tls.Config) { c.MinVersion = tls.VersionTLS12 }},
		},
	}
	mgr, err := ctrl.NewManager(config, options)
	if err != nil {
		return nil, fmt.Errorf("connecting to the API server: %w", err)
	}
	return mgr, nil
}

// eventRecorder records Events. Those of broken holds go through a broadcaster of their own.
type eventRecorder struct {
	record.EventRecorder
	breakEvents record.EventRecorder
}

// Event records an Event on the object about.
func (r *eventRecorder) Event(about runtime.Object, kind, reason, message string) {
	if reason == konductorv1.EventBroken {
		r.breakEvents.Event(about, kind, reason, message)
		return
	}
	r.EventRecorder.Event(about, kind, reason, message)
}

// newEventRecorder returns a recorder of Events whose correlator aggregates and drops repeated ones, so that a busy
// semaphore does not write an Event for each grant. Each break of a hold always has an Event of its own: nobody must be able
// to hide one by causing many other Events.
func newEventRecorder(ctx context.Context, mgr ctrl.Manager) (record.EventRecorder, func(), error) {
	events, err := typedcorev1.NewForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return nil, nil, fmt.Errorf("setting up events: %w", err)
	}
	// Not ctx itself: Events recorded while the operator shuts down must be sent too.
	withoutLimits := record.CorrelatorOptions{QPS: math.MaxInt32, BurstSize: math.MaxInt32, MaxEvents: math.MaxInt32, KeyFunc: uniqueEventKey}
	// Of so many objects it knows the latest Events. The default, four times as many, costs megabytes when thousands of Jobs wait.
	smaller := record.CorrelatorOptions{LRUCacheSize: 1024}
	aggregated := record.NewBroadcaster(record.WithContext(context.WithoutCancel(ctx)), record.WithCorrelatorOptions(smaller))
	breaks := record.NewBroadcaster(record.WithContext(context.WithoutCancel(ctx)), record.WithCorrelatorOptions(withoutLimits))
	source := corev1.EventSource{Component: "konductor"}
	for _, b := range []record.EventBroadcaster{aggregated, breaks} {
		b.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: events.Events("")})
	}
	stop := func() {
		aggregated.Shutdown()
		breaks.Shutdown()
	}
	return &eventRecorder{aggregated.NewRecorder(mgr.GetScheme(), source), breaks.NewRecorder(mgr.GetScheme(), source)}, stop, nil
}

// uniqueEventKey gives each Event an aggregation key of its own, so that the correlator's limit on keys bounds its memory.
func uniqueEventKey(event *corev1.Event) (aggregateKey, localKey string) {
	key, _ := record.EventAggregatorByReasonFunc(event)
	return key + event.Message, event.Message
}

// registerInformers registers the caches of all kinds that controllers watch. The controllers would register them later, and
// an unregistered cache doesn't keep an operator from counting as ready.
func registerInformers(ctx context.Context, mgr ctrl.Manager, namespaces []string) error {
	kinds := []client.Object{
		&konductorv1.Barrier{}, &konductorv1.Arrival{}, &konductorv1.Gate{}, &konductorv1.Lease{}, &konductorv1.Semaphore{},
		&konductorv1.Claim{}, &corev1.Pod{}, &batchv1.Job{},
	}
	if len(namespaces) == 0 {
		kinds = append(kinds, &corev1.Namespace{})
	}
	for _, kind := range kinds {
		if _, err := mgr.GetCache().GetInformer(ctx, kind, cache.BlockUntilSynced(false)); err != nil {
			return fmt.Errorf("setting up the cache of %T: %w", kind, err)
		}
	}
	return nil
}

// newCacheSyncChecker returns a check that fails until all caches are synced: a replica that has not seen the cluster yet
// must not count as ready.
func newCacheSyncChecker(mgr ctrl.Manager) healthz.Checker {
	return func(req *http.Request) error {
		ctx, cancel := context.WithTimeout(req.Context(), time.Second)
		defer cancel()
		if !mgr.GetCache().WaitForCacheSync(ctx) {
			return errors.New("caches are not synced yet")
		}
		return nil
	}
}

func (o Options) registererOrDefault() prometheus.Registerer {
	if o.Registerer != nil {
		return o.Registerer
	}
	return metrics.Registry
}

func ptr[T any](v T) *T { return &v }

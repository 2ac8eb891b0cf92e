// Package operator is konductor's operator: the process that answers claims,
// counts arrivals and opens gates. Run starts it; the decisions are in
// apis/rules and the controllers in operator/controller.
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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	"github.com/LogicIQ/konductor/apis/waits"
	"github.com/LogicIQ/konductor/operator/controller"
)

// LeaderElectionID is the name of the coordination.k8s.io Lease by which operators agree on who acts.
const LeaderElectionID = "konductor-operator"

// Options says how to run the operator.
type Options struct {
	// Config is how to reach the API server.
	Config *rest.Config
	// Logger takes the operator's log.
	Logger logr.Logger
	// Namespaces to work in; all when empty.
	Namespaces []string
	// LeaderElection makes operators agree on one that acts. Without it several may act at once, which costs failed
	// writes and the exact order of the queue, but never makes a holder too many.
	LeaderElection bool
	// LeaderElectionNamespace is where they agree; the Pod's own when empty.
	LeaderElectionNamespace string
	// MetricsAddress is where metrics are served over HTTPS to clients that may get them; "0" for nowhere.
	MetricsAddress string
	// HealthAddress is where /healthz and /readyz are served; "0" for nowhere.
	HealthAddress string
	// PprofAddress is where Go's profiles are served, over plain HTTP and to everybody; nowhere when empty.
	PprofAddress string
	// TracingEndpoint is the URL of the collector that takes OpenTelemetry traces by OTLP over gRPC: http://HOST:PORT, or
	// https://HOST:PORT for TLS. Nothing is traced when it is empty.
	TracingEndpoint string
	// TracingSamplingRate is how many reconciliations of a million are traced, from 0 to MaxTracingSamplingRate.
	TracingSamplingRate int
	// Version is the operator's version, as traces tell it.
	Version string
	// Registerer takes the operator's metrics; controller-runtime's when nil.
	Registerer prometheus.Registerer
}

// Run runs the operator until ctx is done. It then finishes what it is doing, gives up leadership, and returns nil.
func Run(ctx context.Context, o Options) error {
	ctx = log.IntoContext(ctx, o.Logger)
	traces, flush, err := newTraces(ctx, o)
	if err != nil {
		return err
	}
	defer flush()
	clock := controller.NewServerClock()
	config := rest.CopyConfig(o.Config)
	// The operator's own work queue paces it. A rate limit on top would only make waiters wait.
	config.QPS = -1
	if traces != nil {
		config.Wrap(traces.Wrap)
	}
	config.Wrap(clock.Wrap)
	config.Wrap(controller.Reconnect)

	mgr, err := newManager(config, o)
	if err != nil {
		return err
	}
	recorder, stop, err := newRecorder(ctx, mgr)
	if err != nil {
		return err
	}
	defer stop()
	counters, err := controller.NewMetrics(o.registerer())
	if err != nil {
		return fmt.Errorf("registering metrics: %w", err)
	}
	deps := controller.Deps{
		Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Recorder: recorder, Clock: clock, Metrics: counters,
		Traces: traces,
	}
	if err := errors.Join(
		controller.RegisterStock(o.registerer(), mgr.GetClient(), clock, mgr.Elected()),
		announceCaches(ctx, mgr, o.Namespaces),
		controller.SetupBarriers(mgr, deps),
		controller.SetupGates(ctx, mgr, deps, o.Namespaces),
		controller.SetupLeases(mgr, deps),
		controller.SetupSemaphores(mgr, deps),
		controller.SetupDeadlocks(mgr, deps, o.Namespaces),
		mgr.AddHealthzCheck("ping", healthz.Ping),
		mgr.AddReadyzCheck("caches", cachesSynced(mgr)),
	); err != nil {
		return fmt.Errorf("setting up the operator: %w", err)
	}
	return mgr.Start(ctx)
}

// NewScheme returns the kinds that the operator works with.
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

// cacheOptions keeps in memory only what the rules look at.
func cacheOptions(namespaces []string) cache.Options {
	o := cache.Options{
		DefaultTransform: cache.TransformStripManagedFields(),
		NewInformer:      newInformer,
		ByObject: map[client.Object]cache.ByObject{
			&konductorv1.Claim{}:   {Transform: cutClaim},
			&konductorv1.Arrival{}: {Transform: cutArrival},
			&corev1.Pod{}:          {Transform: cutPod},
			&batchv1.Job{}:         {Transform: cutJob},
			&corev1.Namespace{}:    {Transform: cutNamespace},
		},
	}
	if len(namespaces) > 0 {
		o.DefaultNamespaces = map[string]cache.Config{}
		for _, n := range namespaces {
			o.DefaultNamespaces[n] = cache.Config{}
		}
	}
	return o
}

// cutClaim leaves of a Claim what the rules look at. No claim is ever written back from the cache.
func cutClaim(obj any) (any, error) {
	claim, ok := obj.(*konductorv1.Claim)
	if !ok {
		return obj, nil
	}
	cut := &konductorv1.Claim{ObjectMeta: origin(claim.ObjectMeta, claim.Spec.Target.Kind), Spec: claim.Spec, Status: claim.Status}
	if by, ok := claim.Annotations[konductorv1.BrokenByAnnotation]; ok {
		cut.Annotations = map[string]string{konductorv1.BrokenByAnnotation: by}
	}
	return cut, nil
}

// cutArrival leaves of an Arrival what the rules look at.
func cutArrival(obj any) (any, error) {
	arrival, ok := obj.(*konductorv1.Arrival)
	if !ok {
		return obj, nil
	}
	return &konductorv1.Arrival{ObjectMeta: origin(arrival.ObjectMeta, konductorv1.KindBarrier), Spec: arrival.Spec}, nil
}

// cutPod leaves of a Pod its identity, whether it has finished, and what it asks koncli to do.
func cutPod(obj any) (any, error) {
	if pod, ok := obj.(*corev1.Pod); ok {
		return waits.CutPod(pod), nil
	}
	return obj, nil
}

// cutJob leaves of a Job its identity, its conditions, and what its Pods ask koncli to do.
func cutJob(obj any) (any, error) {
	if job, ok := obj.(*batchv1.Job); ok {
		return waits.CutJob(job), nil
	}
	return obj, nil
}

// cutNamespace leaves of a Namespace its identity and its annotation for gates.
func cutNamespace(obj any) (any, error) {
	namespace, ok := obj.(*corev1.Namespace)
	if !ok {
		return obj, nil
	}
	cut := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace.Name, UID: namespace.UID, ResourceVersion: namespace.ResourceVersion}}
	if allowed, ok := namespace.Annotations[konductorv1.AllowGatesAnnotation]; ok {
		cut.Annotations = map[string]string{konductorv1.AllowGatesAnnotation: allowed}
	}
	return cut, nil
}

// origin is the identity of an object, when it was created, and for which object of that kind. Whoever takes part writes
// the owners, as many and as long as it likes; what is kept of them is no more than a UID.
func origin(m metav1.ObjectMeta, kind string) metav1.ObjectMeta {
	cut := metav1.ObjectMeta{
		Name: m.Name, Namespace: m.Namespace, UID: m.UID, ResourceVersion: m.ResourceVersion, DeletionTimestamp: m.DeletionTimestamp,
		CreationTimestamp: m.CreationTimestamp,
	}
	const longestUID = 64
	version := konductorv1.GroupVersion().String()
	for _, owner := range m.OwnerReferences {
		if owner.Kind == kind && owner.APIVersion == version && len(owner.UID) <= longestUID {
			cut.OwnerReferences = []metav1.OwnerReference{{APIVersion: version, Kind: kind, UID: owner.UID}}
		}
	}
	return cut
}

// recorder records Events, those of broken holds apart from all others.
type recorder struct {
	record.EventRecorder
	breaks record.EventRecorder
}

// Event records one.
func (r *recorder) Event(about runtime.Object, kind, reason, message string) {
	if reason == konductorv1.EventBroken {
		r.breaks.Event(about, kind, reason, message)
		return
	}
	r.EventRecorder.Event(about, kind, reason, message)
}

// newRecorder returns a recorder of Events whose correlator folds repeated ones together and leaves some out, so that a busy
// semaphore does not write an Event for each grant. Only who breaks a hold always stands in one of its own: others must not
// be able to hide it by making many Events.
func newRecorder(ctx context.Context, mgr ctrl.Manager) (record.EventRecorder, func(), error) {
	events, err := typedcorev1.NewForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return nil, nil, fmt.Errorf("setting up events: %w", err)
	}
	// Not ctx itself: what happens while the operator finishes its work is news too.
	unlimited := record.CorrelatorOptions{QPS: math.MaxInt32, BurstSize: math.MaxInt32, MaxEvents: math.MaxInt32}
	usual := record.NewBroadcaster(record.WithContext(context.WithoutCancel(ctx)))
	breaks := record.NewBroadcaster(record.WithContext(context.WithoutCancel(ctx)), record.WithCorrelatorOptions(unlimited))
	source := corev1.EventSource{Component: "konductor"}
	for _, b := range []record.EventBroadcaster{usual, breaks} {
		b.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: events.Events("")})
	}
	stop := func() {
		usual.Shutdown()
		breaks.Shutdown()
	}
	return &recorder{usual.NewRecorder(mgr.GetScheme(), source), breaks.NewRecorder(mgr.GetScheme(), source)}, stop, nil
}

// announceCaches registers the caches of all kinds that controllers watch. They would do so themselves, but only some
// time after the start, and what isn't registered doesn't keep an operator from counting as ready.
func announceCaches(ctx context.Context, mgr ctrl.Manager, namespaces []string) error {
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

// cachesSynced is false until all caches have been filled: a replica that has not seen the cluster yet must not count
// as ready.
func cachesSynced(mgr ctrl.Manager) healthz.Checker {
	return func(req *http.Request) error {
		ctx, cancel := context.WithTimeout(req.Context(), time.Second)
		defer cancel()
		if !mgr.GetCache().WaitForCacheSync(ctx) {
			return errors.New("caches are not synced yet")
		}
		return nil
	}
}

func (o Options) registerer() prometheus.Registerer {
	if o.Registerer != nil {
		return o.Registerer
	}
	return metrics.Registry
}

func ptr[T any](v T) *T { return &v }

package cli

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/LogicIQ/konductor/operator"
)

func (a *app) operator() *cobra.Command {
	o := operator.Options{}
	var level, format, collector string
	cmd := &cobra.Command{
		Use: "operator", Short: "Run the operator", Args: cobra.NoArgs,
		Long: `Run the operator: the process that counts arrivals, opens gates, and grants leases
and permits. It usually runs in the cluster, as the Helm chart sets it up; several
replicas agree on one that acts.`,
		Example: a.examples("  # against the cluster of the kubeconfig, for a try\n  koncli operator --leader-elect=false --metrics-bind-address=0\n\n  # only two namespaces\n  koncli operator --watch-namespaces=etl,reports\n"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			logger, err := a.logger(level, format)
			if err != nil {
				return err
			}
			if o.TracingEndpoint, err = tracingURL(collector); err != nil {
				return err
			}
			if rate := o.TracingSamplingRate; rate < 0 || rate > operator.MaxTracingSamplingRate {
				return fmt.Errorf("--tracing-sampling-rate must be from 0 to %d, not %d", operator.MaxTracingSamplingRate, rate)
			}
			ctrl.SetLogger(logger)
			klog.SetLogger(logger)
			if o.Config, err = a.restConfig(); err != nil {
				return err
			}
			o.Logger, o.Version = logger, version()
			if o.LeaderElection && o.LeaderElectionNamespace == "" {
				if o.LeaderElectionNamespace, err = a.namespace(); err != nil {
					return err
				}
			}
			return operator.Run(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.LeaderElection, "leader-elect", true, "agree with other replicas on one that acts")
	f.StringVar(&o.LeaderElectionNamespace, "leader-election-namespace", "", "namespace of the leader election's lease (default the Pod's)")
	f.StringSliceVar(&o.Namespaces, "watch-namespaces", nil, "namespaces to work in (default all)")
	f.StringVar(&o.MetricsAddress, "metrics-bind-address", ":8443", "where metrics are served over HTTPS to those who may get them; 0: nowhere")
	f.StringVar(&o.HealthAddress, "health-probe-bind-address", ":8081", "where /healthz and /readyz are served; 0: nowhere")
	f.StringVar(&o.PprofAddress, "pprof-bind-address", "", "where Go's profiles are served over plain HTTP, such as 127.0.0.1:6060 (default nowhere)")
	f.StringVar(&collector, "tracing-endpoint", "", "collector of OpenTelemetry traces (OTLP over gRPC): HOST:PORT, or https://HOST:PORT for TLS (default none: no traces)")
	f.IntVar(&o.TracingSamplingRate, "tracing-sampling-rate", operator.MaxTracingSamplingRate, "how many reconciliations of a million are traced, as in Kubernetes' own components")
	f.StringVar(&level, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&format, "log-format", "json", "json or text")
	return cmd
}

// tracingURL returns the URL of the collector that --tracing-endpoint names, or nothing if it names none.
func tracingURL(endpoint string) (string, error) {
	if endpoint == "" {
		return "", nil
	}
	scheme, address := "http://", endpoint
	if secured, ok := strings.CutPrefix(endpoint, "https://"); ok {
		scheme, address = "https://", secured
	}
	host, port, err := net.SplitHostPort(address)
	n, notNumber := strconv.ParseUint(port, 10, 16)
	u, notURL := url.Parse(scheme + address)
	if errors.Join(err, notNumber, notURL) == nil && host != "" && n > 0 && u.Host == address {
		return u.String(), nil
	}
	return "", fmt.Errorf("--tracing-endpoint must be HOST:PORT, or https://HOST:PORT for TLS, such as otel-collector.monitoring:4317, not %q", endpoint)
}

// logger returns a log to stderr.
func (a *app) logger(level, format string) (logr.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return logr.Logger{}, fmt.Errorf("--log-level must be debug, info, warn or error, not %q", level)
	}
	options := &slog.HandlerOptions{Level: l}
	switch format {
	case "json":
		return logr.FromSlogHandler(slog.NewJSONHandler(a.streams.ErrOut, options)), nil
	case "text":
		return logr.FromSlogHandler(slog.NewTextHandler(a.streams.ErrOut, options)), nil
	default:
		return logr.Logger{}, fmt.Errorf("--log-format must be json or text, not %q", format)
	}
}

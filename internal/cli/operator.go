package cli

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/url"
	"os/signal"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/LogicIQ/konductor/operator"
)

func (a *app) operatorCommand() *cobra.Command {
	o := operator.Options{}
	var level, format, collector string
	cmd := &cobra.Command{
		Use: "operator", Short: "Run the operator", Args: cobra.NoArgs,
		Long: `Run the operator: the process that counts arrivals, opens gates, and grants leases
and permits. It usually runs in the cluster, deployed by the Helm chart. If there are
several replicas, only the elected leader acts.`,
		Example: a.formatExamples("  # try it with the cluster of the kubeconfig\n  koncli operator --leader-elect=false --metrics-bind-address=0\n\n  # watch only two namespaces\n  koncli operator --watch-namespaces=etl,reports\n"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			logger, err := a.newLogger(level, format)
			if err != nil {
				return err
			}
			if o.TracingEndpoint, err = parseTracingEndpoint(collector); err != nil {
				return err
			}
			if rate := o.TracingSamplingRate; rate < 0 || rate > operator.MaxTracingSamplingRate {
				return fmt.Errorf("--tracing-sampling-rate must be from 0 to %d, not %d", operator.MaxTracingSamplingRate, rate)
			}
			ctrl.SetLogger(logger)
			klog.SetLogger(logger)
			setMemoryLimit(logger)
			if o.Config, err = a.connection.RESTConfig(); err != nil {
				return err
			}
			o.Logger, o.Version = logger, version()
			if o.LeaderElection && o.LeaderElectionNamespace == "" {
				if o.LeaderElectionNamespace, err = a.connection.Namespace(); err != nil {
					return err
				}
			}
			// For a server SIGQUIT asks for the stacks of the goroutines; Go prints them by default.
			signal.Reset(syscall.SIGQUIT)
			return operator.Run(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.LeaderElection, "leader-elect", true, "elect a leader among the replicas; only the leader acts")
	f.StringVar(&o.LeaderElectionNamespace, "leader-election-namespace", "", "namespace of the Lease for the leader election (default the Pod's)")
	f.StringSliceVar(&o.Namespaces, "watch-namespaces", nil, "namespaces to watch (default all)")
	f.BoolVar(&o.HeldWorkloads, "hold-workloads", false, "keep Jobs suspended, and Pods behind a scheduling gate, until they may start")
	f.StringVar(&o.MetricsAddress, "metrics-bind-address", ":8443", "address of the metrics, served over HTTPS to authorized clients; 0 disables them")
	f.StringVar(&o.HealthAddress, "health-probe-bind-address", ":8081", "address of /healthz and /readyz; 0 disables them")
	f.StringVar(&o.PprofAddress, "pprof-bind-address", "", "address of Go's profiles, served over plain HTTP, for example 127.0.0.1:6060 (default none)")
	f.StringVar(&collector, "tracing-endpoint", "", "collector of OpenTelemetry traces (OTLP over gRPC): HOST:PORT, or https://HOST:PORT for TLS (default none: no traces)")
	f.IntVar(&o.TracingSamplingRate, "tracing-sampling-rate", operator.MaxTracingSamplingRate, "how many of a million reconciliations are traced")
	f.StringVar(&level, "log-level", "info", "log level: debug, info, warn or error")
	f.StringVar(&format, "log-format", "json", "log format: json or text")
	return cmd
}

// setMemoryLimit makes Go collect garbage more often the closer the process comes to its container's memory limit. A tenth
// of the limit is left for memory that Go doesn't count and can't free in time. GOMEMLIMIT takes precedence.
func setMemoryLimit(logger logr.Logger) {
	const share = 0.9
	if _, err := memlimit.SetGoMemLimitWithOpts(memlimit.WithRatio(share), memlimit.WithProvider(memlimit.FromCgroup)); err != nil {
		logger.V(1).Info("no limit of the container's memory was found", "why", err.Error())
	}
	if limit := debug.SetMemoryLimit(-1); limit < math.MaxInt64 {
		logger.Info("memory is limited", "bytes", limit)
	}
}

// parseTracingEndpoint returns the collector URL for --tracing-endpoint; "" if it is empty.
func parseTracingEndpoint(endpoint string) (string, error) {
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

// newLogger returns a logger to stderr.
func (a *app) newLogger(level, format string) (logr.Logger, error) {
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

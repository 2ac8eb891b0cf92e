package measures

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/e2e/bench/benchenv"
	"github.com/LogicIQ/konductor/e2e/bench/report"
	"github.com/LogicIQ/konductor/e2e/bench/stats"
	"github.com/LogicIQ/konductor/e2e/screen"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// changesPerSecond is how many changes per second the dashboard has to show.
const changesPerSecond = 50

// MeasureDashboard measures the dashboard on a terminal: the time from the last byte of its data to the first complete frame, and
// its CPU usage while the objects change.
func (r *Runner) MeasureDashboard(ctx context.Context) (rows []report.Row, err error) {
	err = r.withDashboardObjects(ctx, func(namespace string) error {
		proxy, err := r.newTimingProxy(namespace)
		if err != nil {
			return err
		}
		defer proxy.Close()
		var frame stats.Sample
		err = r.repeatSlow(func(counts bool) error {
			return r.withRunningDashboard(ctx, proxy.kubeconfig, func(_ *screen.Screen) error {
				if took := time.Since(proxy.lastByteTime()); counts {
					frame.Add(took)
				}
				return nil
			})
		})
		if err != nil {
			return err
		}
		var used float64
		err = r.withRunningDashboard(ctx, r.Kubeconfig(), func(s *screen.Screen) (err error) {
			used, err = r.measureCPUPercent(s.PID(), func() error { return r.generateChanges(ctx, namespace) })
			return err
		}, "--namespace", namespace)
		rows = []report.Row{
			report.NewRow(fmt.Sprintf("dashboard CPU, %d objects, %d changes/s", r.DashboardObjects, changesPerSecond), used, "% of a core").AtMost(10).
				WithNote(fmt.Sprintf("for %s, on a terminal of 120×40", r.DashboardDuration)),
			report.NewRow(fmt.Sprintf("dashboard first frame, %d objects, after the data, p50", r.DashboardObjects), frame.P50(), "ms").AtMost(300).
				WithNote(fmt.Sprintf("N=%d; from the last byte that the API server sends", frame.N())),
		}
		return err
	})
	return rows, err
}

// withDashboardObjects calls f with a namespace that has barriers and semaphores, after the operator has reconciled them.
func (r *Runner) withDashboardObjects(ctx context.Context, f func(namespace string) error) error {
	return r.withOperatorInNamespace(ctx, func(namespace string, _ *benchenv.Operator) error {
		const enough = 100000 // a barrier never opens
		half := r.DashboardObjects / 2
		err := r.CreateObjects(ctx, r.DashboardObjects, func(i int) client.Object {
			var object client.Object = konductor.NewSemaphore(fmt.Sprintf("semaphore-%04d", i-half), 10)
			if i < half {
				object = konductor.NewBarrier(dashboardBarrierName(i), enough)
			}
			object.SetNamespace(namespace)
			return object
		})
		if err != nil {
			return err
		}
		err = benchenv.AwaitObjects(ctx, r.Env, &konductorv1.BarrierList{}, namespace, half, func(b *konductorv1.Barrier) bool { return b.Status.ObservedGeneration > 0 })
		if err != nil {
			return err
		}
		err = benchenv.AwaitObjects(ctx, r.Env, &konductorv1.SemaphoreList{}, namespace, r.DashboardObjects-half, func(s *konductorv1.Semaphore) bool { return s.Status.ObservedGeneration > 0 })
		if err != nil {
			return err
		}
		return f(namespace)
	})
}

func dashboardBarrierName(i int) string { return fmt.Sprintf("barrier-%04d", i) }

// withRunningDashboard calls f while the dashboard shows all objects.
func (r *Runner) withRunningDashboard(ctx context.Context, kubeconfig string, f func(*screen.Screen) error, args ...string) error {
	cmd := exec.Command(r.Koncli, append([]string{"watch"}, args...)...)
	cmd.Env = append(screen.Env(), "HOME="+r.Dir, "KUBECONFIG="+kubeconfig, "PATH="+os.Getenv("PATH"))
	s, err := screen.Start(cmd, 120, 40)
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }() // errors have been reported by then
	all := fmt.Sprintf("%d objects", r.DashboardObjects)
	if err := s.Await(ctx, all, func(picture string) bool { return strings.Contains(picture, all) }); err != nil {
		return err
	}
	if err := f(s); err != nil {
		return err
	}
	if err := s.Type("q"); err != nil {
		return err
	}
	if code := s.ExitCode(); code != 0 {
		return fmt.Errorf("the dashboard ended with exit code %d:\n%s", code, s.Output())
	}
	return nil
}

// measureCPUPercent returns how much of a core, in percent, a process uses while f runs.
func (r *Runner) measureCPUPercent(pid int, f func() error) (float64, error) {
	before, err := benchenv.ProcessCPUTime(pid)
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	if err := f(); err != nil {
		return 0, err
	}
	took := time.Since(begin)
	after, err := benchenv.ProcessCPUTime(pid)
	return 100 * (after - before).Seconds() / took.Seconds(), err
}

// generateChanges lets participants arrive at one barrier after the other, at an even pace.
func (r *Runner) generateChanges(ctx context.Context, namespace string) error {
	somebody, err := r.NewOutsideParticipant(namespace, "somebody")
	if err != nil {
		return err
	}
	ticker := time.NewTicker(time.Second / changesPerSecond)
	defer ticker.Stop()
	arriving, ctx := errgroup.WithContext(ctx)
	for i := range int(r.DashboardDuration.Seconds() * changesPerSecond) {
		<-ticker.C
		arriving.Go(func() error {
			return somebody.ArriveBarrier(ctx, dashboardBarrierName(i%(r.DashboardObjects/2)), konductor.WithHolder(fmt.Sprint(i)))
		})
	}
	return arriving.Wait()
}

// timingProxy is a proxy to the API server that records when responses arrive.
type timingProxy struct {
	*httptest.Server
	kubeconfig    string
	lastByteNanos atomic.Int64 // in nanoseconds since 1970
}

// lastByteTime returns when the latest byte of a response arrived.
func (t *timingProxy) lastByteTime() time.Time { return time.Unix(0, t.lastByteNanos.Load()) }

// newTimingProxy returns a proxy to the API server with all rights, and writes a kubeconfig that uses it with namespace.
func (r *Runner) newTimingProxy(namespace string) (*timingProxy, error) {
	to, err := url.Parse(r.Config().Host)
	if err != nil {
		return nil, err
	}
	transport, err := rest.TransportFor(r.Config())
	if err != nil {
		return nil, err
	}
	t := &timingProxy{kubeconfig: filepath.Join(r.Dir, namespace+".yaml")}
	t.Server = httptest.NewServer(&httputil.ReverseProxy{
		Transport: transport,
		Rewrite:   func(req *httputil.ProxyRequest) { req.SetURL(to) },
		ModifyResponse: func(resp *http.Response) error {
			resp.Body = &timedBody{resp.Body, t}
			return nil
		},
	})
	config := api.NewConfig()
	config.Clusters["tapped"] = &api.Cluster{Server: t.URL}
	config.Contexts["tapped"] = &api.Context{Cluster: "tapped", Namespace: namespace}
	config.CurrentContext = "tapped"
	return t, clientcmd.WriteToFile(*config, t.kubeconfig)
}

// timedBody records the time of each read.
type timedBody struct {
	io.ReadCloser
	proxy *timingProxy
}

func (b *timedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		b.proxy.lastByteNanos.Store(time.Now().UnixNano())
	}
	return n, err
}

// MeasureReadCommands measures the commands that read all objects once, compared with a kubectl that gets the same objects.
func (r *Runner) MeasureReadCommands(ctx context.Context) (rows []report.Row, err error) {
	err = r.withDashboardObjects(ctx, func(namespace string) error {
		commands := []struct {
			name string
			args []string
			took stats.Sample
		}{
			{name: "status all", args: []string{"status", "all"}},
			{name: "graph", args: []string{"graph"}},
			{name: "why", args: []string{"why", "barrier/" + dashboardBarrierName(0)}},
		}
		var get stats.Sample
		const warmup = 2
		err := repeatN(warmup, r.ProcessRuns/2, func(counts bool) error {
			got, err := r.timeCommand(ctx, r.Kubectl, "get", "barriers.konductor.io,semaphores.konductor.io", "--namespace", namespace)
			if err != nil {
				return err
			}
			if counts {
				get.Add(got)
			}
			for i := range commands {
				took, err := r.timeCommand(ctx, r.Koncli, append(commands[i].args, "--namespace", namespace)...)
				if err != nil {
					return err
				}
				if counts {
					commands[i].took.Add(took)
				}
			}
			return nil
		})
		for i := range commands {
			command := &commands[i]
			rows = append(rows, report.NewRow(fmt.Sprintf("koncli %s, %d objects, p50", command.name, r.DashboardObjects), command.took.P50(), "ms").WithLowerBound(get.P50()).
				WithNote(fmt.Sprintf("N=%d; the floor is kubectl get of these objects", command.took.N())))
		}
		return err
	})
	return rows, err
}

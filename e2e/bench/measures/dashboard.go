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
	"github.com/LogicIQ/konductor/e2e/bench/report"
	"github.com/LogicIQ/konductor/e2e/bench/scene"
	"github.com/LogicIQ/konductor/e2e/bench/stats"
	"github.com/LogicIQ/konductor/e2e/screen"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// changesPerSecond is how often something changes under the eyes of the dashboard.
const changesPerSecond = 50

// Dashboard measures the dashboard on a terminal: how long after it has been given its data the first frame is there, and
// what it takes of a core while the objects change.
func (r *Run) Dashboard(ctx context.Context) (rows []report.Row, err error) {
	err = r.withShown(ctx, func(namespace string) error {
		line, err := r.tap(namespace)
		if err != nil {
			return err
		}
		defer line.Close()
		var frame stats.Sample
		err = r.rounds(func(counts bool) error {
			return r.watching(ctx, line.kubeconfig, func(_ *screen.Screen) error {
				if took := time.Since(line.last()); counts {
					frame.Add(took)
				}
				return nil
			})
		})
		if err != nil {
			return err
		}
		var used float64
		err = r.watching(ctx, r.Kubeconfig(), func(s *screen.Screen) (err error) {
			used, err = r.shareOfACore(s.PID(), func() error { return r.change(ctx, namespace) })
			return err
		}, "--namespace", namespace)
		rows = []report.Row{
			report.Of(fmt.Sprintf("dashboard CPU, %d objects, %d changes/s", r.Shown, changesPerSecond), used, "% of a core").AtMost(10).
				Note(fmt.Sprintf("for %s, on a terminal of 120×40", r.Looked)),
			report.Of(fmt.Sprintf("dashboard first frame, %d objects, after the data, p50", r.Shown), frame.P50(), "ms").AtMost(300).
				Note(fmt.Sprintf("N=%d; from the last byte that the API server sends", frame.N())),
		}
		return err
	})
	return rows, err
}

// withShown calls f with a namespace that has barriers and semaphores to look at, and an operator that has looked at them.
func (r *Run) withShown(ctx context.Context, f func(namespace string) error) error {
	return r.inNamespace(ctx, func(namespace string, _ *scene.Operator) error {
		const enough = 100000 // so that a barrier never opens
		half := r.Shown / 2
		err := r.CreateAll(ctx, r.Shown, func(i int) client.Object {
			var object client.Object = konductor.NewSemaphore(fmt.Sprintf("semaphore-%04d", i-half), 10)
			if i < half {
				object = konductor.NewBarrier(shownBarrier(i), enough)
			}
			object.SetNamespace(namespace)
			return object
		})
		if err != nil {
			return err
		}
		err = scene.AwaitAll(ctx, r.Scene, &konductorv1.BarrierList{}, namespace, half, func(b *konductorv1.Barrier) bool { return b.Status.ObservedGeneration > 0 })
		if err != nil {
			return err
		}
		err = scene.AwaitAll(ctx, r.Scene, &konductorv1.SemaphoreList{}, namespace, r.Shown-half, func(s *konductorv1.Semaphore) bool { return s.Status.ObservedGeneration > 0 })
		if err != nil {
			return err
		}
		return f(namespace)
	})
}

func shownBarrier(i int) string { return fmt.Sprintf("barrier-%04d", i) }

// watching calls f while the dashboard shows all objects.
func (r *Run) watching(ctx context.Context, kubeconfig string, f func(*screen.Screen) error, args ...string) error {
	cmd := exec.Command(r.Koncli, append([]string{"watch"}, args...)...)
	cmd.Env = append(screen.Environment(), "HOME="+r.Dir, "KUBECONFIG="+kubeconfig, "PATH="+os.Getenv("PATH"))
	s, err := screen.Start(cmd, 120, 40)
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }() // what went wrong has been told by then
	all := fmt.Sprintf("%d objects", r.Shown)
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
		return fmt.Errorf("the dashboard ended with exit code %d:\n%s", code, s.Written())
	}
	return nil
}

// shareOfACore returns how much of a core, in percent, a process uses while f runs.
func (r *Run) shareOfACore(pid int, f func() error) (float64, error) {
	before, err := scene.CPU(pid)
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	if err := f(); err != nil {
		return 0, err
	}
	took := time.Since(begin)
	after, err := scene.CPU(pid)
	return 100 * (after - before).Seconds() / took.Seconds(), err
}

// change lets participants arrive at one barrier after the other, at an even pace.
func (r *Run) change(ctx context.Context, namespace string) error {
	somebody, err := r.Outsider(namespace, "somebody")
	if err != nil {
		return err
	}
	ticker := time.NewTicker(time.Second / changesPerSecond)
	defer ticker.Stop()
	arriving, ctx := errgroup.WithContext(ctx)
	for i := range int(r.Looked.Seconds() * changesPerSecond) {
		<-ticker.C
		arriving.Go(func() error {
			return somebody.ArriveBarrier(ctx, shownBarrier(i%(r.Shown/2)), konductor.WithHolder(fmt.Sprint(i)))
		})
	}
	return arriving.Wait()
}

// tapped is a way to the API server on which it is seen when something comes back.
type tapped struct {
	*httptest.Server
	kubeconfig string
	latest     atomic.Int64 // in nanoseconds since 1970
}

// last returns when the latest byte of an answer came.
func (t *tapped) last() time.Time { return time.Unix(0, t.latest.Load()) }

// tap returns a way to the API server with all rights, and a kubeconfig that goes by it to a namespace.
func (r *Run) tap(namespace string) (*tapped, error) {
	to, err := url.Parse(r.Config().Host)
	if err != nil {
		return nil, err
	}
	transport, err := rest.TransportFor(r.Config())
	if err != nil {
		return nil, err
	}
	t := &tapped{kubeconfig: filepath.Join(r.Dir, namespace+".yaml")}
	t.Server = httptest.NewServer(&httputil.ReverseProxy{
		Transport: transport,
		Rewrite:   func(req *httputil.ProxyRequest) { req.SetURL(to) },
		ModifyResponse: func(resp *http.Response) error {
			resp.Body = &tappedBody{resp.Body, t}
			return nil
		},
	})
	config := api.NewConfig()
	config.Clusters["tapped"] = &api.Cluster{Server: t.URL}
	config.Contexts["tapped"] = &api.Context{Cluster: "tapped", Namespace: namespace}
	config.CurrentContext = "tapped"
	return t, clientcmd.WriteToFile(*config, t.kubeconfig)
}

// tappedBody notes when something is read.
type tappedBody struct {
	io.ReadCloser
	tap *tapped
}

func (b *tappedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		b.tap.latest.Store(time.Now().UnixNano())
	}
	return n, err
}

// Looks measures the programs that look at everything once, against kubectl that gets the same objects.
func (r *Run) Looks(ctx context.Context) (rows []report.Row, err error) {
	err = r.withShown(ctx, func(namespace string) error {
		looks := []struct {
			name string
			args []string
			took stats.Sample
		}{
			{name: "status all", args: []string{"status", "all"}},
			{name: "graph", args: []string{"graph"}},
			{name: "why", args: []string{"why", "barrier/" + shownBarrier(0)}},
		}
		var get stats.Sample
		const warmup = 2
		err := times(warmup, r.Processes/2, func(counts bool) error {
			got, err := r.process(ctx, r.Kubectl, "get", "barriers.konductor.io,semaphores.konductor.io", "--namespace", namespace)
			if err != nil {
				return err
			}
			if counts {
				get.Add(got)
			}
			for i := range looks {
				took, err := r.process(ctx, r.Koncli, append(looks[i].args, "--namespace", namespace)...)
				if err != nil {
					return err
				}
				if counts {
					looks[i].took.Add(took)
				}
			}
			return nil
		})
		for i := range looks {
			look := &looks[i]
			rows = append(rows, report.Of(fmt.Sprintf("koncli %s, %d objects, p50", look.name, r.Shown), look.took.P50(), "ms").Over(get.P50()).
				Note(fmt.Sprintf("N=%d; the floor is kubectl get of these objects", look.took.N())))
		}
		return err
	})
	return rows, err
}

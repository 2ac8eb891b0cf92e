package integration

import (
	"context"
	"flag"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"go.uber.org/goleak"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/LogicIQ/konductor/e2e/cluster"
)

// sideBySide is how many tests run at the same time. Most of their time is spent waiting, so more than there are cores.
const sideBySide = 12

// site is a control plane with konductor installed, but for the operator.
type site struct {
	*cluster.ControlPlane
	// operator is how an operator with the rights that the chart gives it reaches the API server.
	operator *rest.Config
}

// shared is where most tests run.
var shared *site

// spare is a second control plane, for tests that stop and start its parts or need one without konductor. It starts when
// it is first asked for.
var spare = sync.OnceValues(func() (*cluster.ControlPlane, error) {
	return cluster.StartControlPlane(context.Background(), cluster.ControlPlaneOptions{ControllerManager: true})
})

// spareStarted is set once spare was asked for, so that it is stopped at the end.
var spareStarted sync.Once

func TestMain(m *testing.M) {
	flag.Parse()
	// Watches that break when an API server is stopped are part of the tests, not news.
	klog.SetLogger(logr.Discard())
	log.SetLogger(logr.Discard())
	os.Exit(run(m))
}

func run(m *testing.M) (code int) {
	if err := raiseParallel(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Minute)
	defer cancel()
	removeKoncli, err := buildPrograms(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	plane, err := cluster.StartControlPlane(ctx, cluster.ControlPlaneOptions{ControllerManager: true})
	if err != nil {
		fmt.Fprintln(os.Stderr, "starting the control plane:", err)
		return 1
	}
	defer func() {
		for _, stop := range []func() error{stopSpare, plane.Close, removeKoncli, leftovers} {
			if err := stop(); err != nil {
				fmt.Fprintln(os.Stderr, err)
				code = 1
			}
		}
	}()
	if shared, err = installOn(ctx, plane); err != nil {
		fmt.Fprintln(os.Stderr, "installing konductor:", err)
		return 1
	}
	return m.Run()
}

// raiseParallel sets -parallel, unless the caller did.
func raiseParallel() error {
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if given {
		return nil
	}
	return flag.Set("test.parallel", fmt.Sprint(sideBySide))
}

func stopSpare() error {
	unused := false
	spareStarted.Do(func() { unused = true })
	if unused {
		return nil
	}
	c, err := spare()
	if err != nil {
		return err
	}
	return c.Close()
}

// leftovers reports goroutines that are still there when everything has been stopped.
func leftovers() error {
	if err := goleak.Find(connections()...); err != nil {
		return fmt.Errorf("goroutines are left at the end: %w", err)
	}
	return nil
}

// connections are the goroutines behind idle connections, which client-go keeps for the whole life of a process.
func connections() []goleak.Option {
	return []goleak.Option{
		goleak.IgnoreAnyFunction("net/http.(*http2ClientConn).readLoop"),
		goleak.IgnoreAnyFunction("net/http/internal/http2.(*ClientConn).readLoop"),
		goleak.IgnoreAnyFunction("golang.org/x/net/http2.(*ClientConn).readLoop"),
		goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"),
		goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"),
		// client-go's cache of transports looks for ones without users every now and then.
		goleak.IgnoreAnyFunction("k8s.io/client-go/transport.(*tlsTransportCache).startGC"),
		goleak.IgnoreAnyFunction("k8s.io/klog/v2.(*flushDaemon).run.func1"),
		// Of an operator for several namespaces that was stopped before its first lists were through, controller-runtime
		// waits for them for ever. A process that ends doesn't.
		goleak.IgnoreTopFunction("sigs.k8s.io/controller-runtime/pkg/cache.newMultiNamespaceInformerHandlerRegistration.func1"),
		// The thread that starts a control plane's processes stays: they die with it.
		goleak.IgnoreAnyFunction("github.com/LogicIQ/konductor/e2e/internal/process.(*Group).serveStarts"),
	}
}

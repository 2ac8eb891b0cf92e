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

// maxParallelTests is how many tests run at the same time. They mostly wait, so it is more than the number of cores.
const maxParallelTests = 12

// testCluster is a control plane with konductor installed, but without an operator.
type testCluster struct {
	*cluster.ControlPlane
	// operatorConfig is the config of an operator with the rights that the chart gives it.
	operatorConfig *rest.Config
	// suspendsHeldJobs says that the API server suspends Jobs that are to be held. Before Kubernetes 1.36 they have to be created
	// suspended.
	suspendsHeldJobs bool
}

// sharedCluster is the cluster of most tests.
var sharedCluster *testCluster

// spareControlPlane is a second control plane, for tests that stop and start its components or need one without konductor. It
// starts at the first use.
var spareControlPlane = sync.OnceValues(func() (*cluster.ControlPlane, error) {
	return cluster.StartControlPlane(context.Background(), cluster.ControlPlaneOptions{ControllerManager: true})
})

// spareRequested is done once spareControlPlane was requested, so that it is stopped at the end.
var spareRequested sync.Once

func TestMain(m *testing.M) {
	flag.Parse()
	// The tests break watches by stopping an API server; logging that would only be noise.
	klog.SetLogger(logr.Discard())
	log.SetLogger(logr.Discard())
	os.Exit(runTests(m))
}

func runTests(m *testing.M) (code int) {
	if err := setParallel(); err != nil {
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
		for _, stop := range []func() error{stopSpareControlPlane, plane.Close, removeKoncli, findLeakedGoroutines} {
			if err := stop(); err != nil {
				fmt.Fprintln(os.Stderr, err)
				code = 1
			}
		}
	}()
	if sharedCluster, err = installKonductor(ctx, plane); err != nil {
		fmt.Fprintln(os.Stderr, "installing konductor:", err)
		return 1
	}
	return m.Run()
}

// setParallel sets -parallel to maxParallelTests, unless the caller has set it.
func setParallel() error {
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if given {
		return nil
	}
	return flag.Set("test.parallel", fmt.Sprint(maxParallelTests))
}

func stopSpareControlPlane() error {
	unused := false
	spareRequested.Do(func() { unused = true })
	if unused {
		return nil
	}
	c, err := spareControlPlane()
	if err != nil {
		return err
	}
	return c.Close()
}

// findLeakedGoroutines returns an error if goroutines are left when everything has been stopped.
func findLeakedGoroutines() error {
	if err := goleak.Find(ignoredGoroutines()...); err != nil {
		return fmt.Errorf("goroutines are left at the end: %w", err)
	}
	return nil
}

// ignoredGoroutines are the goroutines behind idle connections, which client-go keeps for the whole life of a process.
func ignoredGoroutines() []goleak.Option {
	return []goleak.Option{
		goleak.IgnoreAnyFunction("net/http.(*http2ClientConn).readLoop"),
		goleak.IgnoreAnyFunction("net/http/internal/http2.(*ClientConn).readLoop"),
		goleak.IgnoreAnyFunction("golang.org/x/net/http2.(*ClientConn).readLoop"),
		goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"),
		goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"),
		// client-go's cache of transports looks for unused ones at intervals.
		goleak.IgnoreAnyFunction("k8s.io/client-go/transport.(*tlsTransportCache).startGC"),
		goleak.IgnoreAnyFunction("k8s.io/klog/v2.(*flushDaemon).run.func1"),
		// If an operator for several namespaces is stopped before its first lists are complete, controller-runtime waits for them for
		// ever. The end of a real operator's process ends that.
		goleak.IgnoreTopFunction("sigs.k8s.io/controller-runtime/pkg/cache.newMultiNamespaceInformerHandlerRegistration.func1"),
		// The thread that starts a control plane's processes stays: they die with it.
		goleak.IgnoreAnyFunction("github.com/LogicIQ/konductor/e2e/internal/process.(*Group).serveStarts"),
	}
}

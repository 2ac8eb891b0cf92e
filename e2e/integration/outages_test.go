package integration

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/e2e/chaos/proxy"
	"github.com/LogicIQ/konductor/e2e/internal/credentials"
	"github.com/LogicIQ/konductor/operator"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// faultyConnection is the connection of participants in a test of outages: through a CONNECT proxy, and a proxy in front of the
// API server. Both can be made to fail, and for participants in this process DNS lookups can fail.
type faultyConnection struct {
	*proxy.Proxy
	connectProxy *connectProxy
	dnsFails     atomic.Bool
	config       *rest.Config
	kubeconfig   string
}

// newFaultyConnection returns a connection for the participants of one test.
func (w *testEnv) newFaultyConnection() *faultyConnection {
	w.Helper()
	w.createWorkerAccount()
	config := w.serviceAccountConfig(workerAccount)
	p, err := proxy.New(config, rand.New(rand.NewPCG(1, 1)))
	w.must(err)
	t := newConnectProxy()
	v := &faultyConnection{Proxy: p, connectProxy: t, config: p.Config(config), kubeconfig: filepath.Join(w.TempDir(), "kubeconfig")}
	w.Cleanup(func() {
		t.close()
		_ = p.Close()
	})
	w.must(credentials.WriteKubeconfig(v.config, w.namespace, v.kubeconfig))
	file, err := clientcmd.LoadFromFile(v.kubeconfig)
	w.must(err)
	for _, c := range file.Clusters {
		c.ProxyURL = t.url().String()
	}
	w.must(clientcmd.WriteToFile(*file, v.kubeconfig))
	v.config.Proxy = http.ProxyURL(t.url())
	v.config.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		if v.dnsFails.Load() {
			return nil, &net.OpError{Op: "dial", Net: network, Err: &net.DNSError{Err: "no such host", Name: "api.example.com", IsNotFound: true}}
		}
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	return v
}

// outage is a temporary fault.
type outage struct {
	begin, end func(*faultyConnection)
	// newCallsSucceed says that calls which begin during the outage succeed in the end.
	newCallsSucceed bool
}

func proxyOutage(bad proxy.FaultProfile) outage {
	return outage{func(v *faultyConnection) { v.SetProfile(bad) }, func(v *faultyConnection) { v.SetProfile(proxy.FaultProfile{}) }, true}
}

// allOutages returns all temporary faults, by description.
func allOutages() map[string]outage {
	return map[string]outage{
		"a name does not resolve": {
			func(v *faultyConnection) { v.dnsFails.Store(true); v.SetProfile(proxy.FaultProfile{Unreachable: true}) },
			func(v *faultyConnection) { v.dnsFails.Store(false); v.SetProfile(proxy.FaultProfile{}) }, true,
		},
		"a CONNECT proxy answers 503": {
			func(v *faultyConnection) { v.connectProxy.respondWith(http.StatusServiceUnavailable) }, func(v *faultyConnection) { v.connectProxy.respondWith(0) }, true,
		},
		"the certificate is of an unknown authority": proxyOutage(proxy.FaultProfile{UntrustedCertificate: true}),
		"nothing is answered":                        proxyOutage(proxy.FaultProfile{Unresponsive: true}),
		"watches are empty":                          proxyOutage(proxy.FaultProfile{EmptyWatches: true}),
		"a page for people is the answer":            proxyOutage(proxy.FaultProfile{Rejection: proxy.LoginPage}),
		"roles are replaced":                         proxyOutage(proxy.FaultProfile{Rejection: proxy.Forbidden}),
		"tokens are rotated":                         proxyOutage(proxy.FaultProfile{Rejection: proxy.Unauthorized}),
		"the quota is written to":                    proxyOutage(proxy.FaultProfile{Rejection: proxy.QuotaConflict}),
		"the quota is full":                          proxyOutage(proxy.FaultProfile{Rejection: proxy.QuotaFull}),
		"answers are lost":                           proxyOutage(proxy.FaultProfile{DropResponseRate: 1}),
		"connections are cut":                        proxyOutage(proxy.FaultProfile{DropRequestRate: 1}),
		"errors are answered":                        proxyOutage(proxy.FaultProfile{ErrorRate: 1}),
	}
}

// outageDuration is how long an outage lasts: less than a client retries that is rejected from the beginning.
const outageDuration = 3 * time.Second

func TestCallsSurviveOutages(t *testing.T) {
	for what, bad := range allOutages() {
		t.Run(what, func(t *testing.T) {
			w := newTestEnv(t)
			w.startOperator()
			v := w.newFaultyConnection()
			for _, name := range []string{"go", "stage"} {
				createBarrier(w, name, 1)
			}
			w.patchSpec(&konductorv1.Barrier{ObjectMeta: metav1.ObjectMeta{Name: "stage"}}, `{"expected":9}`)
			for _, name := range []string{"held", "busy", "free", "run", "kept", "given", "koncli-held", "koncli-kept", "koncli-given"} {
				w.createLease(name, konductor.WithTTL(time.Hour))
			}
			s := w.createSemaphore("busy", 1, konductor.WithTTL(time.Hour))

			// All have reached the API server before.
			a := w.newParticipantWithConfig(v.config, "a")
			hold := a.mustAcquire(konductorv1.KindLease, "held", konductor.WithTTL(time.Minute))
			detached := []konductor.AcquireSemaphoreOption{konductor.Detached(), konductor.WithTTL(time.Hour)}
			for _, name := range []string{"kept", "given"} {
				a.mustAcquire(konductorv1.KindLease, name, detached...)
			}
			outside := w.newParticipant("outside")
			inTheWay := []*konductor.Hold{outside.mustAcquire(konductorv1.KindLease, "busy"), outside.mustAcquire(konductorv1.KindSemaphore, "busy")}
			for _, name := range []string{"koncli-kept", "koncli-given"} {
				w.startKoncliWithKubeconfig(v.kubeconfig, "lease", "acquire", name, "--holder=k").expectExit(0)
			}
			waits := []*future[struct{}]{runAsyncErr(w, func() error { return a.WaitBarrier(w.ctx, "go") })}
			queued := a.enqueue(konductorv1.KindSemaphore, s)
			waiter := w.startKoncliWithKubeconfig(v.kubeconfig, "barrier", "wait", "go")
			acquirer := w.startKoncliWithKubeconfig(v.kubeconfig, "lease", "acquire", "busy", "--holder=k")
			holder := w.startKoncliWithKubeconfig(v.kubeconfig, "hold", "--lease=koncli-held", "--holder=k", "--ttl=1m")
			holder.waitForOutput("lease/koncli-held acquired")
			run := w.startKoncliWithKubeconfig(v.kubeconfig, "run", "--lease=run", "--holder=k", "--ttl=1m", "--", "sh", "-c", `until [ -e $DIR/end ]; do sleep 0.05; done`)
			run.waitForOutput("lease/run acquired")
			waitFor(w, "busy", "waited for", func(l *konductorv1.Lease) bool { return l.Status.Waiting == 1 })

			bad.begin(v)
			// During the outage the awaited changes happen, and other calls begin.
			arriveInOrder(w, "go", "outside")
			for _, h := range inTheWay {
				w.mustRelease(h)
			}
			waits = append(waits, runAsyncErr(w, func() error { return a.ArriveBarrier(w.ctx, "stage", konductor.WithHolder("a")) }),
				runAsyncErr(w, func() error { return a.RenewLease(w.ctx, "kept", a.asHolder()) }),
				runAsyncErr(w, func() error { return a.ReleaseLease(w.ctx, "given", a.asHolder()) }))
			began := a.startAcquire(konductorv1.KindLease, "free")
			newcomers := []*koncliProcess{
				w.startKoncliWithKubeconfig(v.kubeconfig, "barrier", "arrive", "stage", "--holder=k"),
				w.startKoncliWithKubeconfig(v.kubeconfig, "lease", "renew", "koncli-kept", "--holder=k"),
				w.startKoncliWithKubeconfig(v.kubeconfig, "lease", "release", "koncli-given", "--holder=k"),
			}
			<-time.After(outageDuration)
			bad.end(v)

			for _, f := range waits {
				f.mustSucceed()
			}
			w.mustRelease(queued.mustSucceed())
			w.mustRelease(began.mustSucceed())
			for _, p := range append(newcomers, waiter, acquirer) {
				p.expectExit(0)
			}
			run.writeFile("end")
			run.expectExit(0)
			holder.signal(syscall.SIGTERM)
			holder.expectExit(0)
			w.mustRelease(hold)
			w.must(a.ReleaseLease(w.ctx, "kept", a.asHolder()))
			for _, name := range []string{"koncli-kept", "busy"} {
				w.startKoncliWithKubeconfig(v.kubeconfig, "lease", "release", name, "--holder=k").expectExit(0)
			}
			w.waitNoClaims()
			if n := w.countArrivals("stage"); n != 2 {
				t.Errorf("%d have arrived, not a and k", n)
			}
			checkOutageMessages(w, notificationsOf(a), waiter.output.String(), run.output.String())
		})
	}
}

// waitNoClaims waits until there is no claim in the namespace.
func (w *testEnv) waitNoClaims() {
	w.Helper()
	w.waitUntil("all claims to be gone", func() bool {
		claims := &konductorv1.ClaimList{}
		w.must(w.client.List(w.ctx, claims, client.InNamespace(w.namespace)))
		return len(claims.Items) == 0
	})
}

func (w *testEnv) countArrivals(barrier string) (n int) {
	w.Helper()
	arrivals := &konductorv1.ArrivalList{}
	w.must(w.client.List(w.ctx, arrivals, client.InNamespace(w.namespace)))
	for i := range arrivals.Items {
		if arrivals.Items[i].Spec.Barrier == barrier {
			n++
		}
	}
	return n
}

// notificationsOf returns what the client has reported to the user.
func notificationsOf(a *testParticipant) string {
	_, all := a.notifications.snapshot()
	return all
}

// checkOutageMessages checks that users got one line about an outage and one about its end, without an unreadable URL.
func checkOutageMessages(w *testEnv, all ...string) {
	w.Helper()
	for _, said := range all {
		if n := strings.Count(said, "trying again"); n > 2 || strings.Contains(said, "watch=") {
			w.Errorf("people were told %d times of the outage:\n%s", n, said)
		}
	}
}

func TestClaimWithLostResponseIsDeleted(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	v := w.newFaultyConnection()
	w.createLease("db", konductor.WithTTL(time.Hour))
	a := w.newParticipantWithConfig(v.config, "a")
	w.mustRelease(a.mustAcquire(konductorv1.KindLease, "db"))
	hold := w.newParticipant("outside").mustAcquire(konductorv1.KindLease, "db")
	v.SetProfile(proxy.FaultProfile{DropResponseRate: 1})
	in := konductor.WithTimeout(time.Second)
	requireErrorAs[*konductor.TimeoutError](w, a.startAcquire(konductorv1.KindLease, "db", in).mustFail())
	v.SetProfile(proxy.FaultProfile{})
	w.mustRelease(hold)
	w.waitNoClaims()
	w.mustRelease(a.mustAcquire(konductorv1.KindLease, "db")) // it is served when the claim before it is known to be deleted
	w.waitNoClaims()
}

func TestCreateWithLostResponse(t *testing.T) {
	w := newTestEnv(t)
	v, err := proxy.New(w.adminConfig, rand.New(rand.NewPCG(1, 1)))
	w.must(err)
	w.Cleanup(func() { _ = v.Close() })
	a := w.newParticipantWithConfig(v.Config(w.adminConfig), "a")
	_, err = a.ListBarriers(w.ctx)
	w.must(err)
	w.createLease("there")
	v.SetProfile(proxy.FaultProfile{DropResponseRate: 1})
	barrier := runAsyncErr(w, func() error { _, err := a.CreateBarrier(w.ctx, "stage", 2); return err })
	lease := runAsyncErr(w, func() error { _, err := a.CreateLease(w.ctx, "there"); return err })
	w.waitUntil("answers to be lost", func() bool { return v.Counts()["cut after"] > 2 })
	v.SetProfile(proxy.FaultProfile{})
	barrier.mustSucceed()
	if err := lease.mustFail(); !strings.Contains(err.Error(), "already exists") {
		t.Errorf("a lease that was there before was created: %v", err)
	}
}

// TestQuotaWaited has a quota that counts arrivals, which the API server updates with each, and one of claims that is full.
func TestQuotaWaited(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	const people = 12
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "few"}, Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{
		"count/claims.konductor.io": resource.MustParse("1"), "count/arrivals.konductor.io": resource.MustParse("12"),
	}}}
	w.createObjects(quota)
	w.waitUntil("the quota to be known", func() bool {
		w.must(w.client.Get(w.ctx, client.ObjectKeyFromObject(quota), quota))
		return len(quota.Status.Hard) == 2
	})
	createBarrier(w, "stage", people)
	var all []*future[struct{}]
	for _, p := range w.newParticipants(numberedNames("p", people)...) {
		all = append(all, runAsyncErr(w, func() error { return p.ArriveBarrier(w.ctx, "stage", konductor.WithHolder(p.name)) }))
	}
	for _, f := range all {
		f.mustSucceed()
	}
	if n := w.countArrivals("stage"); n != people {
		t.Errorf("%d of %d have arrived", n, people)
	}

	w.createLease("first")
	w.createLease("second")
	hold := w.newParticipant("a").mustAcquire(konductorv1.KindLease, "first")
	b := w.newParticipant("b")
	next := b.startAcquire(konductorv1.KindLease, "second")
	w.waitUntil("b to be told of the quota", func() bool { return strings.Contains(notificationsOf(b), "waiting until the quota has room") })
	w.mustRelease(hold)
	w.mustRelease(next.mustSucceed())
	w.waitNoClaims()
}

func TestNoWaitOnFullQuota(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	v := w.newFaultyConnection()
	w.createLease("db")
	v.SetProfile(proxy.FaultProfile{Rejection: proxy.QuotaFull})
	a := w.newParticipantWithConfig(v.config, "a")
	now := konductor.WithTimeout(0)
	if e := requireErrorAs[*konductor.ForbiddenError](w, a.startAcquire(konductorv1.KindLease, "db", now).mustFail()); !strings.Contains(e.Error(), "exceeded quota") {
		t.Errorf("the error is %v", e)
	}
	soon := konductor.WithTimeout(2 * time.Second)
	requireErrorAs[*konductor.TimeoutError](w, a.startAcquire(konductorv1.KindLease, "db", soon).mustFail())
	if _, told := a.notifications.snapshot(); strings.Count(told, "exceeded quota") != 1 {
		t.Errorf("told: %s", told)
	}
	w.startKoncliWithKubeconfig(v.kubeconfig, "lease", "acquire", "db", "--timeout=0").expectExit(4)
}

func TestFirstRequestFailureIsBounded(t *testing.T) {
	w := newTestEnv(t)
	v := w.newFaultyConnection()
	w.createLease("db")
	for what, test := range map[string]struct {
		bad  proxy.FaultProfile
		code int
		says string
	}{
		"no right":              {proxy.FaultProfile{Rejection: proxy.Forbidden}, 4, "may not get,list,watch leases.konductor.io"},
		"an unknown authority":  {proxy.FaultProfile{UntrustedCertificate: true}, 1, "certificate"},
		"the page of a gateway": {proxy.FaultProfile{Rejection: proxy.LoginPage}, 1, "can't reach the API server"},
	} {
		t.Run(what, func(t *testing.T) {
			w := *w
			w.TB = t
			v.SetProfile(test.bad)
			began := time.Now()
			p := w.startKoncliWithKubeconfig(v.kubeconfig, "lease", "acquire", "db")
			p.expectExit(test.code)
			if said := p.output.String(); !strings.Contains(said, test.says) || time.Since(began) > waitTimeout/2 {
				t.Errorf("after %s it said:\n%s", time.Since(began), said)
			}
		})
	}
}

func TestRequestTimeoutRetried(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	v := w.newFaultyConnection()
	w.createLease("db", konductor.WithTTL(time.Hour))
	// Each request is delayed, and half of them for longer than the flag allows.
	v.SetProfile(proxy.FaultProfile{MaxDelay: 2 * time.Second})
	w.startKoncliWithKubeconfig(v.kubeconfig, "--request-timeout=1s", "lease", "acquire", "db", "--holder=k").expectExit(0)
	v.SetProfile(proxy.FaultProfile{})
	w.startKoncliWithKubeconfig(v.kubeconfig, "lease", "release", "db", "--holder=k").expectExit(0)
	w.waitNoClaims()
}

func TestHoldRecordedOnlyInLeaseSurvivesOperator(t *testing.T) {
	w := newTestEnv(t)
	config, wire := w.hookTransport(w.operatorConfig)
	dead := make(chan struct{})
	wire.setRequestHook(func(req *http.Request) error {
		if isWriteRequest(req) && strings.HasSuffix(req.URL.Path, "/status") && strings.Contains(req.URL.Path, "/claims/") {
			select {
			case <-dead:
			default:
				close(dead)
			}
			wire.failRequests(func(*http.Request) bool { return true })
			return errDisconnected
		}
		return nil
	})
	first := w.startOperatorWith(func(o *operator.Options) { o.Config = config })
	w.createWorkerAccount()
	w.createLease("db")
	pod := w.createPod("holder")
	waitFor(w, "db", "looked at", func(l *konductorv1.Lease) bool { return l.Status.Phase == konductorv1.LeaseAvailable })
	line, own := w.hookTransport(w.podTokenConfig(pod))
	a := w.newParticipantWithConfig(line, "")
	a.podUID = pod.UID
	hold := a.mustAcquire(konductorv1.KindLease, "db", konductor.WithTTL(20*time.Second))
	w.waitClosed(dead, "the operator to die before it tells the claim")
	first.cancel()
	before, _ := hold.Deadline()
	own.waitForResponse(http.MethodPatch, "/claims/"+a.claimName(konductorv1.KindLease, getObject[*konductorv1.Lease](w, "db")))
	w.startOperator()
	w.waitUntil("the hold to be renewed", func() bool {
		now, _ := hold.Deadline()
		select {
		case <-hold.Lost():
			t.Fatalf("the hold was lost: %v", context.Cause(hold.Context()))
		default:
		}
		return now.After(before)
	})
	w.mustRelease(hold)
	w.waitNoClaims()
}

func TestTerminatingObjectsCountAsDeleted(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	createBarrier(w, "stage", 1)
	gate, lease, s := w.createGate("deps", jobCondition("none")), w.createLease("db"), w.createSemaphore("api", 1)
	kept := []client.Object{&konductorv1.Barrier{ObjectMeta: metav1.ObjectMeta{Name: "stage"}}, gate, lease, s}
	for _, obj := range kept {
		w.patchObject(obj, `{"metadata":{"finalizers":["example.com/keep"]}}`)
	}
	w.Cleanup(func() {
		for _, obj := range kept {
			_ = w.client.Patch(context.Background(), obj, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`)))
		}
	})
	a := w.newParticipant("a")
	calls := map[string]func() error{
		"barrier wait":      func() error { return a.WaitBarrier(w.ctx, "stage") },
		"gate wait":         func() error { return a.WaitGate(w.ctx, "deps") },
		"lease acquire":     func() error { _, err := a.AcquireLease(w.ctx, "db", konductor.WithHolder("a")); return err },
		"semaphore acquire": func() error { _, err := a.AcquireSemaphore(w.ctx, "api", konductor.WithHolder("a")); return err },
	}
	outside := w.newParticipant("outside")
	outside.mustAcquire(konductorv1.KindLease, "db", konductor.WithTTL(time.Hour))
	outside.mustAcquire(konductorv1.KindSemaphore, "api", konductor.WithTTL(time.Hour))
	begun := map[string]*future[struct{}]{}
	for what, call := range calls {
		begun[what] = runAsyncErr(w, call)
	}
	waitFor(w, "db", "waited for", func(l *konductorv1.Lease) bool { return l.Status.Waiting == 1 })
	waitFor(w, "api", "waited for", func(s *konductorv1.Semaphore) bool { return s.Status.Waiting == 1 })
	w.deleteObjects(kept...)
	for what, f := range begun {
		t.Run(what+", begun before", func(*testing.T) { requireErrorAs[*konductor.NotFoundError](w, f.mustFail()) })
	}
	for what, call := range calls {
		t.Run(what+", begun after", func(*testing.T) { requireErrorAs[*konductor.NotFoundError](w, runAsyncErr(w, call).mustFail()) })
	}
	t.Run("barrier arrive", func(*testing.T) { requireErrorAs[*konductor.NotFoundError](w, a.ArriveBarrier(w.ctx, "stage")) })
	if _, told := a.notifications.snapshot(); strings.Contains(told, "operator") {
		t.Errorf("told: %s", told)
	}
	w.startKoncli("lease", "acquire", "db").expectExit(2)
	w.startKoncli("barrier", "wait", "stage").expectExit(2)
}

func TestTooShortTTLRejected(t *testing.T) {
	w := newTestEnv(t)
	w.createLease("db")
	err := w.newParticipant("a").startAcquire(konductorv1.KindLease, "db", konductor.WithTTL(5*time.Millisecond)).mustFail()
	if !strings.Contains(err.Error(), "at least 1s") {
		t.Errorf("the error is %v", err)
	}
	for _, args := range [][]string{
		{"lease", "acquire", "db", "--ttl=5ms"}, {"lease", "create", "x", "--ttl=999ms"}, {"run", "--lease=db", "--ttl=5ms", "--", "true"},
	} {
		p := w.startKoncli(args...)
		w.waitClosed(p.done, "the end of koncli")
		if !strings.Contains(p.output.String(), "--ttl must be at least 1s") {
			t.Errorf("%s said: %s", fmt.Sprint(args), p.output)
		}
	}
}

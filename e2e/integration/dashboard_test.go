package integration

import (
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/live"
	"github.com/LogicIQ/konductor/internal/view"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

const (
	enter  = "\r"
	escape = "\x1b"
	ctrlC  = "\x03"
	ctrlD  = "\x04"
)

// startDashboard starts the dashboard on a terminal of that size.
func (w *testEnv) startDashboard(on *testCluster, cols, rows int, args ...string) *testTerminal {
	w.Helper()
	return w.startTerminal(on.Kubeconfig(), cols, rows, append([]string{"watch", "--namespace", w.namespace}, args...)...)
}

func TestDashboardFollowsChanges(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	createBarrier(w, "stage", 3)
	lease := w.createLease("db", konductor.WithTTL(time.Hour))
	w.createSemaphore("api", 3)
	s := w.startDashboard(sharedCluster, 120, 40).waitForText("barrier/stage", "0/3", "lease/db", "0/3", "live")

	arriveInOrder(w, "stage", "a")
	s.waitForText("1/3", "2 to come")
	alice := w.newParticipant("alice").mustAcquire(konductorv1.KindLease, "db")
	w.newParticipant("bob").enqueue(konductorv1.KindLease, lease)
	s.waitForText("held by alice for", "1 waiting", "Granted")
	s.typeKeys("/lease"+enter).waitForTextGone("barrier/stage").typeKeys(enter).waitForText("Holders (1)", "alice", "Queue (1)", "bob")
	w.mustRelease(alice)
	s.waitForText("held by bob", "Released").waitForTextGone("Queue")
	s.typeKeys(escape).waitForText("PROGRESS").typeKeys(escape).waitForText("barrier/stage")
	arriveInOrder(w, "stage", "b", "c")
	s.waitForText("✓ Open", "3/3", "Opened")

	s.resize(40, 10).waitForText("bar/stage", "3/3").resize(120, 40).waitForText("barrier/stage", "recent events")
	s.typeKeys("?").waitForText("Act (shows the command").typeKeys(escape).waitForText("barrier/stage")
	s.typeKeys("gy").waitForText("kind: Barrier", "expected: 3").typeKeys("q").expectExit(0)
	s.expectRestored()
}

func TestDashboardActions(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	createBarrier(w, "stage", 2)
	w.createSemaphore("api", 3)
	s := w.startDashboard(sharedCluster, 160, 30).waitForText("barrier/stage", "semaphore/api")

	s.typeKeys("a").waitForText("arrive as:", "$ kubectl konductor barrier arrive stage --namespace="+w.namespace+" --holder=")
	s.typeKeys("\x15somebody").waitForText("--holder=somebody").waitForTextGone("checking permissions").typeKeys(enter).waitForText("1/2", "arrived")
	if b := getObject[*konductorv1.Barrier](w, "stage"); !strings.Contains(strings.Join(b.Status.Arrivals, " "), "somebody") {
		t.Errorf("arrived: %q", b.Status.Arrivals)
	}
	s.typeKeys("Gz").waitForText("permits: 3").typeKeys("\x157").waitForText("--permits=7").waitForTextGone("checking permissions").typeKeys(enter).waitForText("0/7")
	s.typeKeys("r").waitForText("$ kubectl konductor semaphore release api").waitForTextGone("checking permissions").typeKeys(enter).waitForText("has no hold on semaphore/api and is not queued")
	s.typeKeys(escape).waitForTextGone("has no hold on")
	s.typeKeys(ctrlD).waitForText("$ kubectl konductor semaphore delete api", "y run it").waitForTextGone("checking permissions").typeKeys("y").waitForTextGone("semaphore/api ")
	waitGone(w, &konductorv1.Semaphore{ObjectMeta: metav1.ObjectMeta{Name: "api"}})
	s.typeKeys(ctrlC).expectExit(0)
	s.expectRestored()
}

func TestDashboardWithLimitedRights(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	createBarrier(w, "stage", 2)
	arriveInOrder(w, "stage", "a")
	w.createClusterRole("looks", rbacv1.PolicyRule{
		APIGroups: []string{konductorv1.GroupName}, Resources: []string{"barriers", "gates", "leases", "semaphores"}, Verbs: []string{"get", "list", "watch"},
	})
	w.createServiceAccount("looks", false)
	w.bindRole("looks", "looks")
	token := w.serviceAccountConfig("looks").BearerToken
	s := w.startDashboard(sharedCluster, 240, 30, "--token="+token).waitForText("barrier/stage", "1/2", "can't list and watch events in namespace "+w.namespace)
	s.typeKeys(enter).waitForText("Arrivals (1)", "Missing (1)").typeKeys(ctrlD)
	s.waitForText("you can't delete barriers.konductor.io in namespace "+w.namespace, "--token=REDACTED").typeKeys(escape).waitForText("esc back").waitForTextGone("$ kubectl").typeKeys("q").expectExit(0)
	if strings.Contains(s.output(), token) {
		t.Error("the token was shown")
	}

	w.createServiceAccount("nobody", false)
	w.startDashboard(sharedCluster, 120, 30, "--token="+w.serviceAccountConfig("nobody").BearerToken).expectExit(4)
}

func TestWatchPrintsLinesAsJSON(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	createBarrier(w, "stage", 2)
	waitBarrierPhase(w, "stage", konductorv1.BarrierWaiting)
	// Terminals with TERM=dumb or CI can't show the dashboard.
	s := w.startDashboard(sharedCluster, 200, 30, "-o", "json").waitForText(`"type":"ADDED"`, `"name":"stage"`)
	arriveInOrder(w, "stage", "a", "b")
	s.waitForText(`"type":"MODIFIED"`, `"state":"Open"`)
	if strings.ContainsRune(s.output(), '\x1b') {
		t.Errorf("it drew: %q", s.output())
	}
	s.typeKeys(ctrlC).expectExit(0)
}

// checkDashboardAPIServerRestart is a part of TestWithSpareControlPlane.
func checkDashboardAPIServerRestart(w *testEnv, on *testCluster) {
	op := w.startOperator()
	createBarrier(w, "stage", 3)
	s := w.startDashboard(on, 120, 30).waitForText("barrier/stage", "0/3", "live")
	s.typeKeys(enter).waitForText("Missing (3)")
	w.must(on.StopComponent(apiServerComponent, syscall.SIGKILL))
	s.waitForText("reconnecting to the API server for", "barrier/stage")
	s.typeKeys(escape).waitForText("PROGRESS")
	w.must(on.StartComponent(w.ctx, apiServerComponent))
	back := time.Now()
	s.waitForTextGone("reconnecting")
	w.Logf("live again %s after the API server was", time.Since(back).Round(time.Millisecond))
	arriveInOrder(w, "stage", "a")
	s.waitForText("1/3")
	arriveInOrder(w, "stage", "b", "c")
	s.waitForText("✓ Open").typeKeys("q").expectExit(0)
	s.expectRestored()
	op.stop()
}

func TestFeedLeaksNoGoroutine(t *testing.T) {
	w := newTestEnvOn(t, sharedCluster)
	w.createLease("db")
	before := goleak.IgnoreCurrent()
	config, wire := w.hookTransport(w.adminConfig)
	feed, err := live.Start(config, live.Options{Namespace: w.namespace})
	w.must(err)
	world := view.NewStore()
	news, err := feed.WaitForSync(w.ctx)
	w.must(err)
	world.Apply(news)
	if rows := world.Rows(); len(rows) != 1 || rows[0].Name != "db" {
		t.Errorf("rows: %v", rows)
	}
	feed.WatchWorkloads(w.namespace)
	w.createSemaphore("api", 1)
	for world.Row(view.Ref{Kind: konductorv1.KindSemaphore, Namespace: w.namespace, Name: "api"}) == nil || !world.HasSynced(view.KindPod, view.KindJob) {
		w.waitClosed(feed.Changed(), "news")
		world.Apply(feed.Drain())
	}
	feed.WatchWorkloads("")
	feed.WatchWorkloads(w.namespace)
	// The dashboard ends as well while the API server is unreachable.
	wire.failRequests(func(*http.Request) bool { return true })
	w.createLease("other")
	feed.Close()
	feed.Close()
	if _, open := <-feed.Changed(); open {
		<-feed.Changed()
	}
	if err := goleak.Find(append(ignoredGoroutines(), before)...); err != nil {
		t.Error(err)
	}
}

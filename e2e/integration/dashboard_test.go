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
	"github.com/LogicIQ/konductor/plugins/konductor/live"
	"github.com/LogicIQ/konductor/plugins/konductor/view"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

const (
	enter  = "\r"
	escape = "\x1b"
	ctrlC  = "\x03"
	ctrlD  = "\x04"
)

// dashboard starts the dashboard on a terminal of that size.
func (w *world) dashboard(on *site, cols, rows int, args ...string) *terminal {
	w.Helper()
	return w.terminal(on.Kubeconfig(), cols, rows, append([]string{"watch", "--namespace", w.namespace}, args...)...)
}

func TestTheDashboardShowsWhatHappens(t *testing.T) {
	w := newWorld(t)
	w.operator()
	barrierOf(w, "stage", 3)
	lease := w.lease("db", konductor.WithTTL(time.Hour))
	w.semaphore("api", 3)
	s := w.dashboard(shared, 120, 40).sees("barrier/stage", "0/3", "lease/db", "0/3", "live")

	arrive(w, "stage", "a")
	s.sees("1/3", "2 to come")
	alice := w.someone("alice").acquire(konductorv1.KindLease, "db")
	w.someone("bob").queue(konductorv1.KindLease, lease)
	s.sees("held by alice for", "1 waiting", "Granted")
	s.types("/lease"+enter).loses("barrier/stage").types(enter).sees("Holders (1)", "alice", "Queue (1)", "bob")
	w.release(alice)
	s.sees("held by bob", "Released").loses("Queue")
	s.types(escape).sees("HOW IT STANDS").types(escape).sees("barrier/stage")
	arrive(w, "stage", "b", "c")
	s.sees("✓ Open", "3/3", "Opened")

	s.resize(40, 10).sees("bar/stage", "3/3").resize(120, 40).sees("barrier/stage", "what just happened")
	s.types("?").sees("Act, after a confirmation").types(escape).sees("barrier/stage")
	s.types("gy").sees("kind: Barrier", "expected: 3").types("q").ends(0)
	s.restored()
}

func TestActionsInTheDashboardAct(t *testing.T) {
	w := newWorld(t)
	w.operator()
	barrierOf(w, "stage", 2)
	w.semaphore("api", 3)
	s := w.dashboard(shared, 160, 30).sees("barrier/stage", "semaphore/api")

	s.types("a").sees("arrive as:", "$ kubectl konductor barrier arrive stage --namespace="+w.namespace+" --holder=")
	s.types("\x15somebody").sees("--holder=somebody").loses("asking whether").types(enter).sees("1/2", "arrived")
	if b := get[*konductorv1.Barrier](w, "stage"); !strings.Contains(strings.Join(b.Status.Arrivals, " "), "somebody") {
		t.Errorf("arrived: %q", b.Status.Arrivals)
	}
	s.types("Gz").sees("permits: 3").types("\x157").sees("--permits=7").loses("asking whether").types(enter).sees("0/7")
	s.types("r").sees("$ kubectl konductor semaphore release api").loses("asking whether").types(enter).sees("neither holds semaphore/api nor waits for it")
	s.types(escape).loses("neither holds")
	s.types(ctrlD).sees("$ kubectl konductor semaphore delete api", "y run it").loses("asking whether").types("y").loses("semaphore/api ")
	isGone(w, &konductorv1.Semaphore{ObjectMeta: metav1.ObjectMeta{Name: "api"}})
	s.types(ctrlC).ends(0)
	s.restored()
}

func TestTheDashboardShowsWhatItMay(t *testing.T) {
	w := newWorld(t)
	w.operator()
	barrierOf(w, "stage", 2)
	arrive(w, "stage", "a")
	w.newRole("looks", rbacv1.PolicyRule{
		APIGroups: []string{konductorv1.GroupName}, Resources: []string{"barriers", "gates", "leases", "semaphores"}, Verbs: []string{"get", "list", "watch"},
	})
	w.serviceAccount("looks", false)
	w.allow("looks", "looks")
	token := w.accountConfig("looks").BearerToken
	s := w.dashboard(shared, 120, 30, "--token="+token).sees("barrier/stage", "1/2", "events can't be seen: you may not list and watch them in namespace "+w.namespace)
	s.types(enter).sees("Arrivals (1)", "Missing (1)").types(ctrlD)
	s.sees("you may not delete barriers.konductor.io in namespace "+w.namespace, "--token=REDACTED").types(escape).sees("esc back").loses("$ kubectl").types("q").ends(0)
	if strings.Contains(s.written(), token) {
		t.Error("the token was shown")
	}

	w.serviceAccount("nobody", false)
	w.dashboard(shared, 120, 30, "--token="+w.accountConfig("nobody").BearerToken).ends(4)
}

func TestAWatchThatIsNotOnATerminalPrintsLines(t *testing.T) {
	w := newWorld(t)
	w.operator()
	barrierOf(w, "stage", 2)
	isBarrier(w, "stage", konductorv1.BarrierWaiting)
	// TERM=dumb and CI are terminals too, but nothing to draw on.
	s := w.dashboard(shared, 200, 30, "-o", "json").sees(`"type":"ADDED"`, `"name":"stage"`)
	arrive(w, "stage", "a", "b")
	s.sees(`"type":"MODIFIED"`, `"state":"Open"`)
	if strings.ContainsRune(s.written(), '\x1b') {
		t.Errorf("it drew: %q", s.written())
	}
	s.types(ctrlC).ends(0)
}

// theDashboardOutlivesTheAPIServer is a part of TestOnAClusterOfItsOwn.
func theDashboardOutlivesTheAPIServer(w *world, on *site) {
	op := w.operator()
	barrierOf(w, "stage", 3)
	s := w.dashboard(on, 120, 30).sees("barrier/stage", "0/3", "live")
	s.types(enter).sees("Missing (3)")
	w.ok(on.StopComponent(apiServer, syscall.SIGKILL))
	s.sees("reconnecting to the API server for", "barrier/stage")
	s.types(escape).sees("HOW IT STANDS")
	w.ok(on.StartComponent(w.ctx, apiServer))
	back := time.Now()
	s.loses("reconnecting")
	w.Logf("live again %s after the API server was", time.Since(back).Round(time.Millisecond))
	arrive(w, "stage", "a")
	s.sees("1/3")
	arrive(w, "stage", "b", "c")
	s.sees("✓ Open").types("q").ends(0)
	s.restored()
	op.stop()
}

func TestAFeedLeavesNoGoroutineBehind(t *testing.T) {
	w := newWorldOn(t, shared)
	w.lease("db")
	before := goleak.IgnoreCurrent()
	config, wire := w.wired(w.config)
	feed, err := live.Start(config, live.Options{Namespace: w.namespace})
	w.ok(err)
	world := view.NewWorld()
	news, err := feed.Settled(w.ctx)
	w.ok(err)
	world.Apply(news)
	if rows := world.Rows(); len(rows) != 1 || rows[0].Name != "db" {
		t.Errorf("rows: %v", rows)
	}
	feed.Behind(w.namespace)
	w.semaphore("api", 1)
	for world.Row(view.Ref{Kind: konductorv1.KindSemaphore, Namespace: w.namespace, Name: "api"}) == nil || !world.Complete(view.KindPod, view.KindJob) {
		w.closes(feed.Changed(), "news")
		world.Apply(feed.Take())
	}
	feed.Behind("")
	feed.Behind(w.namespace)
	// It ends as well while it can't reach the API server.
	wire.cutFor(func(*http.Request) bool { return true })
	w.lease("other")
	feed.Close()
	feed.Close()
	if _, open := <-feed.Changed(); open {
		<-feed.Changed()
	}
	if err := goleak.Find(append(connections(), before)...); err != nil {
		t.Error(err)
	}
}

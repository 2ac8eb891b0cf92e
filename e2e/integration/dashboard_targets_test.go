package integration

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// otherCluster is another cluster, which counts its requests.
type otherCluster struct {
	*httptest.Server
	mu       sync.Mutex
	requests []string
}

func (w *testEnv) newOtherCluster() *otherCluster {
	e := &otherCluster{}
	e.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		e.mu.Lock()
		e.requests = append(e.requests, req.Method+" "+req.URL.Path)
		e.mu.Unlock()
		http.NotFound(rw, req)
	}))
	w.Cleanup(e.Close)
	return e
}

// expectNoRequests fails the test if there was a request.
func (e *otherCluster) expectNoRequests(w *testEnv) {
	w.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.requests) > 0 {
		w.Errorf("the other cluster was asked: %q", e.requests)
	}
}

// writeTwoClusterKubeconfig writes a kubeconfig with the contexts staging, which is the test's cluster and current, and prod.
func (w *testEnv) writeTwoClusterKubeconfig(prod string) (path string) {
	w.Helper()
	return w.writeKubeconfig(w.adminKubeconfig, func(c *api.Config) {
		c.Contexts["staging"] = c.Contexts["prod"]
		c.Contexts["staging"].Namespace = w.namespace
		c.Clusters["elsewhere"] = &api.Cluster{Server: prod}
		c.AuthInfos["somebody"] = &api.AuthInfo{Username: "somebody", Password: "secret"}
		c.Contexts["prod"] = &api.Context{Cluster: "elsewhere", AuthInfo: "somebody", Namespace: "default"}
		c.CurrentContext = "staging"
	})
}

func (w *testEnv) rewriteKubeconfig(path string, change func(*api.Config)) {
	w.Helper()
	config, err := clientcmd.LoadFromFile(path)
	w.must(err)
	change(config)
	w.must(clientcmd.WriteToFile(*config, path))
}

func TestDashboardKeepsClusterAndNamespace(t *testing.T) {
	switched := func(w *testEnv, path, _ string) {
		w.rewriteKubeconfig(path, func(c *api.Config) { c.CurrentContext = "prod" })
	}
	for name, c := range map[string]struct {
		// several splits the kubeconfig into two files, of which the first has only the current context.
		several bool
		args    []string
		// meanwhile runs between the opening of the dashboard and the action.
		meanwhile func(w *testEnv, path, prod string)
	}{
		"the current context is switched": {meanwhile: switched},
		"the default namespace is changed": {meanwhile: func(w *testEnv, path, _ string) {
			w.rewriteKubeconfig(path, func(c *api.Config) { c.Contexts["staging"].Namespace = "default" })
		}},
		"the context is made one of another cluster": {meanwhile: func(w *testEnv, path, _ string) {
			w.rewriteKubeconfig(path, func(c *api.Config) { c.Contexts["staging"] = c.Contexts["prod"] })
		}},
		"the file is deleted": {meanwhile: func(w *testEnv, path, _ string) { w.must(os.Remove(path)) }},
		"the file is replaced": {meanwhile: func(w *testEnv, path, prod string) {
			other := *api.NewConfig()
			other.Clusters["c"] = &api.Cluster{Server: prod}
			other.Contexts["staging"] = &api.Context{Cluster: "c", Namespace: w.namespace}
			other.CurrentContext = "staging"
			w.must(os.Remove(path))
			w.must(clientcmd.WriteToFile(other, path))
		}},
		"one of two files gets another current context": {several: true, meanwhile: func(w *testEnv, path, _ string) {
			w.rewriteKubeconfig(filepath.Join(filepath.Dir(path), "current"), func(c *api.Config) { c.CurrentContext = "prod" })
		}},
		"it was opened on a context that is not current": {args: []string{"--context=staging"}, meanwhile: switched},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTestEnv(t)
			w.startOperator()
			lease := w.createLease("db")
			prod := w.newOtherCluster()
			path := w.writeTwoClusterKubeconfig(prod.URL)
			kubeconfig, named := path, "--kubeconfig="+path
			if c.several {
				first := filepath.Join(filepath.Dir(path), "current")
				current := *api.NewConfig()
				current.CurrentContext = "staging"
				current.Contexts["staging"] = &api.Context{Cluster: "none"}
				w.must(clientcmd.WriteToFile(current, first))
				w.rewriteKubeconfig(first, func(c *api.Config) { delete(c.Contexts, "staging"); c.AuthInfos["unused"] = &api.AuthInfo{Token: "x"} })
				w.rewriteKubeconfig(path, func(c *api.Config) { c.CurrentContext = "" })
				kubeconfig = first + string(filepath.ListSeparator) + path
				named = "$ KUBECONFIG=" + kubeconfig + " kubectl konductor lease delete db"
			}
			s := w.startTerminal(kubeconfig, 500, 24, append([]string{"watch"}, c.args...)...).waitForText("staging/"+w.namespace, "lease/db", "free")
			c.meanwhile(w, path, prod.URL)
			s.typeKeys(ctrlD).waitForText("--namespace="+w.namespace, "--context=staging", named, "--uid="+string(lease.UID)).waitForTextGone("checking permissions")
			s.typeKeys("y").waitForText("lease.konductor.io/db deleted")
			waitGone(w, lease)
			s.typeKeys("q").expectExit(0)
			prod.expectNoRequests(w)
		})
	}
}

// TestShownCommandUsesSameCluster runs the command that the dashboard shows in another shell, whose kubeconfig is of another
// cluster.
func TestShownCommandUsesSameCluster(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	prod := w.newOtherCluster()
	path := w.writeTwoClusterKubeconfig(prod.URL)
	other := w.writeKubeconfig(path, func(c *api.Config) { c.Contexts["staging"], c.CurrentContext = c.Contexts["prod"], "staging" })
	w.rewriteKubeconfig(other, func(c *api.Config) {
		for _, cluster := range c.Clusters {
			cluster.Server, cluster.CertificateAuthorityData = prod.URL, nil
		}
	})
	s := w.createSemaphore("api", 3)
	screen := w.startTerminal(path, 500, 24, "watch").waitForText("semaphore/api", "0/3")
	w.rewriteKubeconfig(path, func(c *api.Config) { c.CurrentContext = "prod" })
	screen.typeKeys("z\x157").waitForText("--permits=7")
	picture, _ := screen.Snapshot()
	shown := regexp.MustCompile(`\$ kubectl konductor (semaphore resize [^\r\n]*--kubeconfig=\S+)`).FindStringSubmatch(picture)
	if shown == nil {
		t.Fatalf("no command is shown:\n%s", picture)
	}
	screen.typeKeys(escape).waitForTextGone("--permits=7").typeKeys("q").expectExit(0)
	cmd := exec.CommandContext(w.ctx, "sh", "-c", koncliPath+" "+shown[1])
	cmd.Env = []string{"KUBECONFIG=" + other, "HOME=" + w.TempDir(), "PATH=" + os.Getenv("PATH")}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	waitFor(w, "api", "resized", func(now *konductorv1.Semaphore) bool { return now.UID == s.UID && now.Spec.Permits == 7 })
	prod.expectNoRequests(w)
}

func TestActionsApplyOnlyToShownObject(t *testing.T) {
	anew := func(w *testEnv, kind string) {
		switch kind {
		case konductorv1.KindBarrier:
			w.deleteObjects(&konductorv1.Barrier{ObjectMeta: metav1.ObjectMeta{Name: "x"}})
			createBarrier(w, "x", 2)
		case konductorv1.KindGate:
			w.deleteObjects(&konductorv1.Gate{ObjectMeta: metav1.ObjectMeta{Name: "x"}})
			w.createGate("x", jobCondition("none"))
		case konductorv1.KindLease:
			w.deleteObjects(&konductorv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "x"}})
			w.createLease("x")
		default:
			w.deleteObjects(&konductorv1.Semaphore{ObjectMeta: metav1.ObjectMeta{Name: "x"}})
			w.createSemaphore("x", 2)
		}
	}
	begin := func(w *testEnv) {
		w.startOperator()
		createBarrier(w, "x", 2)
		w.createGate("x", jobCondition("none"))
		w.createLease("x")
		w.createSemaphore("x", 2)
	}
	for _, kind := range []string{konductorv1.KindBarrier, konductorv1.KindGate, konductorv1.KindLease, konductorv1.KindSemaphore} {
		lower := strings.ToLower(kind)
		t.Run("a "+lower+" that was replaced while the question stood", func(t *testing.T) {
			w := newTestEnv(t)
			begin(w)
			s := w.startTerminal(w.writeKubeconfig(w.adminKubeconfig, nil), 240, 10, lower, "delete", "x").waitForText("delete "+lower+"/x in namespace "+w.namespace, "? [y/N]")
			anew(w, kind)
			s.typeKeys("y\r").expectExit(2)
			if says := lower + "/x in namespace " + w.namespace + " was deleted and recreated in the meantime: nothing was done"; !strings.Contains(s.output(), says) {
				t.Errorf("it said\n%s\nwant\n%s", s.output(), says)
			}
			w.expectNotDeleted(kind)
		})
		t.Run("a "+lower+" that was replaced while the dashboard asked", func(t *testing.T) {
			w := newTestEnv(t)
			begin(w)
			s := w.startDashboard(sharedCluster, 240, 24).waitForText(lower + "/x")
			s.typeKeys("/"+lower+enter+ctrlD).waitForText("delete "+lower+"/x", "y run it").waitForTextGone("checking permissions")
			anew(w, kind)
			s.typeKeys("y").waitForText("nothing was done").typeKeys(escape).waitForTextGone("nothing was done").typeKeys("q").expectExit(0)
			w.expectNotDeleted(kind)
		})
	}
	t.Run("a lease that somebody has acquired while the question stood", func(t *testing.T) {
		w := newTestEnv(t)
		begin(w)
		s := w.startTerminal(w.writeKubeconfig(w.adminKubeconfig, nil), 240, 10, "lease", "delete", "x").waitForText("delete lease/x in namespace " + w.namespace + "? [y/N]")
		w.newParticipant("alice").mustAcquire(konductorv1.KindLease, "x")
		waitFor(w, "x", "held", func(l *konductorv1.Lease) bool { return l.Status.Holder == "alice" })
		s.typeKeys("y\r").expectExit(5)
		w.expectNotDeleted(konductorv1.KindLease)
	})
	t.Run("commands that name the object by its UID, the hold by its token and the permits by their number", func(t *testing.T) {
		w := newTestEnv(t)
		begin(w)
		hold := w.newParticipant("alice").mustAcquire(konductorv1.KindLease, "x")
		waitFor(w, "x", "held", func(l *konductorv1.Lease) bool { return l.Status.Holder == "alice" })
		kubeconfig := w.writeKubeconfig(w.adminKubeconfig, nil)
		uid := string(getObject[*konductorv1.Semaphore](w, "x").UID)
		for line, code := range map[string]int{
			"barrier delete x --yes --uid=other":                              2,
			"barrier arrive x --holder=a --uid=other":                         2,
			"gate delete x --yes --uid=other":                                 2,
			"lease delete x --yes --uid=other":                                2,
			"lease delete x --yes --unless-held":                              5,
			"lease release x --holder=alice --uid=other":                      2,
			"lease break x --yes --fencing-token=1":                           2,
			"lease break x --yes --holder=alice --fencing-token=1":            2,
			"semaphore delete x --yes --uid=other":                            2,
			"semaphore delete x --yes --unless-held --uid=other":              2,
			"semaphore resize x --permits=5 --uid=other":                      2,
			"semaphore resize x --permits=5 --current-permits=4 --uid=" + uid: 1,
			"semaphore resize x --permits=5 --current-permits=2 --uid=other":  2,
		} {
			if got := w.runKoncli(kubeconfig, strings.Fields(line)...); got.ExitCode != code || !strings.HasPrefix(got.Stderr, "error: ") || strings.Count(got.Stderr, "\n") != 1 {
				t.Errorf("%s: exit code %d, %q, want %d and a sentence", line, got.ExitCode, got.Stderr, code)
			}
		}
		if got := w.runKoncli(kubeconfig, "semaphore", "resize", "x", "--permits=5", "--current-permits=2", "--uid="+uid); got.ExitCode != 0 {
			t.Errorf("as it is: %+v", got)
		}
		if b := getObject[*konductorv1.Barrier](w, "x"); len(b.Status.Arrivals) > 0 {
			t.Errorf("arrived: %q", b.Status.Arrivals)
		}
		if l := getObject[*konductorv1.Lease](w, "x"); l.Status.FencingToken != hold.Token() || l.Status.Holder != "alice" {
			t.Errorf("the lease is held by %q", l.Status.Holder)
		}
	})
}

// expectNotDeleted fails the test unless an object of that kind exists and is not being deleted.
func (w *testEnv) expectNotDeleted(kind string) {
	w.Helper()
	var at *metav1.Time
	switch kind {
	case konductorv1.KindBarrier:
		at = getObject[*konductorv1.Barrier](w, "x").DeletionTimestamp
	case konductorv1.KindGate:
		at = getObject[*konductorv1.Gate](w, "x").DeletionTimestamp
	case konductorv1.KindLease:
		at = getObject[*konductorv1.Lease](w, "x").DeletionTimestamp
	default:
		at = getObject[*konductorv1.Semaphore](w, "x").DeletionTimestamp
	}
	if at != nil {
		w.Errorf("the %s was deleted", strings.ToLower(kind))
	}
}

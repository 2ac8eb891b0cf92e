package integration

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/e2e/cluster/toolchain/toolchaintest"
	"github.com/LogicIQ/konductor/e2e/monitoring"
)

// observer is a real Prometheus, with the chart's alert rules.
type observer struct {
	w       *world
	address string
}

// observer starts that program, a Prometheus, which scrapes the operator at that address with the token, as the chart's ServiceMonitor
// says. It is killed when the test ends.
func (w *world) observer(program, operator, token string) *observer {
	w.Helper()
	dir := w.TempDir()
	rules, err := monitoring.RulesFile()
	w.ok(err)
	tokenFile, configFile := filepath.Join(dir, "token"), filepath.Join(dir, "prometheus.yml")
	w.ok(os.WriteFile(tokenFile, []byte(token), 0o600))
	w.ok(os.WriteFile(configFile, fmt.Appendf(nil, `
global: {scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 200ms}
rule_files: [%q]
scrape_configs:
  - job_name: konductor-operator-metrics
    scheme: https
    authorization: {credentials_file: %q}
    tls_config: {insecure_skip_verify: true}
    static_configs: [{targets: [%q]}]
`, rules, tokenFile, operator), 0o600))
	p := &observer{w: w, address: w.freeAddress()}
	var out output
	cmd := exec.Command(program, "--config.file="+configFile, "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+p.address, "--log.level=warn")
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = time.Second
	w.ok(cmd.Start())
	w.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if w.Failed() {
			w.Logf("prometheus said:\n%s", out.String())
		}
	})
	return p
}

// values returns what a query results in, without what is not a number.
func (p *observer) values(query string) (values []string, err error) {
	var answer struct {
		Error string `json:"error"`
		Data  struct {
			Result []struct {
				Value [2]any `json:"value"`
			} `json:"result"`
		} `json:"data"`
	}
	if err := p.get("/api/v1/query?query="+url.QueryEscape(query), &answer); err != nil {
		return nil, err
	}
	if answer.Error != "" {
		return nil, fmt.Errorf("%s: %s", query, answer.Error)
	}
	for _, r := range answer.Data.Result {
		if v, _ := r.Value[1].(string); v != "" && v != "NaN" {
			values = append(values, v)
		}
	}
	return values, nil
}

func (p *observer) get(path string, into any) error {
	ctx, cancel := context.WithTimeout(p.w.ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.address+path, nil)
	if err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(req)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	return json.NewDecoder(answer.Body).Decode(into)
}

// scraper creates an account that may read metrics and do nothing else, and returns its token.
func (w *world) scraper() string {
	w.Helper()
	const name = "scraper"
	w.serviceAccount(name, false)
	w.newRole("konductor-metrics-reader", rbacv1.PolicyRule{NonResourceURLs: []string{"/metrics"}, Verbs: []string{"get"}})
	_, err := w.kube.RbacV1().ClusterRoleBindings().Create(w.ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "scraper-"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "konductor-metrics-reader"},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: w.namespace, Name: name}},
	}, metav1.CreateOptions{})
	w.ok(err)
	return w.accountConfig(name).BearerToken
}

// day lets everything happen once that metrics tell of: a hold is handed over, a barrier fills and opens, and a gate opens.
func (w *world) day(n int) {
	w.Helper()
	lease, semaphore := w.lease(fmt.Sprint("l", n)), w.semaphore(fmt.Sprint("s", n), 1)
	a, b := w.someone("a"), w.someone("b")
	for kind, name := range map[string]string{konductorv1.KindLease: lease.Name, konductorv1.KindSemaphore: semaphore.Name} {
		first := a.acquire(kind, name)
		next := b.acquiring(kind, name)
		w.release(first)
		w.release(next.must())
	}
	barrier := fmt.Sprint("b", n)
	barrierOf(w, barrier, 2)
	arrive(w, barrier, "x", "y")
	isBarrier(w, barrier, konductorv1.BarrierOpen)
	job := fmt.Sprint("j", n)
	w.gate(fmt.Sprint("g", n), onJob(job))
	w.job(job)
	w.jobBecomes(job, batchv1.JobComplete)
	isGate(w, fmt.Sprint("g", n), konductorv1.GateOpen, "")
}

func TestEveryPanelOfTheDashboardShowsDataOfARealOperatorInARealPrometheus(t *testing.T) {
	program := toolchaintest.Path(t, "prometheus")
	w := newWorld(t)
	address := w.freeAddress()
	w.koncli("operator", "--leader-elect=false", "--watch-namespaces="+w.namespace,
		"--metrics-bind-address="+address, "--health-probe-bind-address=0")
	p := w.observer(program, address, w.scraper())
	w.await("the operator to be scraped", func() bool {
		leads, err := p.values("konductor_leading == 1")
		return err == nil && len(leads) == 1
	})

	queries, err := monitoring.Queries("1m")
	w.ok(err)
	if len(queries) == 0 {
		t.Fatal("no dashboard asks anything")
	}
	// A rate needs a change between two scrapes, whenever those are. So things happen until all is seen.
	var empty []string
	for n, deadline := 0, time.Now().Add(patience); n == 0 || (len(empty) > 0 && time.Now().Before(deadline)); n++ {
		w.day(n)
		empty = nil
		for _, q := range queries {
			values, err := p.values(q.Expr)
			w.ok(err)
			if len(values) == 0 {
				empty = append(empty, q.Panel+": "+q.Expr)
			}
		}
	}
	if len(empty) > 0 {
		t.Errorf("these panels show no data:\n%s", strings.Join(empty, "\n"))
	}

	var rules struct {
		Data struct {
			Groups []struct {
				Rules []struct {
					Name, Health, LastError, State string
				} `json:"rules"`
			} `json:"groups"`
		} `json:"data"`
	}
	alerts, err := monitoring.Alerts()
	w.ok(err)
	w.await("all alerts to be judged", func() bool {
		w.ok(p.get("/api/v1/rules", &rules))
		judged := 0
		for _, g := range rules.Data.Groups {
			for _, r := range g.Rules {
				if r.Health == "err" {
					t.Fatalf("alert %s: %s", r.Name, r.LastError)
				}
				if r.Health == "ok" && r.State == "inactive" {
					judged++
				}
			}
		}
		return judged == len(alerts)
	})
}

func TestWhatTheOperatorServesIsMetricsAsPromtoolWantsThem(t *testing.T) {
	promtool := toolchaintest.Path(t, "promtool")
	w := newWorld(t)
	address := w.freeAddress()
	w.koncli("operator", "--leader-elect=false", "--watch-namespaces="+w.namespace,
		"--metrics-bind-address="+address, "--health-probe-bind-address=0")
	token := w.scraper()
	w.day(0)

	var ours bytes.Buffer
	w.await("metrics", func() bool {
		text, status := w.scrape(address, token)
		ours.Reset()
		for line := range strings.Lines(text) {
			if strings.HasPrefix(line, "konductor_") || strings.HasPrefix(line, "# HELP konductor_") || strings.HasPrefix(line, "# TYPE konductor_") {
				ours.WriteString(line)
			}
		}
		return status == http.StatusOK && strings.Contains(ours.String(), "konductor_time_to_open_seconds_count{kind=\"Gate\"} 1")
	})
	w.serviceAccount("other", false)
	for name, token := range map[string]string{"nobody": "", "an account without the right": w.accountConfig("other").BearerToken} {
		if _, status := w.scrape(address, token); status != http.StatusUnauthorized && status != http.StatusForbidden {
			t.Errorf("%s gets metrics with status %d", name, status)
		}
	}
	for _, object := range []string{`"l0"`, `"s0"`, `"b0"`, `"g0"`, w.namespace} {
		if strings.Contains(ours.String(), object) {
			t.Errorf("a metric names an object: %s", object)
		}
	}
	cmd := exec.CommandContext(w.ctx, promtool, "check", "metrics")
	cmd.Stdin = &ours
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}

// scrape gets the metrics at an address as Prometheus does; an empty text and status 0 while nobody listens there.
func (w *world) scrape(address, token string) (text string, status int) {
	w.Helper()
	req, err := http.NewRequestWithContext(w.ctx, http.MethodGet, "https://"+address+"/metrics", nil)
	w.ok(err)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	answer, err := client.Do(req)
	if err != nil {
		return "", 0
	}
	defer answer.Body.Close()
	var body bytes.Buffer
	if _, err := body.ReadFrom(answer.Body); err != nil {
		return "", 0
	}
	return body.String(), answer.StatusCode
}

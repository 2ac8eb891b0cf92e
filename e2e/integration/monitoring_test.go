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

// prometheusServer is a real Prometheus, with the chart's alert rules.
type prometheusServer struct {
	env     *testEnv
	address string
}

// startPrometheus starts the Prometheus at the path program, which scrapes the operator at that address with the token, as the
// chart's ServiceMonitor says. It is killed when the test ends.
func (w *testEnv) startPrometheus(program, operator, token string) *prometheusServer {
	w.Helper()
	dir := w.TempDir()
	rules, err := monitoring.RulesFile()
	w.must(err)
	tokenFile, configFile := filepath.Join(dir, "token"), filepath.Join(dir, "prometheus.yml")
	w.must(os.WriteFile(tokenFile, []byte(token), 0o600))
	w.must(os.WriteFile(configFile, fmt.Appendf(nil, `
global: {scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 200ms}
rule_files: [%q]
scrape_configs:
  - job_name: konductor-operator-metrics
    scheme: https
    authorization: {credentials_file: %q}
    tls_config: {insecure_skip_verify: true}
    static_configs: [{targets: [%q]}]
`, rules, tokenFile, operator), 0o600))
	p := &prometheusServer{env: w, address: w.freeAddress()}
	var out syncBuffer
	cmd := exec.Command(program, "--config.file="+configFile, "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+p.address, "--log.level=warn")
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = time.Second
	w.must(cmd.Start())
	w.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if w.Failed() {
			w.Logf("prometheus said:\n%s", out.String())
		}
	})
	return p
}

// queryValues returns the values of a query's result, without those that are not numbers.
func (p *prometheusServer) queryValues(query string) (values []string, err error) {
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

func (p *prometheusServer) get(path string, into any) error {
	ctx, cancel := context.WithTimeout(p.env.ctx, 10*time.Second)
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

// createMetricsReader creates an account that may read metrics and nothing else, and returns its token.
func (w *testEnv) createMetricsReader() string {
	w.Helper()
	const name = "scraper"
	w.createServiceAccount(name, false)
	w.createClusterRole("konductor-metrics-reader", rbacv1.PolicyRule{NonResourceURLs: []string{"/metrics"}, Verbs: []string{"get"}})
	_, err := w.kube.RbacV1().ClusterRoleBindings().Create(w.ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "scraper-"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "konductor-metrics-reader"},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: w.namespace, Name: name}},
	}, metav1.CreateOptions{})
	w.must(err)
	return w.serviceAccountConfig(name).BearerToken
}

// generateActivity makes everything happen once that metrics count: a hold is handed over, a barrier fills and opens, and a gate
// opens.
func (w *testEnv) generateActivity(n int) {
	w.Helper()
	lease, semaphore := w.createLease(fmt.Sprint("l", n)), w.createSemaphore(fmt.Sprint("s", n), 1)
	a, b := w.newParticipant("a"), w.newParticipant("b")
	for kind, name := range map[string]string{konductorv1.KindLease: lease.Name, konductorv1.KindSemaphore: semaphore.Name} {
		first := a.mustAcquire(kind, name)
		next := b.startAcquire(kind, name)
		w.mustRelease(first)
		w.mustRelease(next.mustSucceed())
	}
	barrier := fmt.Sprint("b", n)
	createBarrier(w, barrier, 2)
	arriveInOrder(w, barrier, "x", "y")
	waitBarrierPhase(w, barrier, konductorv1.BarrierOpen)
	job := fmt.Sprint("j", n)
	w.createGate(fmt.Sprint("g", n), jobCondition(job))
	w.createJob(job)
	w.finishJob(job, batchv1.JobComplete)
	waitGatePhase(w, fmt.Sprint("g", n), konductorv1.GateOpen, "")
}

func TestDashboardPanelsAndAlertsInPrometheus(t *testing.T) {
	program := toolchaintest.ProgramPath(t, "prometheus")
	w := newTestEnv(t)
	address := w.freeAddress()
	w.startKoncli("operator", "--leader-elect=false", "--watch-namespaces="+w.namespace,
		"--metrics-bind-address="+address, "--health-probe-bind-address=0")
	p := w.startPrometheus(program, address, w.createMetricsReader())
	w.waitUntil("the operator to be scraped", func() bool {
		leads, err := p.queryValues("konductor_leader == 1")
		return err == nil && len(leads) == 1
	})

	queries, err := monitoring.ReadQueries("1m")
	w.must(err)
	if len(queries) == 0 {
		t.Fatal("no dashboard asks anything")
	}
	// A rate needs a change between two scrapes, whose times are unknown. So repeat the changes until all rates are seen.
	var empty []string
	for n, deadline := 0, time.Now().Add(waitTimeout); n == 0 || (len(empty) > 0 && time.Now().Before(deadline)); n++ {
		w.generateActivity(n)
		empty = nil
		for _, q := range queries {
			values, err := p.queryValues(q.Expr)
			w.must(err)
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
	alerts, err := monitoring.ReadAlerts()
	w.must(err)
	w.waitUntil("all alerts to be judged", func() bool {
		w.must(p.get("/api/v1/rules", &rules))
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

func TestMetricsEndpoint(t *testing.T) {
	promtool := toolchaintest.ProgramPath(t, "promtool")
	w := newTestEnv(t)
	address := w.freeAddress()
	w.startKoncli("operator", "--leader-elect=false", "--watch-namespaces="+w.namespace,
		"--metrics-bind-address="+address, "--health-probe-bind-address=0")
	token := w.createMetricsReader()
	w.generateActivity(0)

	var ours bytes.Buffer
	w.waitUntil("metrics", func() bool {
		text, status := w.scrapeMetrics(address, token)
		ours.Reset()
		for line := range strings.Lines(text) {
			if strings.HasPrefix(line, "konductor_") || strings.HasPrefix(line, "# HELP konductor_") || strings.HasPrefix(line, "# TYPE konductor_") {
				ours.WriteString(line)
			}
		}
		return status == http.StatusOK && strings.Contains(ours.String(), "konductor_time_to_open_seconds_count{kind=\"Gate\"} 1")
	})
	w.createServiceAccount("other", false)
	for name, token := range map[string]string{"nobody": "", "an account without the right": w.serviceAccountConfig("other").BearerToken} {
		if _, status := w.scrapeMetrics(address, token); status != http.StatusUnauthorized && status != http.StatusForbidden {
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

// scrapeMetrics gets the metrics at an address as Prometheus does; an empty text and status 0 if nothing listens there.
func (w *testEnv) scrapeMetrics(address, token string) (text string, status int) {
	w.Helper()
	req, err := http.NewRequestWithContext(w.ctx, http.MethodGet, "https://"+address+"/metrics", nil)
	w.must(err)
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

package integration

import (
	"net/http"
	"strings"
	"testing"

	"github.com/LogicIQ/konductor/operator"
)

// TestReadyzWaitsForCaches checks that an operator whose caches aren't synced yet is alive, but not ready: a rollout must not end
// the old one for it.
func TestReadyzWaitsForCaches(t *testing.T) {
	w := newTestEnv(t)
	config, line := w.hookTransport(w.operatorConfig)
	line.failRequests(func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/claims") })
	health := w.freeAddress()
	w.startOperatorWith(func(o *operator.Options) { o.Config, o.HealthAddress = config, health })
	answers := func(path string) int {
		resp, err := http.Get("http://" + health + path)
		if err != nil {
			return 0
		}
		defer resp.Body.Close()
		return resp.StatusCode
	}
	for _, others := range []string{"barriers", "arrivals", "gates", "leases", "semaphores", "pods", "jobs"} {
		line.waitForResponse("WATCH", "/"+others)
	}
	w.waitUntil("an operator that is alive", func() bool { return answers("/healthz") == http.StatusOK })
	if got := answers("/readyz"); got != http.StatusInternalServerError {
		t.Errorf("/readyz answers %d although claims were not seen", got)
	}
	line.failRequests(nil)
	w.waitUntil("an operator that is ready", func() bool { return answers("/readyz") == http.StatusOK })
}

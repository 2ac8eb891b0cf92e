package integration

import (
	"net/http"
	"strings"
	"testing"

	"github.com/LogicIQ/konductor/operator"
)

// An operator that doesn't know all claims yet is alive, and not ready: a rollout must not take the old one away for it.
func TestAnOperatorIsReadyWhenItHasSeenEverythingAndNotBefore(t *testing.T) {
	w := newWorld(t)
	config, line := w.wired(w.operators)
	line.cutFor(func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/claims") })
	health := w.freeAddress()
	w.operatorWith(func(o *operator.Options) { o.Config, o.HealthAddress = config, health })
	answers := func(path string) int {
		resp, err := http.Get("http://" + health + path)
		if err != nil {
			return 0
		}
		defer resp.Body.Close()
		return resp.StatusCode
	}
	for _, others := range []string{"barriers", "arrivals", "gates", "leases", "semaphores", "pods", "jobs"} {
		line.awaitAnswer("WATCH", "/"+others)
	}
	w.await("an operator that is alive", func() bool { return answers("/healthz") == http.StatusOK })
	if got := answers("/readyz"); got != http.StatusInternalServerError {
		t.Errorf("/readyz answers %d although claims were not seen", got)
	}
	line.cutFor(nil)
	w.await("an operator that is ready", func() bool { return answers("/readyz") == http.StatusOK })
}

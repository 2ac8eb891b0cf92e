package cli

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/LogicIQ/konductor/internal/cli/clierror"
	"github.com/LogicIQ/konductor/internal/cli/runner"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

func TestCheckBarrierReachable(t *testing.T) {
	const (
		missing = `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404,"details":{"name":"done","group":"konductor.io","kind":"barriers"}}`
		exists  = `{"kind":"Barrier","apiVersion":"konductor.io/v1","metadata":{"name":"done"}}`
	)
	for what, c := range map[string]struct {
		code          int
		answer        string
		failIfMissing bool
		wantMissing   bool
	}{
		"one that is there":                {code: http.StatusOK, answer: exists},
		"one that will be":                 {code: http.StatusNotFound, answer: missing},
		"one that isn't there and must be": {code: http.StatusNotFound, answer: missing, failIfMissing: true, wantMissing: true},
	} {
		t.Run(what, func(t *testing.T) {
			asked := 0
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				asked++
				if asked == 1 {
					panic(http.ErrAbortHandler) // The connection breaks.
				}
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(c.code)
				_, _ = io.WriteString(w, c.answer)
			}))
			defer server.Close()
			client, err := konductor.New(&rest.Config{Host: server.URL}, konductor.InNamespace("default"))
			if err != nil {
				t.Fatal(err)
			}
			r := &runOptions{runFlags: &runFlags{arrive: "done"}, client: client}
			r.FailIfMissing = c.failIfMissing
			err = r.checkBarrierReachable(t.Context())
			var notFound *konductor.NotFoundError
			if errors.As(err, &notFound) != c.wantMissing || err != nil && !c.wantMissing {
				t.Errorf("%v", err)
			}
			if asked < 2 {
				t.Errorf("it was asked %d times", asked)
			}
		})
	}
}

func TestLateStartExitCode(t *testing.T) {
	f := &runFlags{}
	if got := clierror.ExitCode(f.withExitCode(fmt.Errorf("starting: %w", runner.ErrDeadlinePassed))); got != ownExitCodeOffset+clierror.ExitLost {
		t.Errorf("exit code %d", got)
	}
}

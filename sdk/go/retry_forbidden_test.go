package konductor

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// startingServer is an API server that has just started: it refuses everybody until it is ready.
type startingServer struct {
	readyzChecksLeft int // /readyz requests until it is ready
	forbiddenLeft    int // further requests to refuse, ready or not
	refusals         int // requests refused so far
}

func (s *startingServer) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	switch {
	case req.URL.Path == "/readyz" && s.readyzChecksLeft > 0:
		s.readyzChecksLeft--
		if s.readyzChecksLeft%2 == 0 {
			writeForbidden(w) // the role that allows /readyz isn't loaded either
		} else {
			w.WriteHeader(http.StatusInternalServerError)
		}
	case req.URL.Path == "/readyz":
	case s.readyzChecksLeft > 0 || s.forbiddenLeft > 0:
		s.forbiddenLeft--
		s.refusals++
		writeForbidden(w)
	default:
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(NewBarrier("stage", 1))
	}
}

func writeForbidden(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusForbidden)
	_ = json.NewEncoder(w).Encode(metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure,
		Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden, Message: `it is forbidden: User "jane" cannot do that`,
	})
}

func TestRetryForbidden(t *testing.T) {
	const forGood = 1000
	for name, tt := range map[string]struct {
		server    startingServer
		forbidden bool
		refusals  int
	}{
		"a server that has just started is asked until it knows the roles":               {startingServer{readyzChecksLeft: 3}, false, 3},
		"one that becomes ready between the refusal and the question is asked once more": {startingServer{forbiddenLeft: 1}, false, 1},
		"one that is ready is believed the second time":                                  {startingServer{forbiddenLeft: forGood}, true, 2},
		"and one that refuses also when it has started":                                  {startingServer{readyzChecksLeft: 2, forbiddenLeft: forGood}, true, 4},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			server := tt.server
			endpoint := httptest.NewServer(&server)
			defer endpoint.Close()
			c, err := New(&rest.Config{Host: endpoint.URL}, InNamespace("etl"))
			if err != nil {
				t.Fatal(err)
			}
			_, err = c.GetBarrier(t.Context(), "stage")
			var forbidden *ForbiddenError
			if errors.As(err, &forbidden) != tt.forbidden || (err != nil) != tt.forbidden {
				t.Fatalf("got error %v", err)
			}
			if server.refusals != tt.refusals {
				t.Errorf("the server was asked %d times in vain, not %d", server.refusals, tt.refusals)
			}
		})
	}
}

func TestWaitBarrierForbidden(t *testing.T) {
	endpoint := httptest.NewServer(&startingServer{forbiddenLeft: 1000})
	defer endpoint.Close()
	c, err := New(&rest.Config{Host: endpoint.URL}, InNamespace("etl"))
	if err != nil {
		t.Fatal(err)
	}
	var forbidden *ForbiddenError
	if err := c.WaitBarrier(t.Context(), "stage"); !errors.As(err, &forbidden) || forbidden.User != "jane" {
		t.Fatalf("got error %v", err)
	}
}

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

// startingServer is an API server that has just started: it knows nobody's rights before it is ready.
type startingServer struct {
	readyAfter    int // how many times it is asked whether it is ready before it is
	rightsUnknown int // how many requests it refuses besides, ready or not
	refusals      int // how many it has refused
}

func (s *startingServer) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	switch {
	case req.URL.Path == "/readyz" && s.readyAfter > 0:
		s.readyAfter--
		if s.readyAfter%2 == 0 {
			refuse(w) // it doesn't know who may ask that either
		} else {
			w.WriteHeader(http.StatusInternalServerError)
		}
	case req.URL.Path == "/readyz":
	case s.readyAfter > 0 || s.rightsUnknown > 0:
		s.rightsUnknown--
		s.refusals++
		refuse(w)
	default:
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(NewBarrier("stage", 1))
	}
}

func refuse(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusForbidden)
	_ = json.NewEncoder(w).Encode(metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure,
		Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden, Message: `it is forbidden: User "jane" cannot do that`,
	})
}

func TestARefusalCountsOnlyFromAnAPIServerThatIsReady(t *testing.T) {
	const forGood = 1000
	for name, tt := range map[string]struct {
		server    startingServer
		forbidden bool
		refusals  int
	}{
		"a server that has just started is asked until it knows the roles":               {startingServer{readyAfter: 3}, false, 3},
		"one that becomes ready between the refusal and the question is asked once more": {startingServer{rightsUnknown: 1}, false, 1},
		"one that is ready is believed the second time":                                  {startingServer{rightsUnknown: forGood}, true, 2},
		"and one that refuses also when it has started":                                  {startingServer{readyAfter: 2, rightsUnknown: forGood}, true, 4},
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

func TestAWaitThatIsRefusedNamesTheUser(t *testing.T) {
	endpoint := httptest.NewServer(&startingServer{rightsUnknown: 1000})
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

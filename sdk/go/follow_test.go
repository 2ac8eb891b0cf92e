package konductor

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// oldServer has a barrier that was last written at revision 5, which it doesn't remember any more: watches can begin at
// revision 90 only. A watch that does is told that the barrier has opened.
type oldServer struct {
	missing bool     // the barrier doesn't exist until it is watched for
	asked   []string // what was asked for
}

func (s *oldServer) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	query := req.URL.Query()
	w.Header().Set("Content-Type", "application/json")
	answer := func(code int, obj any) {
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(obj)
	}
	barrier := NewBarrier("stage", 1)
	barrier.ResourceVersion, barrier.UID = "5", "1"
	switch revision := query.Get("resourceVersion"); {
	case query.Get("watch") != "":
		s.asked = append(s.asked, "watch from "+revision)
		if revision != "90" {
			answer(http.StatusGone, metav1.Status{Status: metav1.StatusFailure, Code: http.StatusGone, Reason: metav1.StatusReasonExpired})
			return
		}
		barrier.ResourceVersion, barrier.Status.Phase, barrier.Status.ObservedGeneration = "91", konductorv1.BarrierOpen, 1
		raw, _ := json.Marshal(barrier)
		answer(http.StatusOK, metav1.WatchEvent{Type: string(watch.Modified), Object: runtime.RawExtension{Raw: raw}})
	case req.URL.Path == "/apis/konductor.io/v1/namespaces/etl/barriers":
		s.asked = append(s.asked, "list")
		list := konductorv1.BarrierList{TypeMeta: typeMeta("BarrierList"), ListMeta: metav1.ListMeta{ResourceVersion: "90"}}
		if !s.missing {
			list.Items = []konductorv1.Barrier{*barrier}
		}
		answer(http.StatusOK, list)
	default:
		s.asked = append(s.asked, "get")
		if s.missing {
			answer(http.StatusNotFound, metav1.Status{Status: metav1.StatusFailure, Code: http.StatusNotFound, Reason: metav1.StatusReasonNotFound})
			return
		}
		answer(http.StatusOK, barrier)
	}
}

func TestAWaitListsOnlyForARevisionToWatchFrom(t *testing.T) {
	for name, tt := range map[string]struct {
		server oldServer
		want   []string
	}{
		"when the object's own is too old": {oldServer{}, []string{"get", "watch from 5", "list", "watch from 90"}},
		"when the object doesn't exist":    {oldServer{missing: true}, []string{"get", "list", "watch from 90"}},
	} {
		t.Run(name, func(t *testing.T) {
			server := tt.server
			endpoint := httptest.NewServer(&server)
			defer endpoint.Close()
			c, err := New(&rest.Config{Host: endpoint.URL}, InNamespace("etl"))
			if err != nil {
				t.Fatal(err)
			}
			if err := c.WaitBarrier(t.Context(), "stage"); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, server.asked); diff != "" {
				t.Errorf("asked (-want +got):\n%s", diff)
			}
		})
	}
}

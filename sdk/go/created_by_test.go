package konductor

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

func TestAnnotateCreatedBy(t *testing.T) {
	const podUID = "authentication.kubernetes.io/pod-uid"
	for name, tt := range map[string]struct {
		token string
		user  *authenticationv1.UserInfo // nil: the API server doesn't say
		want  string
		asked bool
	}{
		"a person": {user: &authenticationv1.UserInfo{Username: "jane"}, want: "jane", asked: true},
		"a Pod in another namespace than its own": {
			token: testJWT(`{"kubernetes.io":{"namespace":"other","pod":{"name":"load-1","uid":"u-1"}}}`),
			user:  &authenticationv1.UserInfo{Username: "system:serviceaccount:other:load", Extra: map[string]authenticationv1.ExtraValue{podUID: {"u-1"}}},
			want:  "system:serviceaccount:other:load in pod u-1", asked: true,
		},
		"a Pod at home, whose own it is": {token: testJWT(`{"kubernetes.io":{"namespace":"etl","pod":{"name":"load-1","uid":"u-1"}}}`)},
		"somebody who may not ask":       {asked: true},
	} {
		t.Run(name, func(t *testing.T) {
			asked := 0
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				switch {
				case req.URL.Path == "/readyz":
				case req.URL.Path != "/apis/authentication.k8s.io/v1/selfsubjectreviews":
					t.Errorf("%s %s was asked for", req.Method, req.URL.Path)
				case tt.user == nil:
					asked++
					writeForbidden(w)
				default:
					asked++
					w.Header().Set("Content-Type", "application/json")
					_ = json.NewEncoder(w).Encode(authenticationv1.SelfSubjectReview{Status: authenticationv1.SelfSubjectReviewStatus{UserInfo: *tt.user}})
				}
			}))
			defer server.Close()
			c, err := New(&rest.Config{Host: server.URL, BearerToken: tt.token}, InNamespace("etl"))
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				object := metav1.ObjectMeta{}
				if err := c.annotateCreatedBy(t.Context(), &object); err != nil {
					t.Fatal(err)
				}
				if got := object.Annotations[konductorv1.CreatedByAnnotation]; got != tt.want {
					t.Errorf("it says that it was made by %q, want %q", got, tt.want)
				}
			}
			if (asked > 0) != tt.asked || tt.user != nil && asked > 1 {
				t.Errorf("the API server was asked %d times", asked)
			}
		})
	}
}

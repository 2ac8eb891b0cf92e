package apiclient

import (
	"net/http"
	"testing"
)

func TestRejectForeignDeletions(t *testing.T) {
	for name, c := range map[string]struct {
		method, contentType string
		code                int
		rejected            bool
	}{
		"the API server's answer":    {http.MethodDelete, "application/json", 200, false},
		"an accepted deletion":       {http.MethodDelete, "application/vnd.kubernetes.protobuf", 202, false},
		"a login page":               {http.MethodDelete, "text/html; charset=utf-8", 200, true},
		"an answer without a type":   {http.MethodDelete, "", 200, true},
		"an error page":              {http.MethodDelete, "text/html", 503, false},
		"another request, for a log": {http.MethodGet, "text/plain", 200, false},
	} {
		t.Run(name, func(t *testing.T) {
			answer := RoundTripperFunc(func(*http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: c.code, Header: http.Header{"Content-Type": {c.contentType}}, Body: http.NoBody}, nil
			})
			req, err := http.NewRequestWithContext(t.Context(), c.method, "http://localhost/apis/konductor.io/v1/claims/c", http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			if _, err = RejectForeignDeletions(answer).RoundTrip(req); (err != nil) != c.rejected {
				t.Errorf("it ends with %v", err)
			}
		})
	}
}

package apiclient

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// RejectForeignDeletions makes a deletion fail that was answered with success, but not by an API server: by the login page of
// a proxy, for example. client-go takes any such answer for success, because it decodes none. A hold would then go on that its
// client believes to have released. The answers to all other requests are decoded, and such a page can't be.
func RejectForeignDeletions(next http.RoundTripper) http.RoundTripper {
	return RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
		resp, err := next.RoundTrip(req)
		if err != nil || req.Method != http.MethodDelete || resp.StatusCode < http.StatusOK || resp.StatusCode >= http.StatusMultipleChoices {
			return resp, err
		}
		if contentType := resp.Header.Get("Content-Type"); !strings.HasPrefix(contentType, "application/") {
			return nil, errors.Join(fmt.Errorf("the response is not from an API server: its Content-Type is %q", contentType), resp.Body.Close())
		}
		return resp, nil
	})
}

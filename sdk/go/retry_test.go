package konductor

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/rest"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/apiclient"
)

// errorFromResponse returns what client-go makes of a response with that code and body.
func errorFromResponse(t *testing.T, code int, kind, body string) error {
	t.Helper()
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}))
	defer endpoint.Close()
	c, err := New(&rest.Config{Host: endpoint.URL}, InNamespace("etl"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.clients.claims.Get(t.Context(), "c", metav1.GetOptions{})
	return err
}

func TestForeignDeletionIsTransient(t *testing.T) {
	page := apiclient.RoundTripperFunc(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"text/html"}}, Body: http.NoBody}, nil
	})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, "http://localhost/apis/konductor.io/v1/claims/c", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	_, err = apiclient.RejectForeignDeletions(page).RoundTrip(req)
	if err == nil || classifyError(err) != classTransient || !mayHaveBeenApplied(err) {
		t.Errorf("%v counts as an answer of the API server", err)
	}
}

func TestClassifyError(t *testing.T) {
	claims := schema.GroupResource{Group: konductorv1.GroupName, Resource: "claims"}
	dial := func(err error) error {
		return &url.Error{Op: "Get", URL: "https://api", Err: &net.OpError{Op: "dial", Net: "tcp", Err: err}}
	}
	forbidden := func(message string) error {
		return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: 403, Reason: metav1.StatusReasonForbidden, Message: message}}
	}
	terminating := apierrors.NewForbidden(claims, "c", errors.New("unable to create new content in namespace etl because it is being terminated"))
	terminating.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}
	for what, test := range map[string]struct {
		err  error
		want errorClass
		done bool // mayHaveBeenApplied
	}{
		"nobody listens":                          {dial(syscall.ECONNREFUSED), classTransient, false},
		"no route":                                {dial(syscall.EHOSTUNREACH), classTransient, false},
		"a name that doesn't resolve":             {dial(&net.DNSError{Err: "no such host", Name: "api", IsNotFound: true}), classTransient, false},
		"a certificate of an unknown authority":   {&url.Error{Err: x509.UnknownAuthorityError{}}, classTransient, true},
		"a CONNECT proxy that is busy":            {&url.Error{Err: errors.New("Service Unavailable")}, classTransient, true},
		"cut in the middle":                       {io.ErrUnexpectedEOF, classTransient, true},
		"a stream that was reset":                 {fmt.Errorf("stream error when reading response body: %w", errors.New("INTERNAL_ERROR")), classTransient, true},
		"no answer in time":                       {&url.Error{Err: context.DeadlineExceeded}, classTransient, true},
		"too many requests":                       {apierrors.NewTooManyRequests("later", 1), classTransient, false},
		"starting":                                {apierrors.NewServiceUnavailable("starting"), classTransient, true},
		"trouble inside":                          {apierrors.NewInternalError(errors.New("etcd")), classTransient, true},
		"a revision that is yet to come":          {apierrors.NewTimeoutError("Too large resource version", 1), classTransient, true},
		"a webhook that doesn't answer":           {apierrors.NewInternalError(errors.New("failed calling webhook")), classTransient, true},
		"a proxy's page: 404":                     {errorFromResponse(t, 404, "text/html", "<html>default backend</html>"), classTransient, true},
		"a proxy's page: 403":                     {errorFromResponse(t, 403, "text/html", "<html>blocked</html>"), classTransient, true},
		"a login page":                            {errorFromResponse(t, 200, "text/html", "<html>who are you?</html>"), classTransient, true},
		"plain HTTP to a TLS port":                {errorFromResponse(t, 400, "text/plain", "Client sent an HTTP request to an HTTPS server."), classTransient, true},
		"a quota that is written at once":         {apierrors.NewConflict(schema.GroupResource{Resource: "resourcequotas"}, "q", errors.New("the object has been modified")), classTransient, false},
		"a quota that has not been counted":       {forbidden("claims \"c\" is forbidden: status unknown for quota: q"), classTransient, false},
		"admission that is starting":              {forbidden("claims \"c\" is forbidden: not yet ready to handle request"), classTransient, false},
		"a full quota":                            {forbidden("claims \"c\" is forbidden: exceeded quota: q, requested: count/claims=1"), classQuotaExceeded, false},
		"a missing right":                         {forbidden(`claims is forbidden: User "jane" cannot create resource "claims"`), classForbidden, false},
		"unknown credentials":                     {apierrors.NewUnauthorized("who are you?"), classForbidden, false},
		"a type that isn't served":                {errorFromResponse(t, 404, "text/plain", "404 page not found\n"), classForbidden, true},
		"a policy that can't be evaluated":        {forbidden("ValidatingAdmissionPolicy 'p' with binding 'b' denied request: expression 'params.x' resulted in error: no such key"), classForbidden, false},
		"a policy":                                {forbidden("ValidatingAdmissionPolicy 'p' with binding 'b' denied request: not yours"), classPermanent, false},
		"a webhook that says no":                  {forbidden(`admission webhook "x" denied the request: no`), classPermanent, false},
		"a namespace that is being deleted":       {terminating, classPermanent, false},
		"a missing object":                        {apierrors.NewNotFound(claims, "c"), classPermanent, false},
		"a name that is taken":                    {apierrors.NewAlreadyExists(claims, "c"), classPermanent, false},
		"another object of that name":             {apierrors.NewConflict(claims, "c", errors.New("Precondition failed: UID in precondition: 1, UID in object meta: 2")), classPermanent, false},
		"another object, says another part of it": {apierrors.NewConflict(claims, "c", errors.New("the UID in the precondition (1) does not match the UID in record (2). The object might have been deleted and then recreated")), classPermanent, false},
		"somebody who writes at the same moment":  {apierrors.NewConflict(claims, "c", errors.New("the object has been modified")), classTransient, false},
		"a missing object, for users":             {&NotFoundError{Kind: "Claim", Name: "c"}, classPermanent, false},
		"a missing right, for users":              {fmt.Errorf("arriving: %w", &ForbiddenError{Verb: "get", Resource: "pods"}), classPermanent, false},
		"other terms":                             {&TermsError{Object: "lease/db"}, classPermanent, false},
		"another number of permits":               {&ConflictError{Object: "semaphore/api"}, classPermanent, false},
		"a bad object":                            {apierrors.NewBadRequest("no"), classPermanent, false},
		"an object that the schema doesn't allow": {apierrors.NewInvalid(schema.GroupKind{Kind: "Claim"}, "c", field.ErrorList{}), classPermanent, false},
	} {
		if got := classifyError(test.err); got != test.want {
			t.Errorf("%s: %v is %d, want %d", what, test.err, got, test.want)
		}
		if got := mayHaveBeenApplied(test.err); got != test.done {
			t.Errorf("%s: %v: a write may have been carried out: %t", what, test.err, got)
		}
	}
}

func TestOutageNotifier(t *testing.T) {
	var told []string
	say := func(sentence string) { told = append(told, sentence) }
	var o outageNotifier
	now := metav1.Now().Time
	for range 3 {
		o.addCall(now, say, "away")
	}
	o.removeCall(say, true)
	o.removeCall(say, true)
	o.removeCall(say, true)
	o.addCall(now, say, "away again")
	o.removeCall(say, false) // the call ended without success: the outage may go on
	want := []string{"away", "the API server answers again, after 0s", "away again"}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}

func TestCauseText(t *testing.T) {
	err := &url.Error{Op: "Get", URL: "https://10.0.0.1/apis/konductor.io/v1/namespaces/etl/claims?watch=true", Err: errors.New("connection refused")}
	if got := causeText(fmt.Errorf("watching: %w", err)); got != "connection refused" {
		t.Errorf("told: %s", got)
	}
}

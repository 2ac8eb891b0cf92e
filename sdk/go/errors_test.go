package konductor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestErrorsSayWhatHappenedAndWhatToDo(t *testing.T) {
	for want, err := range map[string]error{
		"lease/db not found in namespace etl":                           &NotFoundError{Kind: "Lease", Name: "db", Namespace: "etl"},
		"lease/db in namespace etl was deleted while it was waited for": &NotFoundError{Kind: "Lease", Name: "db", Namespace: "etl", Deleted: true},
		"nobody holds it":                          &NotFoundError{Kind: "Lease", Name: "db", Message: "nobody holds it"},
		"timed out after 5s waiting for gate/deps": &TimeoutError{Object: "gate/deps", Timeout: 5 * time.Second},
		"timed out after 5s waiting for gate/deps: 1 of 2 conditions are met": &TimeoutError{Object: "gate/deps", Timeout: 5 * time.Second, Status: "1 of 2 conditions are met"},
		"gate/deps is not there yet: 1 of 2 conditions are met":               &TimeoutError{Object: "gate/deps", Status: "1 of 2 conditions are met"},
		"semaphore/api is busy":                                &BusyError{Object: "semaphore/api"},
		"barrier/b failed: no quorum":                          &FailedError{Object: "barrier/b", Phase: "Failed", Message: "no quorum"},
		"barrier/b timed out: 1 of 2":                          &FailedError{Object: "barrier/b", Phase: "Timeout", Message: "1 of 2"},
		"the hold on lease/db was lost: its claim was deleted": &LostError{Object: "lease/db", Reason: "its claim was deleted"},
		"semaphore/api refused the claim: too many":            &RefusedError{Object: "semaphore/api", Reason: "too many"},
		"a has taken part in lease/db already on other terms (ttl: 1s before, 2s now): release that first, or use another holder":   &TermsError{Object: "lease/db", Holder: "a", Difference: "ttl: 1s before, 2s now"},
		"the API server doesn't accept these credentials (get pods in namespace etl): log in again, or check the kubeconfig's user": &ForbiddenError{Verb: "get", Resource: "pods", Namespace: "etl", Unauthorized: true},
		"this cluster doesn't know konductor's resources (group konductor.io): install konductor with its Helm chart first":         &UninstalledError{},
	} {
		if diff := cmp.Diff(want, err.Error()); diff != "" {
			t.Errorf("%T (-want +got):\n%s", err, diff)
		}
	}
}

func TestAForbiddenErrorNamesTheCommandForWhoeverItIs(t *testing.T) {
	for user, want := range map[string]string{
		"":                                 "--user=USER",
		"jane":                             "--user=jane",
		"system:serviceaccount:etl:worker": "--serviceaccount=etl:worker",
	} {
		err := &ForbiddenError{Verb: "create", Resource: "claims.konductor.io", Namespace: "etl", User: user}
		if !strings.Contains(err.Error(), err.Grant()) {
			t.Errorf("%q does not contain %q", err, err.Grant())
		}
		words := strings.Fields(err.Grant())
		if !cmp.Equal(words[:3], []string{"kubectl", "create", "rolebinding"}) || words[5] != want || words[6] != "--namespace=etl" {
			t.Errorf("for %q it is %q", user, err.Grant())
		}
	}
}

func TestAnswersOfTheAPIServerGetTheirType(t *testing.T) {
	c := &Client{namespace: "etl"}
	leases := schema.GroupResource{Group: "konductor.io", Resource: "leases"}
	lacking := apierrors.NewForbidden(leases, "db", errors.New(`User "jane" cannot get resource`))
	policy := apierrors.NewForbidden(leases, "db", errors.New(`ValidatingAdmissionPolicy 'konductor' with binding 'konductor' denied request: not your pod`))
	noType := &apierrors.StatusError{ErrStatus: metav1.Status{Code: 404, Reason: metav1.StatusReasonNotFound, Details: &metav1.StatusDetails{}}}

	explain := func(err error) error { return c.explain(err, "get", "leases.konductor.io", "db") }
	var forbidden *ForbiddenError
	if err := explain(lacking); !errors.As(err, &forbidden) || forbidden.User != "jane" || forbidden.Verb != "get" || forbidden.Reason != "" {
		t.Errorf("a missing right is %#v", err)
	}
	if err := explain(policy); !errors.As(err, &forbidden) || forbidden.Reason != "not your pod" {
		t.Errorf("a policy's refusal is %#v", err)
	}
	if !errors.Is(explain(lacking), lacking) {
		t.Error("the API server's own error is lost")
	}
	var missing *NotFoundError
	if err := explain(apierrors.NewNotFound(leases, "db")); !errors.As(err, &missing) || missing.Kind != "Lease" || missing.Name != "db" || missing.Namespace != "etl" {
		t.Errorf("a missing object is %#v", err)
	}
	var uninstalled *UninstalledError
	if err := explain(noType); !errors.As(err, &uninstalled) {
		t.Errorf("a missing type is %#v", err)
	}
	other := errors.New("other")
	if explain(nil) != nil || !errors.Is(explain(other), other) {
		t.Error("what has no type of its own must be passed on")
	}
}

func TestOnlyPassingTroubleIsWaitedOut(t *testing.T) {
	dial := func(err error) error {
		return &url.Error{Op: "Get", URL: "https://api", Err: fmt.Errorf("dial tcp: connect: %w", err)}
	}
	for what, test := range map[string]struct {
		err  error
		want bool
	}{
		"nobody listens":          {dial(syscall.ECONNREFUSED), true},
		"no route":                {dial(syscall.EHOSTUNREACH), true},
		"cut in the middle":       {io.ErrUnexpectedEOF, true},
		"too many requests":       {apierrors.NewTooManyRequests("later", 1), true},
		"starting":                {apierrors.NewServiceUnavailable("starting"), true},
		"trouble inside":          {apierrors.NewInternalError(errors.New("etcd")), true},
		"a missing object":        {apierrors.NewNotFound(schema.GroupResource{}, "x"), false},
		"a bad object":            {apierrors.NewBadRequest("no"), false},
		"the caller has gone":     {context.Canceled, false},
		"the caller's time is up": {context.DeadlineExceeded, false},
		"anything else":           {errors.New("x509: certificate signed by unknown authority"), false},
	} {
		if got := passing(test.err); got != test.want {
			t.Errorf("%s: passing = %t", what, got)
		}
	}
}

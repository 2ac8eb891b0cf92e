package konductor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

func TestErrorMessages(t *testing.T) {
	for want, err := range map[string]error{
		"lease/db not found in namespace etl":                        &NotFoundError{Kind: "Lease", Name: "db", Namespace: "etl"},
		"lease/db in namespace etl was deleted while waiting for it": &NotFoundError{Kind: "Lease", Name: "db", Namespace: "etl", Deleted: true},
		"nobody holds it":                          &NotFoundError{Kind: "Lease", Name: "db", Message: "nobody holds it"},
		"timed out after 5s waiting for gate/deps": &TimeoutError{Object: "gate/deps", Timeout: 5 * time.Second},
		"timed out after 5s waiting for gate/deps: 1 of 2 conditions are met": &TimeoutError{Object: "gate/deps", Timeout: 5 * time.Second, Status: "1 of 2 conditions are met"},
		"gate/deps is not open: 1 of 2 conditions are met":                    &TimeoutError{Object: "gate/deps", Status: "1 of 2 conditions are met"},
		"semaphore/api is busy":                                &BusyError{Object: "semaphore/api"},
		"barrier/b failed: no quorum":                          &FailedError{Object: "barrier/b", Phase: "Failed", Message: "no quorum"},
		"barrier/b timed out after 1h0m0s with 1 of 2 arrived": &FailedError{Object: "barrier/b", Phase: "Timeout", Message: "timed out after 1h0m0s with 1 of 2 arrived"},
		"gate/g timed out: 1 of 2 conditions are met":          &FailedError{Object: "gate/g", Phase: "Timeout", Message: "1 of 2 conditions are met"},
		"the hold on lease/db was lost: its claim was deleted": &LostError{Object: "lease/db", Reason: "its claim was deleted"},
		"semaphore/api refused the claim: too many":            &RefusedError{Object: "semaphore/api", Reason: "too many"},
		"a already has a claim on lease/db with different terms (ttl: 1s before, 2s now): release it first, or use another holder":                                                       &TermsError{Object: "lease/db", Holder: "a", Difference: "ttl: 1s before, 2s now"},
		"the API server doesn't accept these credentials (get pods in namespace etl): log in again, or check the kubeconfig's user":                                                      &ForbiddenError{Verb: "get", Resource: "pods", Namespace: "etl", Unauthorized: true},
		"this cluster doesn't have konductor's resource types (group konductor.io): install konductor first, for example with 'kubectl konductor install'":                               &UninstalledError{},
		"the cluster of context prod doesn't have konductor's resource types (group konductor.io): install konductor first, for example with 'kubectl konductor install --context=prod'": &UninstalledError{Context: "prod"},
	} {
		if diff := cmp.Diff(want, err.Error()); diff != "" {
			t.Errorf("%T (-want +got):\n%s", err, diff)
		}
	}
}

// TestErrorsAreStandardErrors lists what each type of error is to programs that know only Go's and Kubernetes' own errors.
func TestErrorsAreStandardErrors(t *testing.T) {
	standard := map[string]func(error) bool{
		"not found": apierrors.IsNotFound, "forbidden": apierrors.IsForbidden, "unauthorized": apierrors.IsUnauthorized,
		"conflict": apierrors.IsConflict, "already exists": apierrors.IsAlreadyExists, "invalid": apierrors.IsInvalid,
		"timed out at the server": apierrors.IsTimeout, "overloaded": apierrors.IsTooManyRequests, "internal": apierrors.IsInternalError,
		"deadline exceeded": func(err error) bool { return errors.Is(err, context.DeadlineExceeded) },
		"canceled":          func(err error) bool { return errors.Is(err, context.Canceled) },
	}
	leases := schema.GroupResource{Group: "konductor.io", Resource: "leases"}
	answered := func(err error) error { return explain(err, "create", "leases.konductor.io", "etl", "db") }
	for what, test := range map[string]struct {
		err  error
		want []string
	}{
		"a missing object":                {&NotFoundError{Kind: "Lease", Name: "db", Namespace: "etl"}, []string{"not found"}},
		"a missing object, as answered":   {answered(apierrors.NewNotFound(leases, "db")), []string{"not found"}},
		"a deleted object":                {&NotFoundError{Kind: "Barrier", Name: "b", Namespace: "etl", Deleted: true}, []string{"not found"}},
		"no hold to break":                {&NotFoundError{Kind: "Lease", Name: "db", Message: "nobody holds it"}, []string{"not found"}},
		"a missing namespace":             {&NotFoundError{Kind: "Namespace", Name: "etl", Message: "namespace etl not found"}, []string{"not found"}},
		"not in time":                     {&TimeoutError{Object: "gate/g", Timeout: time.Second}, []string{"deadline exceeded"}},
		"not at once":                     {&TimeoutError{Object: "gate/g"}, []string{"deadline exceeded"}},
		"no answer":                       {&UnansweredError{Object: "lease/db", Message: "no operator"}, []string{"deadline exceeded"}},
		"a missing right":                 {&ForbiddenError{Verb: "get", Resource: "leases.konductor.io"}, []string{"forbidden"}},
		"a missing right, as answered":    {answered(apierrors.NewForbidden(leases, "db", errors.New(`User "jane" cannot get it`))), []string{"forbidden"}},
		"unknown credentials":             {&ForbiddenError{Verb: "get", Resource: "pods", Unauthorized: true}, []string{"unauthorized"}},
		"unknown credentials, answered":   {answered(apierrors.NewUnauthorized("who are you?")), []string{"unauthorized"}},
		"other terms":                     {&TermsError{Object: "lease/db", Holder: "a", Difference: "ttl"}, []string{"conflict"}},
		"another number of permits":       {&ConflictError{Object: "semaphore/api", Message: "it has 3 permits"}, []string{"conflict"}},
		"a name that is taken":            {answered(apierrors.NewAlreadyExists(leases, "db")), []string{"already exists"}},
		"an object that isn't allowed":    {answered(apierrors.NewInvalid(schema.GroupKind{Kind: "Lease"}, "db", nil)), []string{"invalid"}},
		"an API server that has too much": {answered(apierrors.NewTooManyRequests("later", 1)), []string{"overloaded"}},
		"busy":                            {&BusyError{Object: "lease/db"}, nil},
		"failed":                          {&FailedError{Object: "barrier/b", Phase: "Failed"}, nil},
		"lost":                            {&LostError{Object: "lease/db"}, nil},
		"a claim that is refused":         {&RefusedError{Object: "lease/db"}, nil},
		"a short ttl":                     {&TTLError{Object: "lease/db"}, nil},
		"not installed":                   {&UninstalledError{}, nil},
	} {
		wrapped := fmt.Errorf("doing it: %w", test.err)
		for check, is := range standard {
			if got, want := is(wrapped), slices.Contains(test.want, check); got != want {
				t.Errorf("%s: it is %s: %t, want %t", what, check, got, want)
			}
		}
	}
}

func TestNotFoundErrorNamesResource(t *testing.T) {
	for want, err := range map[string]*NotFoundError{
		`leases.konductor.io "db" not found`: {Kind: "Lease", Name: "db"},
		`claims.konductor.io "c" not found`:  {Kind: "Claim", Name: "c"},
		`pods "p" not found`:                 {Kind: "pod", Name: "p"},
		`namespaces "etl" not found`:         {Kind: "Namespace", Name: "etl"},
	} {
		if diff := cmp.Diff(want, err.Unwrap().Error()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	if err := error(&NotFoundError{Kind: "Namespace", Name: "etl"}); !isNamespaceNotFound(err) || isNotServedError(err) {
		t.Error("a missing namespace must look like one")
	}
}

// TestExplainTwice: a call explains the errors of the calls that it makes.
func TestExplainTwice(t *testing.T) {
	for _, err := range []error{
		&NotFoundError{Kind: "Lease", Name: "db", Deleted: true, Message: "it was deleted"}, &ForbiddenError{Verb: "get", Resource: "leases.konductor.io"},
		&UninstalledError{Context: "prod"}, &TermsError{Object: "lease/db"}, &ConflictError{Object: "semaphore/api"},
		&TimeoutError{Object: "lease/db"}, &UnansweredError{Object: "lease/db"}, &LostError{Object: "lease/db"}, context.Canceled,
	} {
		if got := explain(err, "delete", "claims.konductor.io", "etl", "c"); got != err { //nolint:errorlint // the very same
			t.Errorf("%T %v is explained as %T %v", err, err, got, got)
		}
	}
}

func TestForbiddenErrorGrant(t *testing.T) {
	claims, worker := "claims.konductor.io", "system:serviceaccount:etl:worker"
	for what, c := range map[string]struct {
		err  ForbiddenError
		want string
	}{
		"a workload gets the participant's role": {
			ForbiddenError{Verb: "create", Resource: claims, Namespace: "etl", User: worker},
			"kubectl create rolebinding konductor-participant-worker --clusterrole=konductor-participant --serviceaccount=etl:worker --namespace=etl",
		},
		"a workload that wants more than a participant gets just that": {
			ForbiddenError{Verb: "delete", Resource: "leases.konductor.io", Namespace: "etl", User: worker},
			"kubectl create role konductor-delete-leases-worker --verb=delete --resource=leases.konductor.io --namespace=etl && " +
				"kubectl create rolebinding konductor-delete-leases-worker --role=konductor-delete-leases-worker --serviceaccount=etl:worker --namespace=etl",
		},
		"a person gets just what is missing": {
			ForbiddenError{Verb: "get,list,watch", Resource: claims, Namespace: "etl", User: "jane@example.com"},
			"kubectl create role konductor-get-list-watch-claims-jane-example.com --verb=get,list,watch --resource=claims.konductor.io --namespace=etl && " +
				"kubectl create rolebinding konductor-get-list-watch-claims-jane-example.com --role=konductor-get-list-watch-claims-jane-example.com --user=jane@example.com --namespace=etl",
		},
		"nobody in particular": {
			ForbiddenError{Verb: "list", Resource: "pods", Namespace: "etl"},
			"kubectl create role konductor-list-pods-user --verb=list --resource=pods --namespace=etl && " +
				"kubectl create rolebinding konductor-list-pods-user --role=konductor-list-pods-user --user=USER --namespace=etl",
		},
		"in all namespaces, with a name that a shell would take apart": {
			ForbiddenError{Verb: "list", Resource: "gates.konductor.io", User: "o'brian jr"},
			"kubectl create clusterrole konductor-list-gates-o-brian-jr --verb=list --resource=gates.konductor.io && " +
				`kubectl create clusterrolebinding konductor-list-gates-o-brian-jr --clusterrole=konductor-list-gates-o-brian-jr --user='o'\''brian jr'`,
		},
	} {
		t.Run(what, func(t *testing.T) {
			if diff := cmp.Diff(c.want, c.err.Grant()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if !strings.HasSuffix(c.err.Error(), "; to allow it: "+c.want) {
				t.Errorf("the error is %q", c.err.Error())
			}
		})
	}
}

// TestParticipantRoleAllows compares participantRoleAllows with the role in the chart.
func TestParticipantRoleAllows(t *testing.T) {
	file, err := os.ReadFile("../../charts/konductor/files/rbac/participant.yaml")
	if err != nil {
		t.Fatal(err)
	}
	role := rbacv1.ClusterRole{}
	if err := yaml.UnmarshalStrict(file, &role); err != nil || len(role.Rules) == 0 {
		t.Fatalf("reading the role: %v, %v", err, role.Rules)
	}
	allowed := map[string]bool{}
	for _, rule := range role.Rules {
		for _, resource := range rule.Resources {
			for _, verb := range rule.Verbs {
				allowed[verb+" "+schema.GroupResource{Group: rule.APIGroups[0], Resource: resource}.String()] = true
			}
		}
	}
	for _, resource := range []string{
		"barriers.konductor.io", "gates.konductor.io", "leases.konductor.io", "semaphores.konductor.io",
		"arrivals.konductor.io", "claims.konductor.io", "pods", "jobs.batch",
	} {
		for _, verb := range []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"} {
			if got, want := participantRoleAllows(verb, resource), allowed[verb+" "+resource]; got != want {
				t.Errorf("a participant may %s %s: %t, want %t", verb, resource, got, want)
			}
		}
	}
	if participantRoleAllows("get,delete", "leases.konductor.io") {
		t.Error("a participant may not delete leases")
	}
}

func TestExplain(t *testing.T) {
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
	for what, refusal := range map[string]struct {
		err  error
		says string
	}{
		"a quota's refusal": {
			apierrors.NewForbidden(leases, "db", errors.New("exceeded quota: team, requested: count/leases.konductor.io=1")),
			"exceeded quota: team, requested: count/leases.konductor.io=1",
		},
		"that of another's policy": {
			apierrors.NewForbidden(leases, "db", errors.New("ValidatingAdmissionPolicy 'labels' with binding 'labels' denied request: no team")),
			"ValidatingAdmissionPolicy 'labels' with binding 'labels' denied request: no team",
		},
		"that of a webhook": {
			&apierrors.StatusError{ErrStatus: metav1.Status{Code: 403, Reason: metav1.StatusReasonForbidden, Message: `admission webhook "gate.example.com" denied the request: no team`}},
			`admission webhook "gate.example.com" denied the request: no team`,
		},
	} {
		forbidden = nil
		if err := explain(refusal.err); !errors.As(err, &forbidden) || forbidden.Reason != refusal.says || strings.Contains(err.Error(), "to allow it") {
			t.Errorf("%s is %v", what, err)
		}
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

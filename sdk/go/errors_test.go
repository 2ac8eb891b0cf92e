package konductor

import (
	"errors"
	"os"
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
		"lease/db not found in namespace etl":                           &NotFoundError{Kind: "Lease", Name: "db", Namespace: "etl"},
		"lease/db in namespace etl was deleted while it was waited for": &NotFoundError{Kind: "Lease", Name: "db", Namespace: "etl", Deleted: true},
		"nobody holds it":                          &NotFoundError{Kind: "Lease", Name: "db", Message: "nobody holds it"},
		"timed out after 5s waiting for gate/deps": &TimeoutError{Object: "gate/deps", Timeout: 5 * time.Second},
		"timed out after 5s waiting for gate/deps: 1 of 2 conditions are met": &TimeoutError{Object: "gate/deps", Timeout: 5 * time.Second, Status: "1 of 2 conditions are met"},
		"gate/deps is not open: 1 of 2 conditions are met":                    &TimeoutError{Object: "gate/deps", Status: "1 of 2 conditions are met"},
		"semaphore/api is busy":                                &BusyError{Object: "semaphore/api"},
		"barrier/b failed: no quorum":                          &FailedError{Object: "barrier/b", Phase: "Failed", Message: "no quorum"},
		"barrier/b timed out: 1 of 2":                          &FailedError{Object: "barrier/b", Phase: "Timeout", Message: "1 of 2"},
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

package doctor

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/LogicIQ/konductor/internal/rbac"
)

// testTime is the current time in these tests.
func testTime() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

// newHealthyFacts returns facts without problems, except for what change does to them.
func newHealthyFacts(change func(*Facts)) *Facts {
	f := &Facts{
		Now: testTime(), Namespace: "etl", Program: "kubectl konductor", ClientVersion: "v1.2.0", Platform: "linux/amd64", ServerVersion: "v1.36.3",
		ServedFields: expectedFields(),
		Operators:    []OperatorFacts{{Namespace: "konductor-system", Name: "konductor-operator", Desired: 2, Ready: 2, Version: "1.2.0"}},
		Leader:       &LeaderFacts{Namespace: "konductor-system", Holder: "pod-1", RenewedAt: testTime().Add(-time.Second), LeaseDuration: 15 * time.Second},
		ObjectCount:  3,
		Admission:    AdmissionFacts{Probed: true, Denied: true},
		Creators:     CreatorFacts{Probed: true, Recorded: true, Supported: true},
		Subjects: []SubjectFacts{{
			User: "jane", Subject: Subject{Self: true, Namespace: "etl", RBACSubject: rbac.UserSubject("jane")}, AdditionalRights: []string{"create leases"},
		}},
	}
	change(f)
	return f
}

func TestDiagnose(t *testing.T) {
	forbidden := apierrors.NewForbidden(appsv1.Resource("deployments"), "", errors.New("no right"))
	without := func(f *Facts, kind, field string) {
		f.ServedFields[kind] = maps.Clone(f.ServedFields[kind])
		for path := range f.ServedFields[kind] {
			if path == field || strings.HasPrefix(path, field+".") {
				delete(f.ServedFields[kind], path)
			}
		}
	}
	tests := map[string]struct {
		change func(*Facts)
		want   string // the check that is not OK, as "NAME STATUS message -> fix"
	}{
		"an old Kubernetes": {func(f *Facts) { f.ServerVersion = "v1.31.9" },
			"Server Failed Kubernetes v1.31.9 -> upgrade the cluster to Kubernetes v1.32 or later"},
		"types that are not installed": {func(f *Facts) { f.ServedFields = nil },
			"ResourceTypes Failed konductor's resource types are not installed -> kubectl konductor install"},
		"one type that is missing": {func(f *Facts) { delete(f.ServedFields, "Gate") },
			"ResourceTypes Failed resource types are missing: Gate -> kubectl konductor upgrade"},
		"types that lack a field": {func(f *Facts) { without(f, "Claim", "spec.whenBusy") },
			"ResourceTypes Failed the resource types are older than this program: Claim.spec.whenBusy missing -> kubectl konductor upgrade"},
		"a structure that is missing is named once": {func(f *Facts) { without(f, "Claim", "spec.boundTo") },
			"ResourceTypes Failed the resource types are older than this program: Claim.spec.boundTo missing -> kubectl konductor upgrade"},
		"types with a field that isn't known here": {func(f *Facts) { f.ServedFields["Lease"]["spec.fair"] = true },
			"ResourceTypes Warning the resource types are newer than this program: it doesn't know Lease.spec.fair -> use the same version of this program as the operator"},
		"no operator": {func(f *Facts) { f.Operators = nil; f.Leader.RenewedAt = testTime().Add(-time.Hour) },
			"Operator Failed no operator is installed: nothing is granted and nothing opens -> kubectl konductor install"},
		"no types in a cluster with a name": {func(f *Facts) { f.ServedFields, f.Context = nil, "prod" },
			"ResourceTypes Failed konductor's resource types are not installed in the cluster of context prod -> kubectl konductor install --context=prod"},
		"no operator in a cluster with a name": {func(f *Facts) { f.Operators, f.Leader, f.Context = nil, nil, "prod" },
			"Operator Failed no operator is installed in the cluster of context prod: nothing is granted and nothing opens -> kubectl konductor install --context=prod"},
		"nobody leads a cluster with a name": {func(f *Facts) { f.Leader, f.Context = nil, "my prod" },
			"Leader Failed no operator has been elected leader yet -> kubectl logs --namespace=konductor-system --selector=app.kubernetes.io/name=konductor --tail=50 --context='my prod'"},
		"rights that are missing in a cluster with a name": {func(f *Facts) {
			f.Subjects[0].MissingRights, f.Context = []MissingRight{{"jane", "get", "pods", "etl"}}, "prod"
		}, "Rights Failed jane can't get pods in namespace etl -> kubectl konductor rbac --namespace=etl --for=user/jane --context=prod | kubectl apply -f - --context=prod"},
		"an operator without a Deployment": {func(f *Facts) { f.Operators = nil }, ""},
		"an operator that isn't ready": {func(f *Facts) { f.Operators[0].Ready = 0 },
			"Operator Failed konductor-system/konductor-operator: 0 of 2 ready, version 1.2.0 -> kubectl describe deployment konductor-operator --namespace=konductor-system"},
		"a replica that isn't ready": {func(f *Facts) { f.Operators[0].Ready = 1 },
			"Operator Warning konductor-system/konductor-operator: 1 of 2 ready, version 1.2.0 -> kubectl get pods --namespace=konductor-system"},
		"an operator of another version": {func(f *Facts) { f.Operators[0].Version = "1.1.0" },
			"Operator Warning konductor-system/konductor-operator: 2 of 2 ready, version 1.1.0 -> this program has version v1.2.0: use the same version of both"},
		"a chart that was not released": {func(f *Facts) { f.Operators[0].Version = "dev" }, ""},
		"an operator that may not be looked at": {func(f *Facts) { f.OperatorsErr = forbidden },
			"Operator Unknown you can't list deployments outside of konductor-system -> "},
		"nobody has ever led": {func(f *Facts) { f.Leader = nil },
			"Leader Failed no operator has been elected leader yet -> kubectl logs --namespace=konductor-system --selector=app.kubernetes.io/name=konductor --tail=50"},
		"a leader that has given up": {func(f *Facts) { f.Leader.Holder = "" },
			"Leader Failed there is no leader: the last one has stepped down, and no other has taken over -> kubectl logs --namespace=konductor-system --selector=app.kubernetes.io/name=konductor --tail=50"},
		"a leader that is gone": {func(f *Facts) { f.Leader.RenewedAt = testTime().Add(-5 * time.Minute) },
			"Leader Failed pod-1 was the leader, and last renewed its lease 5m ago -> kubectl logs --namespace=konductor-system --selector=app.kubernetes.io/name=konductor --tail=50"},
		"a leader that may not be looked at": {func(f *Facts) { f.LeaderErr = forbidden },
			"Leader Unknown you can't list leases.coordination.k8s.io, which the leader election uses -> "},
		"an object that is not looked at": {func(f *Facts) {
			f.Unreconciled = []UnreconciledObject{{"lease/new", testTime().Add(-time.Minute)}, {"barrier/old", testTime().Add(-time.Hour)}, {"gate/now", testTime()}}
		}, "Lag Failed the operator hasn't observed 2 of 3 objects in namespace etl, the oldest (barrier/old) for 60m -> check that the operator is running, and that it watches this namespace (watchNamespaces)"},
		"objects that may not be listed": {func(f *Facts) { f.ObjectsErr = forbidden },
			"Lag Unknown you can't list konductor's objects in namespace etl -> "},
		"objects that can't be listed": {func(f *Facts) { f.ObjectsErr = errors.New("out of order") },
			"Lag Failed can't list konductor's objects in namespace etl: out of order -> "},
		"rights that may not be asked for": {func(f *Facts) { f.Subjects[0].Err = forbidden },
			"Rights Unknown you can't check the permissions of jane (create localsubjectaccessreviews.authorization.k8s.io in namespace etl) -> "},
		"an object that is new": {func(f *Facts) { f.Unreconciled = []UnreconciledObject{{"lease/new", testTime().Add(-time.Second)}} }, ""},
		"no admission policy": {func(f *Facts) { f.Admission.Denied = false },
			"Admission Warning any workload can create claims and arrivals in another Pod's name: the admission policies are not installed, or not bound to this namespace -> set admissionPolicy: true in the chart's values"},
		"admission that can't be tried": {func(f *Facts) { f.Admission = AdmissionFacts{} },
			"Admission Unknown can't check whether claims in another Pod's name are rejected: you can't create claims -> "},
		"creators that nobody tells": {func(f *Facts) { f.Creators = CreatorFacts{} }, ""},
		"creators that the API server doesn't note, though it could": {func(f *Facts) { f.Creators.Recorded = false },
			"Creators Warning the API server could record who creates claims and arrivals that are not bound to a Pod, but doesn't: any participant can renew or release claims that were created outside of Pods by other clients than konductor's -> kubectl konductor upgrade, or helm upgrade"},
		"creators that the API server can't note": {func(f *Facts) { f.ServerVersion, f.Creators = "v1.32.9", CreatorFacts{Probed: true} },
			"Creators Warning Kubernetes v1.32.9 can't record who creates claims and arrivals that are not bound to a Pod: any participant can renew or release claims that were created outside of Pods by other clients than konductor's -> upgrade the cluster to Kubernetes 1.36 or later, and then konductor"},
		"rights that are missing": {func(f *Facts) {
			f.Subjects[0].MissingRights = []MissingRight{{"jane", "create", "claims.konductor.io", "etl"}, {"jane", "patch", "claims.konductor.io", "etl"}, {"jane", "get", "pods", "etl"}}
		}, "Rights Failed jane can't create,patch claims.konductor.io; get pods in namespace etl -> kubectl konductor rbac --namespace=etl --for=user/jane | kubectl apply -f -"},
		"rights of who creates a held Job": {func(f *Facts) {
			f.Filename, f.Subjects[0].Creates, f.Subjects[0].CreatorRights = "job.yaml", "job/load", rbac.JobCreatorRights{CreateClaims: true}
			f.Subjects[0].MissingRights = []MissingRight{{"jane", "create", "claims.konductor.io", "etl"}}
		}, "Rights Failed jane can't create claims.konductor.io in namespace etl, which creating job/load needs -> kubectl konductor rbac --namespace=etl --for=user/jane --filename=job.yaml | kubectl apply -f -"},
		"an account that doesn't exist": {func(f *Facts) {
			f.Subjects = []SubjectFacts{{User: "system:serviceaccount:etl:worker", Subject: Subject{Workload: "job/load", Namespace: "etl", RBACSubject: rbac.ServiceAccountSubject("etl", "worker")}, AccountMissing: true}}
		}, "Workload Failed job/load (system:serviceaccount:etl:worker): the ServiceAccount doesn't exist, so no Pod can use it -> kubectl create serviceaccount worker --namespace=etl"},
		"a workload without a token": {func(f *Facts) {
			f.Subjects = []SubjectFacts{{User: "system:serviceaccount:etl:worker", Subject: Subject{Workload: "job/load", Namespace: "etl", RBACSubject: rbac.ServiceAccountSubject("etl", "worker"), TokenDisabled: true}}}
		}, "Workload Failed job/load (system:serviceaccount:etl:worker) mounts no token, so its containers can't call the API server -> set automountServiceAccountToken: true in the Pod's spec"},
		"nothing": {func(*Facts) {}, ""},
	}
	for what, test := range tests {
		t.Run(what, func(t *testing.T) {
			r := Diagnose(newHealthyFacts(test.change))
			var odd []string
			failed := false
			for _, c := range r.Checks {
				failed = failed || c.Status == Failed
				if c.Status != OK {
					odd = append(odd, fmt.Sprintf("%s %s %s -> %s", c.Name, c.Status, c.Message, c.Fix))
				}
			}
			if diff := cmp.Diff(test.want, strings.Join(odd, "\n")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if r.Healthy == failed {
				t.Errorf("healthy: %v", r.Healthy)
			}
		})
	}
}

func TestReportOnlyRightsFailed(t *testing.T) {
	lacks := func(f *Facts) { f.Subjects[0].MissingRights = []MissingRight{{"jane", "get", "pods", "etl"}} }
	r := Diagnose(newHealthyFacts(lacks))
	if !r.OnlyRightsFailed() || len(r.ApplyObjects) != 2 || len(r.MissingRights) != 1 {
		t.Errorf("only rights: %v, %d to apply, %d missing", r.OnlyRightsFailed(), len(r.ApplyObjects), len(r.MissingRights))
	}
	if r = Diagnose(newHealthyFacts(func(f *Facts) { lacks(f); f.Leader = nil })); r.OnlyRightsFailed() {
		t.Error("nobody leads, and yet only rights are missing")
	}
	if r = Diagnose(newHealthyFacts(func(*Facts) {})); r.OnlyRightsFailed() || len(r.ApplyObjects) != 0 {
		t.Error("nothing is missing, and yet rights are")
	}
}

func TestParseServedFields(t *testing.T) {
	got, err := parseServedFields([]byte(`{"components":{"schemas":{
		"io.konductor.v1.Lease":{"properties":{"metadata":{},"spec":{"properties":{"ttl":{}}},"status":{"properties":{"conditions":{"items":{"properties":{"type":{}}}}}}},
			"x-kubernetes-group-version-kind":[{"group":"konductor.io","version":"v1","kind":"Lease"}]},
		"io.konductor.v1.LeaseList":{"x-kubernetes-group-version-kind":[{"group":"konductor.io","version":"v1","kind":"LeaseList"}]},
		"io.k8s.Other":{"x-kubernetes-group-version-kind":[{"group":"","version":"v1","kind":"Pod"}]}}}}`))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]map[string]bool{"Lease": {
		"spec": true, "spec.ttl": true, "status": true, "status.conditions": true, "status.conditions.type": true,
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

package chart

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/LogicIQ/konductor/e2e/install"
)

// TestTwoReleasesInOneCluster has two releases in a cluster, each with namespaces of its own, and moves a namespace from one to the
// other.
func TestTwoReleasesInOneCluster(t *testing.T) {
	cp := startControlPlane(t)
	const other = "batch"
	for _, name := range []string{install.Namespace, other, "etl", "reports"} {
		createRestrictedNamespace(t, cp, name)
	}
	const first = "system:serviceaccount:" + install.Namespace + ":" + install.Deployment
	const second = "system:serviceaccount:" + other + ":" + install.Deployment
	helm := func(namespace string, watched string, further ...string) {
		t.Helper()
		args := []string{"upgrade", "--install", "konductor", chartDir(t), "--kubeconfig", cp.Kubeconfig(), "--namespace", namespace, "--set", "watchNamespaces={" + watched + "}"}
		for _, v := range further {
			args = append(args, "--set", v)
		}
		runTool(t, nil, "helm", args...)
	}
	// The first release has the cluster-wide objects.
	shared := []string{"otherOperators={" + other + "/" + install.Deployment + "}", "flowControl.enabled=true", "metrics.serve=always"}
	own := []string{"crds.install=false", "participantRole=false", "aggregatedRoles=false", "admissionPolicy=false", "metrics.serve=always"}
	helm(install.Namespace, "etl,reports", shared...)
	helm(other, "etl", own...)

	w := &testEnv{T: t, controlPlane: cp, kube: kubernetes.NewForConfigOrDie(cp.Config())}
	for _, in := range []string{"etl", "reports"} {
		if _, err := newAdminClient(t, cp, in).CreateLease(t.Context(), "db"); err != nil {
			t.Fatal(err)
		}
	}
	// write updates the status of a namespace's lease as the operator does, but without a change.
	write := func(as *rest.Config, in string) error {
		lease, err := newAdminClient(t, cp, in).GetLease(t.Context(), "db")
		if err != nil {
			t.Fatal(err)
		}
		lease.Status.ObservedGeneration = lease.Generation
		return w.newRawClient(as).Put().Namespace(in).Resource("leases").Name("db").SubResource("status").Param("dryRun", "All").Body(lease).Do(t.Context()).Error()
	}
	// writers returns the accounts that may: a policy and a role must both allow it.
	writers := func(in string) (who []string) {
		for _, account := range []string{first, second, "system:serviceaccount:etl:default"} {
			err := write(w.impersonate(account, "system:serviceaccounts", "system:authenticated"), in)
			if err == nil {
				who = append(who, account)
			} else if !strings.Contains(err.Error(), "cannot") {
				t.Errorf("%s, in namespace %s: %v", account, in, err)
			}
		}
		return who
	}
	eventually(t, "the policy is in force", func() bool {
		err := write(cp.Config(), "etl")
		return err != nil && strings.Contains(err.Error(), "konductor-status")
	})
	become := func(when, in string, want ...string) {
		t.Helper()
		// The API server applies new rights a moment after they were written.
		eventually(t, fmt.Sprintf("%s: namespace %s is written by %q", when, in, want), func() bool { return slices.Equal(writers(in), want) })
	}
	become("both watch it", "etl", first, second)
	become("one watches it", "reports", first)

	helm(install.Namespace, "reports", shared...)
	become("given up by the first", "etl", second)
	helm(other, "etl,reports", own...)
	become("taken over by the second, too", "reports", first, second)
	helm(install.Namespace, "konductor-system", shared...)
	become("given up by the first", "reports", second)

	// Uninstalling the second changes nothing for the first.
	runTool(t, nil, "helm", "uninstall", "konductor", "--kubeconfig", cp.Kubeconfig(), "--namespace", other, "--wait")
	helm(install.Namespace, "etl", shared...)
	become("taken back", "etl", first)
	become("nobody's", "reports")
}

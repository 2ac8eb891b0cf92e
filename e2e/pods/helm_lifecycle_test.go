package pods

import (
	"context"
	"fmt"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/e2e/cluster/toolchain"
	"github.com/LogicIQ/konductor/e2e/install"
)

// TestHelmLifecycleUnderLoad installs, upgrades and uninstalls konductor while a Job holds a lease and another waits for it, in a
// namespace that admits only Pods of the Pod Security level "restricted".
func TestHelmLifecycleUnderLoad(t *testing.T) {
	s := newExclusiveTestEnv(t, "helm")
	s.toleratesGaps = true
	tools, err := toolchain.Open(t.Logf)
	s.must(err)
	helm, err := tools.Path(s.ctx, "helm")
	s.must(err)
	do := func(line string) {
		t.Helper()
		s.runCommand(helm + " " + line + " --namespace " + install.Namespace + " --wait --timeout 2m").expectExit(0)
	}
	repository, tag, _ := strings.Cut(install.Image, ":")
	image := " --set image.repository=" + repository + " --set image.tag=" + tag

	_, err = s.kube.CoreV1().Namespaces().Patch(s.ctx, install.Namespace, types.MergePatchType,
		[]byte(`{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"restricted","pod-security.kubernetes.io/enforce-version":"latest"}}}`), metav1.PatchOptions{})
	s.must(err)
	s.runCommand("kubectl run root --image=busybox:1.37 --dry-run=server --namespace " + install.Namespace).expectExit(1).expectStderr("violates PodSecurity")
	// The next test must find konductor installed as before.
	t.Cleanup(func() {
		if err := install.Chart(context.Background(), tools, sharedCluster.Kubeconfig()); err != nil {
			t.Error(err)
		}
	})
	do("uninstall konductor")
	s.runCommand("kubectl delete crd --selector app.kubernetes.io/name=konductor").expectExit(0)

	do("install konductor e2e/chart/testdata/konductor-first.tgz" + image)
	// Today's operator runs, and it updates the claims' status where one of that time patched it.
	s.runCommand("kubectl create clusterrole operator-of-today --verb=update --resource=claims.konductor.io/status").expectExit(0)
	s.runCommand("kubectl create clusterrolebinding operator-of-today --clusterrole=operator-of-today --serviceaccount=" + install.Namespace + ":" + install.Deployment).expectExit(0)

	leases, claims := recordRevisions[*konductorv1.Lease](s), recordRevisions[*konductorv1.Claim](s)
	s.createExample("examples/run/migrate.yaml", replaceInCommand("sleep 1", "sleep 86400"))
	s.waitContainersRunning(1, "migrate-", "migrate")
	first := leases.waitForObject("db-migration", "held", isHeld)
	next := s.startCommand("koncli lease acquire db-migration --holder next --timeout 5m")
	claims.waitUntil("another waits", func(now map[string]*konductorv1.Claim) bool { return len(now) == 2 })

	steps := 0
	stands := func(after string) {
		t.Helper()
		next.mustBeRunning()
		s.waitContainersRunning(1, "migrate-", "migrate")
		if now := leases.currentObjects()["db-migration"]; now.Status.ClaimUID != first.Status.ClaimUID || now.Status.FencingToken != first.Status.FencingToken {
			t.Fatalf("after %s the lease is held by %s with token %d, want %s with %d", after, now.Status.Holder, now.Status.FencingToken, first.Status.Holder, first.Status.FencingToken)
		}
	}
	acts := func(after string) {
		t.Helper()
		steps++
		name := fmt.Sprintf("after-%d", steps)
		s.runCommand("koncli barrier create " + name + " --expected 1").expectExit(0)
		s.runCommand("koncli barrier arrive " + name + " --holder x").expectExit(0)
		s.runCommand("koncli barrier wait " + name + " --timeout 1m").expectExit(0)
		stands(after)
	}
	acts("the first chart's installation")
	do("upgrade konductor charts/konductor" + image)
	acts("the upgrade")
	do("rollback konductor 1")
	acts("the rollback")
	do("upgrade konductor charts/konductor" + image)
	acts("the second upgrade")
	do("uninstall konductor")
	if left, err := s.kube.AppsV1().Deployments(install.Namespace).List(s.ctx, metav1.ListOptions{}); err != nil || len(left.Items) > 0 {
		t.Errorf("after the uninstallation there are %d Deployments: %v", len(left.Items), err)
	}
	stands("the uninstallation")
	s.runCommand("kubectl delete clusterrolebinding,clusterrole operator-of-today").expectExit(0)
	do("install konductor charts/konductor" + image)
	acts("the next installation")

	s.deleteObject(&batchv1.Job{ObjectMeta: s.objectMeta("migrate")})
	next.mustSucceed()
}

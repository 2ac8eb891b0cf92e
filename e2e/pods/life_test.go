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

// TestHelmInstallsUpgradesRollsBackAndUninstallsUnderWork takes konductor through its life while a Job holds a lease and
// somebody waits for it, in a namespace that lets in only Pods of the Pod Security level "restricted".
func TestHelmInstallsUpgradesRollsBackAndUninstallsUnderWork(t *testing.T) {
	s := newSceneAlone(t, "helm")
	s.forgets = true
	tools, err := toolchain.Open(t.Logf)
	s.ok(err)
	helm, err := tools.Path(s.ctx, "helm")
	s.ok(err)
	do := func(line string) {
		t.Helper()
		s.run(helm + " " + line + " --namespace " + install.Namespace + " --wait --timeout 2m").exits(0)
	}
	repository, tag, _ := strings.Cut(install.Image, ":")
	image := " --set image.repository=" + repository + " --set image.tag=" + tag

	_, err = s.kube.CoreV1().Namespaces().Patch(s.ctx, install.Namespace, types.MergePatchType,
		[]byte(`{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"restricted","pod-security.kubernetes.io/enforce-version":"latest"}}}`), metav1.PatchOptions{})
	s.ok(err)
	s.run("kubectl run root --image=busybox:1.37 --dry-run=server --namespace " + install.Namespace).exits(1).says("violates PodSecurity")
	// Whatever comes of it, the next test finds konductor as this one has found it.
	t.Cleanup(func() {
		if err := install.Chart(context.Background(), tools, ground.Kubeconfig()); err != nil {
			t.Error(err)
		}
	})
	do("uninstall konductor")
	s.run("kubectl delete crd --selector app.kubernetes.io/name=konductor").exits(0)

	do("install konductor e2e/chart/testdata/konductor-first.tgz" + image)
	// It is an operator of today that runs, and it updates the claims' status where one of that time patched it.
	s.run("kubectl create clusterrole operator-of-today --verb=update --resource=claims.konductor.io/status").exits(0)
	s.run("kubectl create clusterrolebinding operator-of-today --clusterrole=operator-of-today --serviceaccount=" + install.Namespace + ":" + install.Deployment).exits(0)

	leases, claims := watching[*konductorv1.Lease](s), watching[*konductorv1.Claim](s)
	s.given("examples/run/migrate.yaml", script("sleep 1", "sleep 86400"))
	s.runs(1, "migrate-", "migrate")
	first := leases.awaitOne("db-migration", "held", held)
	next := s.inBackground("koncli lease acquire db-migration --holder next --timeout 5m")
	claims.await("another waits", func(now map[string]*konductorv1.Claim) bool { return len(now) == 2 })

	steps := 0
	stands := func(after string) {
		t.Helper()
		next.goesOn()
		s.runs(1, "migrate-", "migrate")
		if now := leases.state()["db-migration"]; now.Status.ClaimUID != first.Status.ClaimUID || now.Status.FencingToken != first.Status.FencingToken {
			t.Fatalf("after %s the lease is held by %s with token %d, want %s with %d", after, now.Status.Holder, now.Status.FencingToken, first.Status.Holder, first.Status.FencingToken)
		}
	}
	acts := func(after string) {
		t.Helper()
		steps++
		name := fmt.Sprintf("after-%d", steps)
		s.run("koncli barrier create " + name + " --expected 1").exits(0)
		s.run("koncli barrier arrive " + name + " --holder x").exits(0)
		s.run("koncli barrier wait " + name + " --timeout 1m").exits(0)
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
	s.run("kubectl delete clusterrolebinding,clusterrole operator-of-today").exits(0)
	do("install konductor charts/konductor" + image)
	acts("the next installation")

	s.delete(&batchv1.Job{ObjectMeta: s.named("migrate")})
	next.succeeds()
}

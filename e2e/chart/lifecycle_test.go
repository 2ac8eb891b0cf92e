package chart

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/e2e/cluster"
	"github.com/LogicIQ/konductor/e2e/install"
	"github.com/LogicIQ/konductor/e2e/internal/credentials"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// firstChartArchive is the first version of the chart, made with git archive from the commit that added it.
const firstChartArchive = "testdata/konductor-first.tgz"

// contendedLease is in use while konductor is installed, upgraded and uninstalled: it has a holder and a waiter.
type contendedLease struct {
	t          *testing.T
	holder     *konductor.Client
	hold       *konductor.Hold
	nextResult chan error
}

// startContendedLease creates a lease with a holder and a waiter.
func startContendedLease(t *testing.T, cp *cluster.ControlPlane) *contendedLease {
	t.Helper()
	w := &contendedLease{t: t, holder: newAdminClient(t, cp, namespace), nextResult: make(chan error, 1)}
	ctx := t.Context()
	if _, err := w.holder.CreateLease(ctx, "db"); err != nil {
		t.Fatal(err)
	}
	var err error
	if w.hold, err = w.holder.AcquireLease(ctx, "db", konductor.WithHolder("first")); err != nil {
		t.Fatal(err)
	}
	second := newAdminClient(t, cp, namespace)
	go func() {
		hold, err := second.AcquireLease(ctx, "db", konductor.WithHolder("second"))
		if err == nil && hold.Token() <= w.hold.Token() {
			err = fmt.Errorf("token %d was granted after %d", hold.Token(), w.hold.Token())
		}
		if err == nil {
			err = hold.Release(ctx)
		}
		w.nextResult <- err
	}()
	eventually(t, "the second one waits", func() bool {
		lease, err := w.holder.GetLease(ctx, "db")
		return err == nil && lease.Status.Waiting == 1
	})
	return w
}

// checkUnchanged checks that nothing of it was lost.
func (w *contendedLease) checkUnchanged(when string) {
	w.t.Helper()
	var lease *konductorv1.Lease
	var err error
	eventually(w.t, "the lease can be read", func() bool {
		lease, err = w.holder.GetLease(w.t.Context(), "db")
		return err == nil
	})
	if lease.Status.Holder != "first" || lease.Status.FencingToken != w.hold.Token() {
		w.t.Fatalf("%s: the lease is held by %q with token %d, want first with %d", when, lease.Status.Holder, lease.Status.FencingToken, w.hold.Token())
	}
	var claims *konductorv1.ClaimList
	// After a change of its CRDs an API server needs a moment.
	eventually(w.t, "the claims can be read", func() bool {
		claims, err = w.holder.ListClaims(w.t.Context(), konductorv1.KindLease, "db")
		return err == nil
	})
	if len(claims.Items) != 2 {
		w.t.Fatalf("%s: there are %d claims, want 2", when, len(claims.Items))
	}
	select {
	case <-w.hold.Lost():
		w.t.Fatalf("%s: the hold was lost", when)
	case err := <-w.nextResult:
		w.t.Fatalf("%s: the second one has gone on while the first holds the lease: %v", when, err)
	default:
	}
}

// releaseAndCheck releases the hold, and checks that the waiter gets the lease.
func (w *contendedLease) releaseAndCheck() {
	w.t.Helper()
	if err := w.hold.Release(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	if err := <-w.nextResult; err != nil {
		w.t.Fatal(err)
	}
}

// awaitPodsAdmitted waits until the Deployment's Pods were admitted to the namespace.
func awaitPodsAdmitted(t *testing.T, cp *cluster.ControlPlane) {
	t.Helper()
	kube := kubernetes.NewForConfigOrDie(cp.Config())
	eventually(t, "the operator's Pods are let into the namespace", func() bool {
		d, err := kube.AppsV1().Deployments(install.Namespace).Get(t.Context(), install.Deployment, metav1.GetOptions{})
		return err == nil && d.Status.ObservedGeneration == d.Generation && d.Status.UpdatedReplicas > 0
	})
}

func TestHoldsSurviveHelmUpgradeRollbackUninstall(t *testing.T) {
	for name, helm := range map[string]string{"Helm 4": "helm", "Helm 3": "helm3"} {
		t.Run(name, func(t *testing.T) {
			cp := startControlPlane(t)
			createRestrictedNamespace(t, cp, install.Namespace)
			do := func(args ...string) string {
				t.Helper()
				return string(runTool(t, nil, helm, append(args, "--kubeconfig", cp.Kubeconfig(), "--namespace", install.Namespace)...))
			}
			do("install", "konductor", firstChartArchive)
			awaitPodsAdmitted(t, cp)
			allowClaimStatusUpdate(t, cp)
			stop := startOperator(t, cp)
			w := startContendedLease(t, cp)

			notes := do("upgrade", "konductor", chartDir(t))
			if !strings.Contains(notes, "rollout status deployment/konductor-operator") {
				t.Errorf("the upgrade says:\n%s", notes)
			}
			awaitPodsAdmitted(t, cp)
			w.checkUnchanged("after the upgrade")
			// The operator keeps working with the new rights and CRDs.
			if _, err := w.holder.CreateBarrier(t.Context(), "one", 1); err != nil {
				t.Fatal(err)
			}
			if err := w.holder.ArriveBarrier(t.Context(), "one"); err != nil {
				t.Fatal(err)
			}
			if err := w.holder.WaitBarrier(t.Context(), "one"); err != nil {
				t.Fatalf("after the upgrade a barrier doesn't open: %v", err)
			}
			do("rollback", "konductor", "1")
			awaitPodsAdmitted(t, cp)
			w.checkUnchanged("after the rollback")
			do("upgrade", "konductor", chartDir(t))
			w.checkUnchanged("after the second upgrade")

			stop()
			do("uninstall", "konductor", "--wait")
			kube := kubernetes.NewForConfigOrDie(cp.Config())
			if _, err := kube.AppsV1().Deployments(install.Namespace).Get(t.Context(), install.Deployment, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
				t.Errorf("the operator is still there after helm uninstall: %v", err)
			}
			w.checkUnchanged("after helm uninstall")
			// Without an operator nothing is granted or revoked, and the next one finds the old state.
			do("install", "konductor", chartDir(t), "--set", "replicas=1")
			startOperator(t, cp)
			w.checkUnchanged("after the next installation")
			w.releaseAndCheck()
		})
	}
}

// allowClaimStatusUpdate gives the operator the right to update the status of Claims. The first chart gives it the right to patch
// them, which its operators did; but today's operator runs here.
func allowClaimStatusUpdate(t *testing.T, cp *cluster.ControlPlane) {
	t.Helper()
	roles := kubernetes.NewForConfigOrDie(cp.Config()).RbacV1()
	name := metav1.ObjectMeta{Name: "operator-of-today"}
	_, err := roles.ClusterRoles().Create(t.Context(), &rbacv1.ClusterRole{ObjectMeta: name, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{konductorv1.GroupName}, Resources: []string{"claims/status"}, Verbs: []string{"update"}},
	}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = roles.ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: name, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name.Name},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: install.Namespace, Name: install.Deployment}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// clusterRoleBindingsOf returns the ClusterRoleBindings of an account, as in the API server.
func clusterRoleBindingsOf(t *testing.T, cp *cluster.ControlPlane, account string) (found []string) {
	t.Helper()
	bindings, err := kubernetes.NewForConfigOrDie(cp.Config()).RbacV1().ClusterRoleBindings().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range bindings.Items {
		if slices.ContainsFunc(b.Subjects, func(s rbacv1.Subject) bool { return s.Kind == rbacv1.ServiceAccountKind && s.Name == account }) {
			found = append(found, b.Name)
		}
	}
	return found
}

func TestInstallWithNamespaceRightsOnly(t *testing.T) {
	cp := startControlPlane(t)
	ctx := t.Context()
	for _, name := range []string{install.Namespace, "etl", "reports", "private"} {
		createRestrictedNamespace(t, cp, name)
	}
	// An administrator has created the cluster-wide objects: the CRDs.
	server := newApplier(t, cp.Config())
	for _, obj := range renderWithHelm(t, "helm", kubeVersion, "{}") {
		if obj.GetKind() == "CustomResourceDefinition" {
			if err := server.apply(ctx, obj, false); err != nil {
				t.Fatal(err)
			}
		}
	}
	file := namespaceAdminKubeconfig(t, cp, install.Namespace, "etl", "reports")
	values := []string{"crds.install=false", "participantRole=false", "aggregatedRoles=false", "admissionPolicy=false"}
	args := []string{"install", "konductor", chartDir(t), "--kubeconfig", file, "--namespace", install.Namespace, "--set", "watchNamespaces={etl,reports}"}
	for _, v := range values {
		args = append(args, "--set", v)
	}
	runTool(t, nil, "helm", args...)
	awaitPodsAdmitted(t, cp)
	if found := clusterRoleBindingsOf(t, cp, install.Deployment); len(found) > 0 {
		t.Errorf("the operator has cluster-wide rights by %q", found)
	}

	startOperator(t, cp)
	etl := newAdminClient(t, cp, "etl")
	if _, err := etl.CreateLease(ctx, "db"); err != nil {
		t.Fatal(err)
	}
	hold, err := etl.AcquireLease(ctx, "db", konductor.WithHolder("x"))
	if err != nil {
		t.Fatal(err)
	}
	if err := hold.Release(ctx); err != nil {
		t.Fatal(err)
	}
	checkCrossNamespaceGate(t, cp, etl, "reports")

	// The plugin does the same with the same rights.
	runTool(t, nil, "helm", "uninstall", "konductor", "--kubeconfig", file, "--namespace", install.Namespace, "--wait")
	pluginArgs := []string{"install", "--kubeconfig", file, "--wait=false", "--set", "watchNamespaces=[etl, reports]"}
	for _, v := range values {
		pluginArgs = append(pluginArgs, "--set", v)
	}
	if got := runCommand(t, buildPlugin(t, "v1.2.0"), pluginArgs...); got.exitCode != 0 {
		t.Errorf("the plugin, with rights in these namespaces only: exit code %d\n%s", got.exitCode, got.stderr)
	}
	if got := runCommand(t, buildPlugin(t, "v1.2.0"), "uninstall", "--yes", "--kubeconfig", file); got.exitCode != 0 {
		t.Errorf("uninstalling with rights in these namespaces only: exit code %d\n%s", got.exitCode, got.stderr)
	}
}

// checkCrossNamespaceGate checks that a gate waits for an object in another namespace once that allows it, and that it notices.
func checkCrossNamespaceGate(t *testing.T, cp *cluster.ControlPlane, from *konductor.Client, to string) {
	t.Helper()
	ctx := t.Context()
	if _, err := newAdminClient(t, cp, to).CreateLease(ctx, "source"); err != nil {
		t.Fatal(err)
	}
	condition := konductorv1.GateCondition{Type: konductorv1.GateOnLease, Name: "source", Namespace: to}
	if _, err := from.CreateGate(ctx, "across", []konductorv1.GateCondition{condition}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the gate has looked", func() bool {
		gate, err := from.GetGate(ctx, "across")
		return err == nil && len(gate.Status.ConditionStatuses) == 1 && strings.Contains(gate.Status.ConditionStatuses[0].Message, "doesn't allow this gate")
	})
	_, err := kubernetes.NewForConfigOrDie(cp.Config()).CoreV1().Namespaces().Patch(ctx, to, "application/merge-patch+json",
		[]byte(`{"metadata":{"annotations":{"`+konductorv1.AllowGatesAnnotation+`":"*"}}}`), metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := from.WaitGate(ctx, "across"); err != nil {
		t.Errorf("the gate doesn't notice that namespace %s allows it now: %v", to, err)
	}
}

// namespaceAdminKubeconfig returns the kubeconfig of an administrator of these namespaces, who has no rights elsewhere.
func namespaceAdminKubeconfig(t *testing.T, cp *cluster.ControlPlane, namespaces ...string) string {
	t.Helper()
	ctx := t.Context()
	kube := kubernetes.NewForConfigOrDie(cp.Config())
	if _, err := kube.CoreV1().ServiceAccounts(namespace).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "team"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, name := range namespaces {
		_, err := kube.RbacV1().RoleBindings(name).Create(ctx, &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "team"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: "team", Namespace: namespace}},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
	}
	return accountKubeconfig(ctx, t, cp, "team")
}

func accountKubeconfig(ctx context.Context, t *testing.T, cp *cluster.ControlPlane, account string) string {
	t.Helper()
	config, err := credentials.ForAccount(ctx, kubernetes.NewForConfigOrDie(cp.Config()), cp.Config(), namespace, account, nil)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), account+".yaml")
	if err := credentials.WriteKubeconfig(config, namespace, file); err != nil {
		t.Fatal(err)
	}
	return file
}

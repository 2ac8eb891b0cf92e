package chart

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/prometheus/client_golang/prometheus"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/e2e/cluster"
	"github.com/LogicIQ/konductor/e2e/internal/versions"
	"github.com/LogicIQ/konductor/operator"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

const deniedByPolicy, deniedByRBAC = "konductor-participants", "cannot"

// deniedAction is an action that must fail: by is what denies it, and says the words of the error.
type deniedAction struct {
	do                func() error
	deniedBy, message string
}

// testEnv is a cluster with konductor installed by its chart, and user accounts.
type testEnv struct {
	*testing.T
	controlPlane *cluster.ControlPlane
	kube         kubernetes.Interface
}

// createServiceAccount creates a ServiceAccount and returns its config, with a token that is bound to no Pod, as users and
// pipelines have. role is a ClusterRole for the namespaces in.
func (w *testEnv) createServiceAccount(name, role string, in ...string) *rest.Config {
	w.Helper()
	_, err := w.kube.CoreV1().ServiceAccounts(namespace).Create(w.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	w.must(err)
	for _, ns := range in {
		w.bindRole(name, role, ns)
	}
	return w.tokenConfig(namespace, name)
}

// bindRole gives an account the rights of a ClusterRole in a namespace.
func (w *testEnv) bindRole(account, role, in string) {
	w.Helper()
	_, err := w.kube.RbacV1().RoleBindings(in).Create(w.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: account + "-" + role},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: account, Namespace: namespace}},
	}, metav1.CreateOptions{})
	w.must(err)
}

func (w *testEnv) tokenConfig(namespace, account string) *rest.Config {
	w.Helper()
	token, err := w.kube.CoreV1().ServiceAccounts(namespace).CreateToken(w.Context(), account, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	w.must(err)
	config := rest.AnonymousClientConfig(w.controlPlane.Config())
	config.BearerToken = token.Status.Token
	return config
}

func (w *testEnv) sdkClient(config *rest.Config) *konductor.Client {
	w.Helper()
	c, err := konductor.New(config, konductor.InNamespace(namespace), konductor.NotifyFunc(func(s string) { w.Log(s) }))
	w.must(err)
	return c
}

func (w *testEnv) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// runOperator runs the operator with the account that the chart creates for it.
func (w *testEnv) runOperator() {
	w.Helper()
	w.runOperatorAs(w.tokenConfig(systemNamespace, "konductor-operator"))
}

func (w *testEnv) runOperatorAs(config *rest.Config) {
	w.Helper()
	w.runOperatorWith(config, logr.Discard())
}

// runOperatorWithLog runs the operator and returns a function that returns its log so far.
func (w *testEnv) runOperatorWithLog() (logs func() string) {
	w.Helper()
	var mu sync.Mutex
	var said strings.Builder
	w.runOperatorWith(w.tokenConfig(systemNamespace, "konductor-operator"), funcr.New(func(prefix, args string) {
		mu.Lock()
		defer mu.Unlock()
		said.WriteString(prefix + " " + args + "\n")
	}, funcr.Options{}))
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		return said.String()
	}
}

func (w *testEnv) runOperatorWith(config *rest.Config, logger logr.Logger) {
	w.Helper()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	run := func() error {
		return operator.Run(ctx, operator.Options{
			Config: config, Logger: logger, MetricsAddress: "0", HealthAddress: "0",
			LeaderElection: true, LeaderElectionNamespace: systemNamespace, Registerer: prometheus.NewRegistry(),
		})
	}
	go func() {
		err := run()
		// On a starved machine the only replica can lose its leadership and end. A Deployment starts it again.
		for err != nil && ctx.Err() == nil && strings.Contains(err.Error(), "leader election lost") {
			err = run()
		}
		ended <- err
	}()
	w.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			w.Errorf("the operator ended with an error: %v", err)
		}
	})
}

// rawClient is a client for requests that the SDK would never send.
type rawClient struct {
	rest.Interface
	t *testing.T
}

func (w *testEnv) newRawClient(config *rest.Config) rawClient {
	return rawClient{newRESTClient(w.T, config), w.T}
}

func (r rawClient) createIn(in, resource, body string) error {
	return r.Post().Namespace(in).Resource(resource).SetHeader("Content-Type", "application/json").Body([]byte(body)).Do(r.t.Context()).Error()
}

func (r rawClient) deleteObject(resource, name string) error {
	return r.Delete().Namespace(namespace).Resource(resource).Name(name).Do(r.t.Context()).Error()
}

func (r rawClient) deleteAllObjects(resource string) error {
	return r.Delete().Namespace(namespace).Resource(resource).Do(r.t.Context()).Error()
}

func (r rawClient) patchObject(resource, name, body string, subresource ...string) error {
	return r.Patch(types.MergePatchType).Namespace(namespace).Resource(resource).Name(name).SubResource(subresource...).Body([]byte(body)).Do(r.t.Context()).Error()
}

func TestDeniedActions(t *testing.T) {
	w := &testEnv{T: t, controlPlane: startWithChart(t)}
	w.kube = kubernetes.NewForConfigOrDie(w.controlPlane.Config())
	ctx := t.Context()
	on := versions.ForTest(t, w.controlPlane.Config())
	w.runOperator()
	allowParticipants(t, w.kube)
	const participant = "konductor-participant"
	aliceConfig, bobConfig := w.createServiceAccount("alice", participant, namespace), w.createServiceAccount("bob", participant, namespace)
	editor, boss := w.newRawClient(w.createServiceAccount("editor", "edit", namespace)), w.createServiceAccount("boss", "admin", namespace)
	alice, bob, admin := w.sdkClient(aliceConfig), w.newRawClient(bobConfig), w.newRawClient(w.controlPlane.Config())
	root := w.sdkClient(w.controlPlane.Config())
	for _, name := range []string{"db", "of-a-pod"} {
		_, err := root.CreateLease(ctx, name)
		w.must(err)
	}
	_, err := root.CreateSemaphore(ctx, "slots", 2)
	w.must(err)
	_, err = root.CreateBarrier(ctx, "done", 100)
	w.must(err)
	_, err = root.CreateGate(ctx, "go", []konductorv1.GateCondition{{Type: konductorv1.GateOnLease, Name: "none"}})
	w.must(err)

	victim, victimPod := createPodClient(t, w.controlPlane, "victim")
	_, attackerPod := createPodClient(t, w.controlPlane, "attacker")
	attackerConfig := podTokenConfig(t, w.controlPlane, attackerPod)
	attacker := w.newRawClient(attackerConfig)
	awaitAdmissionPolicy(t, attacker, victimPod)
	awaitAggregatedRoles(w)

	// Holds and arrivals to attack.
	podHold, err := victim.AcquireLease(ctx, "of-a-pod")
	w.must(err)
	w.must(victim.ArriveBarrier(ctx, "done", konductor.WithHolder("victim")))
	hold, err := alice.AcquireLease(ctx, "db", konductor.WithHolder("alice"))
	w.must(err)
	ofPod := grantedClaimOf(w, root, konductorv1.KindLease, "of-a-pod")
	ofAlice := grantedClaimOf(w, root, konductorv1.KindLease, "db")
	if by := ofAlice.Annotations[konductorv1.CreatedByAnnotation]; by != "system:serviceaccount:default:alice" {
		t.Errorf("the claim of alice was made by %q, it says", by)
	}
	w.must(alice.ArriveBarrier(ctx, "done", konductor.WithHolder("alice")))
	ofAliceToo := &konductorv1.Arrival{}
	w.must(admin.Get().Namespace(namespace).Resource("arrivals").Name(arrivalNameOf(w, admin, "alice")).Do(ctx).Into(ofAliceToo))
	if by := ofAliceToo.Annotations[konductorv1.CreatedByAnnotation]; by != "system:serviceaccount:default:alice" {
		t.Errorf("the arrival of alice was made by %q, it says", by)
	}
	arrival := arrivalNameOf(w, admin, "victim")

	bossRaw := w.newRawClient(boss)
	cut := strings.Repeat("long-", 12)
	refused := map[string]deniedAction{
		"a pod's claim that is bound to no pod":   {func() error { return attacker.createIn(namespace, "claims", unboundClaimJSON("loose")) }, deniedByPolicy, "set spec.boundTo to {kind: Pod, name: attacker"},
		"a pod's arrival that is bound to no pod": {func() error { return attacker.createIn(namespace, "arrivals", arrivalJSON("loose", "x", nil)) }, deniedByPolicy, "set spec.boundTo"},
		"a pod's arrival as another pod": {func() error {
			return attacker.createIn(namespace, "arrivals", arrivalJSON("a1", "pod/victim", attackerPod))
		}, deniedByPolicy, "is the name of another Pod"},
		"a pod's arrival as a job that it is not of": {func() error {
			return attacker.createIn(namespace, "arrivals", arrivalJSON("a2", "job/extract", attackerPod))
		}, deniedByPolicy, "is the name of a Job that pod/attacker does not belong to"},
		"a pod's arrival as an index of another job": {func() error {
			return attacker.createIn(namespace, "arrivals", arrivalJSON("a3", "job/extract/3", attackerPod))
		}, deniedByPolicy, "does not belong to"},
		"a pod's arrival as a long job of another": {func() error {
			return attacker.createIn(namespace, "arrivals", arrivalJSON("a4", "job/"+cut, attackerPod))
		}, deniedByPolicy, "does not belong to"},
		"a pod's claim in another namespace":     {func() error { return attacker.createIn(otherNamespace, "claims", unboundClaimJSON("away")) }, deniedByRBAC, ""},
		"a pod that deletes another pod's claim": {func() error { return attacker.deleteObject("claims", ofPod.Name) }, deniedByPolicy, `the right to "break" lease/of-a-pod`},
		"a pod that renews another pod's claim":  {func() error { return attacker.patchObject("claims", ofPod.Name, `{"spec":{"renewals":9}}`) }, deniedByPolicy, "belongs to pod victim"},
		"a pod that deletes a person's claim":    {func() error { return attacker.deleteObject("claims", ofAlice.Name) }, deniedByPolicy, "belongs to system:serviceaccount:default:alice"},
		"a pod that marks a hold as broken": {func() error {
			return attacker.patchObject("claims", ofAlice.Name, brokenByPatch("system:serviceaccount:default:default"))
		}, deniedByPolicy, "nobody else may change it"},
		"a pod that deletes an arrival":        {func() error { return attacker.deleteObject("arrivals", arrival) }, deniedByRBAC, ""},
		"a person who deletes another's claim": {func() error { return bob.deleteObject("claims", ofAlice.Name) }, deniedByPolicy, `the right to "break" lease/db`},
		"a person who renews another's claim":  {func() error { return bob.patchObject("claims", ofAlice.Name, `{"spec":{"renewals":9}}`) }, deniedByPolicy, "belongs to system:serviceaccount:default:alice"},
		"a person who makes a claim for a pod": {func() error {
			return bob.createIn(namespace, "claims", boundClaimJSON("for-pod", victimPod.Name, victimPod.UID))
		}, deniedByPolicy, "boundTo must name the Pod that sends the request"},
		"a person who takes another's claim over": {func() error {
			return bob.patchObject("claims", ofAlice.Name, createdByPatch("system:serviceaccount:default:bob"))
		}, deniedByPolicy, "can't be changed"},
		"an editor who deletes a pod's claim":      {func() error { return editor.deleteObject("claims", ofPod.Name) }, deniedByPolicy, `the right to "break"`},
		"an editor who deletes all claims at once": {func() error { return editor.deleteAllObjects("claims") }, deniedByPolicy, `the right to "break"`},
		"an editor who deletes an arrival":         {func() error { return editor.deleteObject("arrivals", arrival) }, deniedByPolicy, `the right to "break" barrier/done`},
		"an administrator who breaks silently":     {func() error { return bossRaw.deleteObject("claims", ofAlice.Name) }, deniedByPolicy, `use "kubectl konductor lease break db"`},
		"an administrator who blames somebody": {func() error {
			return bossRaw.patchObject("claims", ofAlice.Name, brokenByPatch("system:serviceaccount:default:bob"))
		}, deniedByPolicy, "must name the user who sends the request"},
		"an administrator who changes more": {func() error {
			return bossRaw.patchObject("claims", ofAlice.Name, `{"metadata":{"annotations":{"konductor.io/broken-by":"system:serviceaccount:default:boss"}},"spec":{"renewals":7}}`)
		}, deniedByPolicy, "nobody else may change it"},
		"an administrator of the cluster who is silent": {func() error { return admin.deleteObject("claims", ofPod.Name) }, deniedByPolicy, "lease break of-a-pod"},
	}
	const generation = `{"status":{"observedGeneration":99}}`
	for object, status := range map[string]string{
		"barriers/done": generation, "gates/go": generation, "leases/db": generation, "semaphores/slots": generation,
		"claims/" + ofAlice.Name: `{"status":{"phase":"Expired"}}`,
	} {
		resource, name, _ := strings.Cut(object, "/")
		refused["an editor who writes the status of "+resource] = deniedAction{
			func() error { return editor.patchObject(resource, name, status, "status") }, deniedByRBAC, "",
		}
		refused["a cluster administrator who writes the status of "+resource] = deniedAction{
			func() error { return admin.patchObject(resource, name, status, "status") }, "konductor-status", "only be written by konductor's operator",
		}
	}
	for what, a := range refused {
		t.Run(what, func(t *testing.T) {
			switch err := a.do(); {
			case err == nil:
				t.Error("it was accepted")
			case !strings.Contains(err.Error(), a.deniedBy) || !strings.Contains(err.Error(), a.message):
				t.Errorf("it was refused, but not by %s saying %q: %v", a.deniedBy, a.message, err)
			}
		})
	}

	t.Run("a Pod with rights in another namespace is nobody's Pod there", func(t *testing.T) {
		w.bindRole("default", participant, otherNamespace)
		eventually(t, "the pod has the right elsewhere", func() bool {
			err := attacker.createIn(otherNamespace, "claims", boundClaimJSON("bound", attackerPod.Name, attackerPod.UID))
			return err != nil && strings.Contains(err.Error(), "boundTo must name the Pod that sends the request")
		})
		w.must(attacker.createIn(otherNamespace, "claims", unboundClaimJSON("loose")))
		rootElsewhere, err := konductor.New(w.controlPlane.Config(), konductor.InNamespace(otherNamespace))
		w.must(err)
		_, err = rootElsewhere.CreateLease(ctx, "db")
		w.must(err)
		visitor, err := konductor.New(attackerConfig, konductor.InNamespace(otherNamespace))
		w.must(err)
		_, err = visitor.AcquireLease(ctx, "db", konductor.Detached())
		w.must(err)
		if by := grantedClaimOf(w, rootElsewhere, konductorv1.KindLease, "db").Annotations[konductorv1.CreatedByAnnotation]; by != "system:serviceaccount:default:default in pod "+string(attackerPod.UID) {
			t.Errorf("the claim of a Pod of another namespace was made by %q, it says", by)
		}
	})

	t.Run("nobody says who made a claim but the API server", func(t *testing.T) {
		err := bob.createIn(namespace, "claims", strings.Replace(unboundClaimJSON("forged"), `"name":"forged"`, `"name":"forged","annotations":{"konductor.io/created-by":"system:serviceaccount:default:alice"}`, 1))
		if !on.HasMutatingAdmissionPolicy() {
			if err == nil || !strings.Contains(err.Error(), "must be omitted, or name the user who sends the request: system:serviceaccount:default:bob") {
				t.Errorf("a claim that bob made for alice: %v", err)
			}
			return
		}
		w.must(err)
		forged := &konductorv1.Claim{}
		w.must(admin.Get().Namespace(namespace).Resource("claims").Name("forged").Do(ctx).Into(forged))
		if by := forged.Annotations[konductorv1.CreatedByAnnotation]; by != "system:serviceaccount:default:bob" {
			t.Errorf("a claim that bob made for alice says that it was made by %q", by)
		}
		w.must(bob.deleteObject("claims", "forged"))
	})

	t.Run("a claim that doesn't say who made it", func(t *testing.T) {
		w.must(w.newRawClient(aliceConfig).createIn(namespace, "claims", unboundClaimJSON("unsigned")))
		// Where the API server doesn't record the creator, the claim belongs to everyone except the Pods of the namespace.
		if err := attacker.deleteObject("claims", "unsigned"); err == nil || !strings.Contains(err.Error(), deniedByPolicy) {
			t.Errorf("a Pod deletes it: %v", err)
		}
		if err := bob.deleteObject("claims", "unsigned"); (err == nil) == on.HasMutatingAdmissionPolicy() {
			t.Errorf("on %s bob deletes it: %v", on, err)
		}
	})

	t.Run("what is one's own one may do", func(t *testing.T) {
		w.must(attacker.createIn(namespace, "arrivals", arrivalJSON("own", "pod/attacker", attackerPod)))
		w.must(attacker.createIn(namespace, "arrivals", arrivalJSON("free", "anything", attackerPod)))
		_, worker := createPodClient(t, w.controlPlane, "extract-3-x7k2p")
		own := w.newRawClient(podTokenConfig(t, w.controlPlane, worker))
		w.must(own.createIn(namespace, "arrivals", arrivalJSON("own-job", "job/extract/3", worker)))
		_, long := createPodClient(t, w.controlPlane, cut[:57]+"-x7k2p")
		w.must(w.newRawClient(podTokenConfig(t, w.controlPlane, long)).createIn(namespace, "arrivals", arrivalJSON("own-long-job", "job/"+cut[:58], long)))
		w.must(hold.Renew(ctx))
		w.must(podHold.Release(ctx))
	})

	t.Run("who breaks a hold needs the right, and stands in an Event", func(t *testing.T) {
		_, err := w.sdkClient(bobConfig).BreakLease(ctx, "db")
		if err == nil || !strings.Contains(err.Error(), "nobody else may change it") {
			t.Errorf("bob breaks a lease: %v", err)
		}
		_, err = w.sdkClient(boss).BreakLease(ctx, "db", konductor.DryRun())
		w.must(err)
		w.must(hold.Renew(ctx))
		_, err = w.sdkClient(boss).BreakLease(ctx, "db")
		w.must(err)
		<-hold.Lost()
		awaitBrokenEvent(w, "Lease", "db", "system:serviceaccount:default:boss broke the hold of alice")

		slot, err := alice.AcquireSemaphore(ctx, "slots", konductor.WithHolder("alice"))
		w.must(err)
		_, err = w.sdkClient(boss).BreakSemaphore(ctx, "slots", konductor.WithHolder("alice"))
		w.must(err)
		<-slot.Lost()
		awaitBrokenEvent(w, "Semaphore", "slots", "system:serviceaccount:default:boss broke the hold of alice (1 permit)")
	})
}

// awaitBrokenEvent waits for the Event of a broken hold.
func awaitBrokenEvent(w *testEnv, kind, name, message string) {
	w.Helper()
	eventually(w.T, "an event says who broke "+name, func() bool {
		events, err := w.kube.CoreV1().Events(namespace).List(w.Context(), metav1.ListOptions{FieldSelector: "involvedObject.name=" + name})
		w.must(err)
		return slices.ContainsFunc(events.Items, func(e corev1.Event) bool {
			return e.InvolvedObject.Kind == kind && e.Reason == konductorv1.EventBroken && e.Message == message
		})
	})
}

func TestAggregatedRoles(t *testing.T) {
	w := &testEnv{T: t, controlPlane: startWithChart(t)}
	w.kube = kubernetes.NewForConfigOrDie(w.controlPlane.Config())
	for _, role := range []string{"view", "edit", "admin", "konductor-participant"} {
		w.createServiceAccount(role, role, namespace)
	}
	awaitAggregatedRoles(w)
	const none = ""
	tests := []struct {
		verb, resource string
		may            string // the accounts that may
	}{
		{"list", "claims", "view edit admin konductor-participant"},
		{"watch", "barriers", "view edit admin konductor-participant"},
		{"get", "arrivals", "view edit admin konductor-participant"},
		{"create", "barriers", "edit admin"},
		{"patch", "semaphores", "edit admin"},
		{"delete", "gates", "edit admin"},
		{"deletecollection", "leases", "edit admin"},
		{"create", "arrivals", "edit admin konductor-participant"},
		{"create", "claims", "edit admin konductor-participant"},
		{"delete", "claims", "edit admin konductor-participant"},
		{"delete", "arrivals", "edit admin"},
		{"break", "leases", "admin"},
		{"break", "semaphores", "admin"},
		{"break", "barriers", "admin"},
		{"update", "leases/status", none},
		{"patch", "claims/status", none},
		{"update", "semaphores/status", none},
		{"patch", "barriers/status", none},
		{"update", "gates/status", none},
	}
	for _, test := range tests {
		for _, account := range []string{"view", "edit", "admin", "konductor-participant"} {
			got := w.isAllowed("system:serviceaccount:default:"+account, namespace, test.verb, konductorv1.GroupName, test.resource)
			if want := slices.Contains(strings.Fields(test.may), account); got != want {
				t.Errorf("%s may %s %s: %v, want %v", account, test.verb, test.resource, got, want)
			}
			if w.isAllowed("system:serviceaccount:default:"+account, otherNamespace, test.verb, konductorv1.GroupName, test.resource) {
				t.Errorf("%s may %s %s in another namespace", account, test.verb, test.resource)
			}
		}
	}
}

// TestOperatorHasNoUnneededRights checks that the operator has only the rights that it needs: an attacker who takes it over has all
// of them.
func TestOperatorHasNoUnneededRights(t *testing.T) {
	// Policies bound what the operator may do with these: see TestOperatorRightsOnJobs in e2e/integration.
	forHeldJobs := []right{{"patch", "batch", "jobs"}, {"delete", "batch", "jobs"}, {"create", "konductor.io", "claims"}, {"create", "konductor.io", "arrivals"}}
	for what, c := range map[string]struct {
		values []string
		denied []right
	}{
		"with held workloads":    {nil, nil},
		"without held workloads": {[]string{"heldWorkloads=false"}, forHeldJobs},
	} {
		t.Run(what, func(t *testing.T) {
			w := &testEnv{T: t, controlPlane: startWithChart(t, c.values...)}
			w.checkUnneededRights(c.denied)
			if len(c.denied) > 0 {
				return
			}
			for _, r := range forHeldJobs {
				if !w.isAllowed(operatorUser, namespace, r.verb, r.group, r.resource) {
					t.Errorf("the operator may not %s %s, which it needs", r.verb, r.resource)
				}
			}
		})
	}
}

const operatorUser = "system:serviceaccount:konductor-system:konductor-operator"

// right is a right to do something with a resource.
type right struct{ verb, group, resource string }

// checkUnneededRights checks that the operator doesn't have rights that it never needs, nor the further ones.
func (w *testEnv) checkUnneededRights(further []right) {
	t := w.T
	w.kube = kubernetes.NewForConfigOrDie(w.controlPlane.Config())
	const account = operatorUser
	if !w.isAllowed(account, namespace, "update", konductorv1.GroupName, "leases/status") {
		t.Fatal("the operator may not even write the status of leases: this test would show nothing")
	}
	for _, in := range []string{namespace, systemNamespace, metav1.NamespaceAll} {
		for _, verb := range []string{"get", "list", "watch", "create", "update", "patch", "delete"} {
			for _, resource := range []string{"secrets", "configmaps", "serviceaccounts", "serviceaccounts/token", "pods/exec"} {
				if w.isAllowed(account, in, verb, "", resource) {
					t.Errorf("the operator may %s %s in namespace %q", verb, resource, in)
				}
			}
		}
		for _, right := range append([]right{
			{"create", "", "pods"},
			{"delete", "", "pods"},
			{"create", "batch", "jobs"},
			{"update", "batch", "jobs"},
			{"patch", "", "namespaces"},
			{"update", "konductor.io", "leases"},
			{"patch", "konductor.io", "claims"},
			{"escalate", "rbac.authorization.k8s.io", "roles"},
			{"create", "rbac.authorization.k8s.io", "rolebindings"},
			{"update", "apiextensions.k8s.io", "customresourcedefinitions"},
			{"delete", "admissionregistration.k8s.io", "validatingadmissionpolicies"},
			{"impersonate", "", "users"},
		}, further...) {
			if w.isAllowed(account, in, right.verb, right.group, right.resource) {
				t.Errorf("the operator may %s %s in namespace %q", right.verb, right.resource, in)
			}
		}
	}
}

func TestClaimQuotaPerNamespace(t *testing.T) {
	w := &testEnv{T: t, controlPlane: startWithChart(t, "quotas."+namespace+".claims=3")}
	w.kube = kubernetes.NewForConfigOrDie(w.controlPlane.Config())
	w.runOperator()
	spammer := w.newRawClient(w.createServiceAccount("spammer", "konductor-participant", namespace))
	// The quota controller may take minutes to notice new resource types, unless it is restarted.
	const controllers = "kube-controller-manager"
	w.must(w.controlPlane.StopComponent(controllers, syscall.SIGKILL))
	w.must(w.controlPlane.StartComponent(t.Context(), controllers))
	n := 0
	eventually(t, "the quota is in force", func() bool {
		n++
		err := spammer.createIn(namespace, "claims", unboundClaimJSON(fmt.Sprintf("junk-%d", n)))
		return err != nil && strings.Contains(err.Error(), "exceeded quota")
	})
	people := w.sdkClient(w.controlPlane.Config())
	_, err := people.CreateLease(t.Context(), "db")
	w.must(err)
	// An acquire that may wait waits until the quota has room.
	_, err = people.AcquireLease(t.Context(), "db", konductor.WithTimeout(0))
	if err == nil || !strings.Contains(err.Error(), "exceeded quota") || strings.Contains(err.Error(), "to allow it") {
		t.Errorf("who has a right but no quota left is told: %v", err)
	}
	_, err = w.kube.CoreV1().ResourceQuotas(otherNamespace).Get(t.Context(), "konductor", metav1.GetOptions{})
	if err == nil {
		t.Error("a namespace that wasn't named has a quota too")
	}
	neighbour, err := konductor.New(w.controlPlane.Config(), konductor.InNamespace(otherNamespace))
	w.must(err)
	_, err = neighbour.CreateLease(t.Context(), "db")
	w.must(err)
	hold, err := neighbour.AcquireLease(t.Context(), "db")
	w.must(err)
	w.must(hold.Release(t.Context()))
}

// isAllowed asks the API server whether an account has a right.
func (w *testEnv) isAllowed(account, in, verb, group, resource string) bool {
	w.Helper()
	resource, sub, _ := strings.Cut(resource, "/")
	parts := strings.Split(account, ":")
	review, err := w.kube.AuthorizationV1().SubjectAccessReviews().Create(w.Context(), &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: account, Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + parts[2], "system:authenticated"},
		ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: in, Verb: verb, Group: group, Resource: resource, Subresource: sub},
	}}, metav1.CreateOptions{})
	w.must(err)
	return review.Status.Allowed
}

// awaitAggregatedRoles waits until the chart's roles have been aggregated to the cluster's own.
func awaitAggregatedRoles(w *testEnv) {
	w.Helper()
	for role, verb := range map[string]string{"view": "list", "edit": "deletecollection", "admin": "break"} {
		eventually(w.T, "role "+role+" has konductor's rules", func() bool {
			r, err := w.kube.RbacV1().ClusterRoles().Get(w.Context(), role, metav1.GetOptions{})
			w.must(err)
			return slices.ContainsFunc(r.Rules, func(rule rbacv1.PolicyRule) bool {
				return slices.Contains(rule.APIGroups, konductorv1.GroupName) && slices.Contains(rule.Verbs, verb)
			})
		})
	}
}

// grantedClaimOf returns the only claim on an object.
func grantedClaimOf(w *testEnv, people *konductor.Client, kind, name string) *konductorv1.Claim {
	w.Helper()
	claims, err := people.ListClaims(w.Context(), kind, name)
	w.must(err)
	var found []*konductorv1.Claim
	for i := range claims.Items {
		if claims.Items[i].Status.Phase == konductorv1.ClaimGranted {
			found = append(found, &claims.Items[i])
		}
	}
	if len(found) != 1 {
		w.Fatalf("%d claims hold %s", len(found), name)
	}
	return found[0]
}

// arrivalNameOf returns the name of a participant's arrival.
func arrivalNameOf(w *testEnv, admin rawClient, participant string) string {
	w.Helper()
	list := &konductorv1.ArrivalList{}
	w.must(admin.Get().Namespace(namespace).Resource("arrivals").Param("fieldSelector", "spec.participant="+participant).Do(w.Context()).Into(list))
	if len(list.Items) != 1 {
		w.Fatalf("%d arrivals of %s", len(list.Items), participant)
	}
	return list.Items[0].Name
}

func unboundClaimJSON(name string) string {
	return fmt.Sprintf(`{"apiVersion":"konductor.io/v1","kind":"Claim","metadata":{"name":%q},"spec":{"target":{"kind":"Lease","name":"elsewhere"},"holder":"x"}}`, name)
}

func arrivalJSON(name, participant string, in *corev1.Pod) string {
	bound := ""
	if in != nil {
		bound = fmt.Sprintf(`,"boundTo":{"kind":"Pod","name":%q,"uid":%q}`, in.Name, in.UID)
	}
	return fmt.Sprintf(`{"apiVersion":"konductor.io/v1","kind":"Arrival","metadata":{"name":%q},"spec":{"barrier":"done","participant":%q%s}}`, name, participant, bound)
}

func brokenByPatch(by string) string  { return annotationPatch(konductorv1.BrokenByAnnotation, by) }
func createdByPatch(by string) string { return annotationPatch(konductorv1.CreatedByAnnotation, by) }

func annotationPatch(key, value string) string {
	return fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, key, value)
}

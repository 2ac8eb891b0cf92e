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
	"github.com/LogicIQ/konductor/operator"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

const byPolicy, byRBAC = "konductor-participants", "cannot"

// attempt is something that must not succeed: by says what refuses it, and says with which words.
type attempt struct {
	do       func() error
	by, says string
}

// town is a cluster with konductor from its chart, and people in it.
type town struct {
	*testing.T
	plane *cluster.ControlPlane
	kube  kubernetes.Interface
}

// account makes a ServiceAccount and returns how it reaches the API server, by a token that is bound to no Pod: so people
// and pipelines come. role is a ClusterRole for the namespaces in.
func (w *town) account(name, role string, in ...string) *rest.Config {
	w.Helper()
	_, err := w.kube.CoreV1().ServiceAccounts(namespace).Create(w.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	w.ok(err)
	for _, ns := range in {
		w.bind(name, role, ns)
	}
	return w.token(namespace, name)
}

// bind gives an account the rights of a ClusterRole in a namespace.
func (w *town) bind(account, role, in string) {
	w.Helper()
	_, err := w.kube.RbacV1().RoleBindings(in).Create(w.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: account + "-" + role},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: account, Namespace: namespace}},
	}, metav1.CreateOptions{})
	w.ok(err)
}

func (w *town) token(namespace, account string) *rest.Config {
	w.Helper()
	token, err := w.kube.CoreV1().ServiceAccounts(namespace).CreateToken(w.Context(), account, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	w.ok(err)
	config := rest.AnonymousClientConfig(w.plane.Config())
	config.BearerToken = token.Status.Token
	return config
}

func (w *town) client(config *rest.Config) *konductor.Client {
	w.Helper()
	c, err := konductor.New(config, konductor.InNamespace(namespace), konductor.NotifyFunc(func(s string) { w.Log(s) }))
	w.ok(err)
	return c
}

func (w *town) ok(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// operate runs the operator with the very account that the chart makes for it.
func (w *town) operate() {
	w.Helper()
	w.operateAs(w.token(systemNamespace, "konductor-operator"))
}

func (w *town) operateAs(config *rest.Config) {
	w.Helper()
	w.operateWith(config, logr.Discard())
}

// operateLogging runs the operator and returns what gives its log so far.
func (w *town) operateLogging() (logs func() string) {
	w.Helper()
	var mu sync.Mutex
	var said strings.Builder
	w.operateWith(w.token(systemNamespace, "konductor-operator"), funcr.New(func(prefix, args string) {
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

func (w *town) operateWith(config *rest.Config, logger logr.Logger) {
	w.Helper()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- operator.Run(ctx, operator.Options{
			Config: config, Logger: logger, MetricsAddress: "0", HealthAddress: "0",
			LeaderElection: true, LeaderElectionNamespace: systemNamespace, Registerer: prometheus.NewRegistry(),
		})
	}()
	w.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			w.Errorf("the operator ended with an error: %v", err)
		}
	})
}

// raw is a client for what the SDK would never do.
type raw struct {
	rest.Interface
	t *testing.T
}

func (w *town) raw(config *rest.Config) raw { return raw{restFor(w.T, config), w.T} }

func (r raw) create(in, resource, body string) error {
	return r.Post().Namespace(in).Resource(resource).SetHeader("Content-Type", "application/json").Body([]byte(body)).Do(r.t.Context()).Error()
}

func (r raw) remove(resource, name string) error {
	return r.Delete().Namespace(namespace).Resource(resource).Name(name).Do(r.t.Context()).Error()
}

func (r raw) removeAll(resource string) error {
	return r.Delete().Namespace(namespace).Resource(resource).Do(r.t.Context()).Error()
}

func (r raw) patch(resource, name, body string, subresource ...string) error {
	return r.Patch(types.MergePatchType).Namespace(namespace).Resource(resource).Name(name).SubResource(subresource...).Body([]byte(body)).Do(r.t.Context()).Error()
}

func TestWhatNobodyMayDo(t *testing.T) {
	w := &town{T: t, plane: installed(t)}
	w.kube = kubernetes.NewForConfigOrDie(w.plane.Config())
	ctx := t.Context()
	w.operate()
	allowParticipants(t, w.kube)
	const participant = "konductor-participant"
	aliceConfig, bobConfig := w.account("alice", participant, namespace), w.account("bob", participant, namespace)
	editor, boss := w.raw(w.account("editor", "edit", namespace)), w.account("boss", "admin", namespace)
	alice, bob, admin := w.client(aliceConfig), w.raw(bobConfig), w.raw(w.plane.Config())
	root := w.client(w.plane.Config())
	for _, name := range []string{"db", "of-a-pod"} {
		_, err := root.CreateLease(ctx, name)
		w.ok(err)
	}
	_, err := root.CreateSemaphore(ctx, "slots", 2)
	w.ok(err)
	_, err = root.CreateBarrier(ctx, "done", 100)
	w.ok(err)
	_, err = root.CreateGate(ctx, "go", []konductorv1.GateCondition{{Type: konductorv1.GateOnLease, Name: "none"}})
	w.ok(err)

	victim, victimPod := pod(t, w.plane, "victim")
	_, attackerPod := pod(t, w.plane, "attacker")
	attackerConfig := podConfig(t, w.plane, attackerPod)
	attacker := w.raw(attackerConfig)
	waitForPolicy(t, attacker, victimPod)
	awaitRoles(w)

	// Holds and arrivals that there are to attack.
	podHold, err := victim.AcquireLease(ctx, "of-a-pod")
	w.ok(err)
	w.ok(victim.ArriveBarrier(ctx, "done", konductor.WithHolder("victim")))
	hold, err := alice.AcquireLease(ctx, "db", konductor.WithHolder("alice"))
	w.ok(err)
	ofPod := claimOf(w, root, konductorv1.KindLease, "of-a-pod")
	ofAlice := claimOf(w, root, konductorv1.KindLease, "db")
	if by := ofAlice.Annotations[konductorv1.CreatedByAnnotation]; by != "system:serviceaccount:default:alice" {
		t.Errorf("the claim of alice was made by %q, it says", by)
	}
	arrival := arrivalOf(w, admin, "victim")

	bossRaw := w.raw(boss)
	cut := strings.Repeat("long-", 12)
	refused := map[string]attempt{
		"a pod's claim that is bound to no pod":   {func() error { return attacker.create(namespace, "claims", unboundClaim("loose")) }, byPolicy, "set boundTo to {kind: Pod, name: attacker"},
		"a pod's arrival that is bound to no pod": {func() error { return attacker.create(namespace, "arrivals", anArrival("loose", "x", nil)) }, byPolicy, "set boundTo"},
		"a pod's arrival as another pod": {func() error {
			return attacker.create(namespace, "arrivals", anArrival("a1", "pod/victim", attackerPod))
		}, byPolicy, "is the name of another Pod"},
		"a pod's arrival as a job that it is not of": {func() error {
			return attacker.create(namespace, "arrivals", anArrival("a2", "job/extract", attackerPod))
		}, byPolicy, "is the name of a Job that pod/attacker is not of"},
		"a pod's arrival as an index of another job": {func() error {
			return attacker.create(namespace, "arrivals", anArrival("a3", "job/extract/3", attackerPod))
		}, byPolicy, "is not of"},
		"a pod's arrival as a long job of another": {func() error { return attacker.create(namespace, "arrivals", anArrival("a4", "job/"+cut, attackerPod)) }, byPolicy, "is not of"},
		"a pod's claim in another namespace":       {func() error { return attacker.create(elsewhere, "claims", unboundClaim("away")) }, byRBAC, ""},
		"a pod that deletes another pod's claim":   {func() error { return attacker.remove("claims", ofPod.Name) }, byPolicy, `the right to "break" lease/of-a-pod`},
		"a pod that renews another pod's claim":    {func() error { return attacker.patch("claims", ofPod.Name, `{"spec":{"renewals":9}}`) }, byPolicy, "belongs to pod victim"},
		"a pod that deletes a person's claim":      {func() error { return attacker.remove("claims", ofAlice.Name) }, byPolicy, "belongs to system:serviceaccount:default:alice"},
		"a pod that marks a hold as broken": {func() error {
			return attacker.patch("claims", ofAlice.Name, broken("system:serviceaccount:default:default"))
		}, byPolicy, "nobody else may change it"},
		"a pod that deletes an arrival":        {func() error { return attacker.remove("arrivals", arrival) }, byRBAC, ""},
		"a person who deletes another's claim": {func() error { return bob.remove("claims", ofAlice.Name) }, byPolicy, `the right to "break" lease/db`},
		"a person who renews another's claim":  {func() error { return bob.patch("claims", ofAlice.Name, `{"spec":{"renewals":9}}`) }, byPolicy, "belongs to system:serviceaccount:default:alice"},
		"a person who makes a claim for a pod": {func() error {
			return bob.create(namespace, "claims", claimYAML("for-pod", victimPod.Name, victimPod.UID))
		}, byPolicy, "boundTo must name the Pod that asks"},
		"a person who takes another's claim over":  {func() error { return bob.patch("claims", ofAlice.Name, createdBy("system:serviceaccount:default:bob")) }, byPolicy, "can't be changed"},
		"an editor who deletes a pod's claim":      {func() error { return editor.remove("claims", ofPod.Name) }, byPolicy, `the right to "break"`},
		"an editor who deletes all claims at once": {func() error { return editor.removeAll("claims") }, byPolicy, `the right to "break"`},
		"an editor who deletes an arrival":         {func() error { return editor.remove("arrivals", arrival) }, byPolicy, `the right to "break" barrier/done`},
		"an administrator who breaks silently":     {func() error { return bossRaw.remove("claims", ofAlice.Name) }, byPolicy, `use "kubectl konductor lease break db"`},
		"an administrator who blames somebody": {func() error {
			return bossRaw.patch("claims", ofAlice.Name, broken("system:serviceaccount:default:bob"))
		}, byPolicy, "must name who asks"},
		"an administrator who changes more": {func() error {
			return bossRaw.patch("claims", ofAlice.Name, `{"metadata":{"annotations":{"konductor.io/broken-by":"system:serviceaccount:default:boss"}},"spec":{"renewals":7}}`)
		}, byPolicy, "nobody else may change it"},
		"an administrator of the cluster who is silent": {func() error { return admin.remove("claims", ofPod.Name) }, byPolicy, "lease break of-a-pod"},
	}
	const generation = `{"status":{"observedGeneration":99}}`
	for object, status := range map[string]string{
		"barriers/done": generation, "gates/go": generation, "leases/db": generation, "semaphores/slots": generation,
		"claims/" + ofAlice.Name: `{"status":{"phase":"Expired"}}`,
	} {
		resource, name, _ := strings.Cut(object, "/")
		refused["an editor who writes the status of "+resource] = attempt{
			func() error { return editor.patch(resource, name, status, "status") }, byRBAC, "",
		}
		refused["a cluster administrator who writes the status of "+resource] = attempt{
			func() error { return admin.patch(resource, name, status, "status") }, "konductor-status", "by konductor's operator alone",
		}
	}
	for what, a := range refused {
		t.Run(what, func(t *testing.T) {
			switch err := a.do(); {
			case err == nil:
				t.Error("it was accepted")
			case !strings.Contains(err.Error(), a.by) || !strings.Contains(err.Error(), a.says):
				t.Errorf("it was refused, but not by %s saying %q: %v", a.by, a.says, err)
			}
		})
	}

	t.Run("a Pod with rights in another namespace is nobody's Pod there", func(t *testing.T) {
		w.bind("default", participant, elsewhere)
		eventually(t, "the pod has the right elsewhere", func() bool {
			err := attacker.create(elsewhere, "claims", claimYAML("bound", attackerPod.Name, attackerPod.UID))
			return err != nil && strings.Contains(err.Error(), "boundTo must name the Pod that asks")
		})
		w.ok(attacker.create(elsewhere, "claims", unboundClaim("loose")))
	})

	t.Run("nobody says who made a claim but the API server", func(t *testing.T) {
		w.ok(bob.create(namespace, "claims", strings.Replace(unboundClaim("forged"), `"name":"forged"`, `"name":"forged","annotations":{"konductor.io/created-by":"system:serviceaccount:default:alice"}`, 1)))
		forged := &konductorv1.Claim{}
		w.ok(admin.Get().Namespace(namespace).Resource("claims").Name("forged").Do(ctx).Into(forged))
		if by := forged.Annotations[konductorv1.CreatedByAnnotation]; by != "system:serviceaccount:default:bob" {
			t.Errorf("a claim that bob made for alice says that it was made by %q", by)
		}
		w.ok(bob.remove("claims", "forged"))
	})

	t.Run("what is one's own one may do", func(t *testing.T) {
		w.ok(attacker.create(namespace, "arrivals", anArrival("own", "pod/attacker", attackerPod)))
		w.ok(attacker.create(namespace, "arrivals", anArrival("free", "anything", attackerPod)))
		_, worker := pod(t, w.plane, "extract-3-x7k2p")
		own := w.raw(podConfig(t, w.plane, worker))
		w.ok(own.create(namespace, "arrivals", anArrival("own-job", "job/extract/3", worker)))
		_, long := pod(t, w.plane, cut[:57]+"-x7k2p")
		w.ok(w.raw(podConfig(t, w.plane, long)).create(namespace, "arrivals", anArrival("own-long-job", "job/"+cut[:58], long)))
		w.ok(hold.Renew(ctx))
		w.ok(podHold.Release(ctx))
	})

	t.Run("who breaks a hold needs the right, and stands in an Event", func(t *testing.T) {
		_, err := w.client(bobConfig).BreakLease(ctx, "db")
		if err == nil || !strings.Contains(err.Error(), "nobody else may change it") {
			t.Errorf("bob breaks a lease: %v", err)
		}
		_, err = w.client(boss).BreakLease(ctx, "db", konductor.DryRun())
		w.ok(err)
		w.ok(hold.Renew(ctx))
		_, err = w.client(boss).BreakLease(ctx, "db")
		w.ok(err)
		<-hold.Lost()
		event(w, "Lease", "db", "system:serviceaccount:default:boss took 1 permit away from alice")

		slot, err := alice.AcquireSemaphore(ctx, "slots", konductor.WithHolder("alice"))
		w.ok(err)
		_, err = w.client(boss).BreakSemaphore(ctx, "slots", konductor.WithHolder("alice"))
		w.ok(err)
		<-slot.Lost()
		event(w, "Semaphore", "slots", "system:serviceaccount:default:boss took 1 permit away from alice")
	})
}

// event waits for the Event of a broken hold.
func event(w *town, kind, name, message string) {
	w.Helper()
	eventually(w.T, "an event says who broke "+name, func() bool {
		events, err := w.kube.CoreV1().Events(namespace).List(w.Context(), metav1.ListOptions{FieldSelector: "involvedObject.name=" + name})
		w.ok(err)
		return slices.ContainsFunc(events.Items, func(e corev1.Event) bool {
			return e.InvolvedObject.Kind == kind && e.Reason == konductorv1.EventBroken && e.Message == message
		})
	})
}

func TestRoles(t *testing.T) {
	w := &town{T: t, plane: installed(t)}
	w.kube = kubernetes.NewForConfigOrDie(w.plane.Config())
	for _, role := range []string{"view", "edit", "admin", "konductor-participant"} {
		w.account(role, role, namespace)
	}
	awaitRoles(w)
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
			got := w.may("system:serviceaccount:default:"+account, namespace, test.verb, konductorv1.GroupName, test.resource)
			if want := slices.Contains(strings.Fields(test.may), account); got != want {
				t.Errorf("%s may %s %s: %v, want %v", account, test.verb, test.resource, got, want)
			}
			if w.may("system:serviceaccount:default:"+account, elsewhere, test.verb, konductorv1.GroupName, test.resource) {
				t.Errorf("%s may %s %s in another namespace", account, test.verb, test.resource)
			}
		}
	}
}

// What the operator could do with rights that it doesn't need is what an attacker could who takes it over.
func TestWhatTheOperatorMayNotDo(t *testing.T) {
	w := &town{T: t, plane: installed(t)}
	w.kube = kubernetes.NewForConfigOrDie(w.plane.Config())
	const account = "system:serviceaccount:konductor-system:konductor-operator"
	if !w.may(account, namespace, "update", konductorv1.GroupName, "leases/status") {
		t.Fatal("the operator may not even write the status of leases: this test would show nothing")
	}
	for _, in := range []string{namespace, systemNamespace, metav1.NamespaceAll} {
		for _, verb := range []string{"get", "list", "watch", "create", "update", "patch", "delete"} {
			for _, resource := range []string{"secrets", "configmaps", "serviceaccounts", "serviceaccounts/token", "pods/exec"} {
				if w.may(account, in, verb, "", resource) {
					t.Errorf("the operator may %s %s in namespace %q", verb, resource, in)
				}
			}
		}
		for _, right := range []struct{ verb, group, resource string }{
			{"create", "", "pods"},
			{"delete", "", "pods"},
			{"create", "batch", "jobs"},
			{"update", "batch", "jobs"},
			{"patch", "", "namespaces"},
			{"update", "konductor.io", "leases"},
			{"create", "konductor.io", "claims"},
			{"patch", "konductor.io", "claims"},
			{"create", "konductor.io", "arrivals"},
			{"escalate", "rbac.authorization.k8s.io", "roles"},
			{"create", "rbac.authorization.k8s.io", "rolebindings"},
			{"update", "apiextensions.k8s.io", "customresourcedefinitions"},
			{"delete", "admissionregistration.k8s.io", "validatingadmissionpolicies"},
			{"impersonate", "", "users"},
		} {
			if w.may(account, in, right.verb, right.group, right.resource) {
				t.Errorf("the operator may %s %s in namespace %q", right.verb, right.resource, in)
			}
		}
	}
}

func TestAQuotaBoundsTheClaimsOfANamespace(t *testing.T) {
	w := &town{T: t, plane: installed(t, "quotas."+namespace+".claims=3")}
	w.kube = kubernetes.NewForConfigOrDie(w.plane.Config())
	w.operate()
	spammer := w.raw(w.account("spammer", "konductor-participant", namespace))
	// The quota controller may take minutes to notice new resource types, unless it starts anew.
	const controllers = "kube-controller-manager"
	w.ok(w.plane.StopComponent(controllers, syscall.SIGKILL))
	w.ok(w.plane.StartComponent(t.Context(), controllers))
	n := 0
	eventually(t, "the quota is in force", func() bool {
		n++
		err := spammer.create(namespace, "claims", unboundClaim(fmt.Sprintf("junk-%d", n)))
		return err != nil && strings.Contains(err.Error(), "exceeded quota")
	})
	people := w.client(w.plane.Config())
	_, err := people.CreateLease(t.Context(), "db")
	w.ok(err)
	_, err = people.AcquireLease(t.Context(), "db")
	if err == nil || !strings.Contains(err.Error(), "exceeded quota") || strings.Contains(err.Error(), "to allow it") {
		t.Errorf("who has a right but no quota left is told: %v", err)
	}
	_, err = w.kube.CoreV1().ResourceQuotas(elsewhere).Get(t.Context(), "konductor", metav1.GetOptions{})
	if err == nil {
		t.Error("a namespace that wasn't named has a quota too")
	}
	neighbour, err := konductor.New(w.plane.Config(), konductor.InNamespace(elsewhere))
	w.ok(err)
	_, err = neighbour.CreateLease(t.Context(), "db")
	w.ok(err)
	hold, err := neighbour.AcquireLease(t.Context(), "db")
	w.ok(err)
	w.ok(hold.Release(t.Context()))
}

// may asks the API server whether an account has a right.
func (w *town) may(account, in, verb, group, resource string) bool {
	w.Helper()
	resource, sub, _ := strings.Cut(resource, "/")
	parts := strings.Split(account, ":")
	review, err := w.kube.AuthorizationV1().SubjectAccessReviews().Create(w.Context(), &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: account, Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + parts[2], "system:authenticated"},
		ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: in, Verb: verb, Group: group, Resource: resource, Subresource: sub},
	}}, metav1.CreateOptions{})
	w.ok(err)
	return review.Status.Allowed
}

// awaitRoles waits until the chart's roles have been added to the cluster's own.
func awaitRoles(w *town) {
	w.Helper()
	for role, verb := range map[string]string{"view": "list", "edit": "deletecollection", "admin": "break"} {
		eventually(w.T, "role "+role+" has konductor's rules", func() bool {
			r, err := w.kube.RbacV1().ClusterRoles().Get(w.Context(), role, metav1.GetOptions{})
			w.ok(err)
			return slices.ContainsFunc(r.Rules, func(rule rbacv1.PolicyRule) bool {
				return slices.Contains(rule.APIGroups, konductorv1.GroupName) && slices.Contains(rule.Verbs, verb)
			})
		})
	}
}

// claimOf returns the only claim on an object.
func claimOf(w *town, people *konductor.Client, kind, name string) *konductorv1.Claim {
	w.Helper()
	claims, err := people.ListClaims(w.Context(), kind, name)
	w.ok(err)
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

// arrivalOf returns the name of a participant's arrival.
func arrivalOf(w *town, admin raw, participant string) string {
	w.Helper()
	list := &konductorv1.ArrivalList{}
	w.ok(admin.Get().Namespace(namespace).Resource("arrivals").Param("fieldSelector", "spec.participant="+participant).Do(w.Context()).Into(list))
	if len(list.Items) != 1 {
		w.Fatalf("%d arrivals of %s", len(list.Items), participant)
	}
	return list.Items[0].Name
}

func unboundClaim(name string) string {
	return fmt.Sprintf(`{"apiVersion":"konductor.io/v1","kind":"Claim","metadata":{"name":%q},"spec":{"target":{"kind":"Lease","name":"elsewhere"},"holder":"x"}}`, name)
}

func anArrival(name, participant string, in *corev1.Pod) string {
	bound := ""
	if in != nil {
		bound = fmt.Sprintf(`,"boundTo":{"kind":"Pod","name":%q,"uid":%q}`, in.Name, in.UID)
	}
	return fmt.Sprintf(`{"apiVersion":"konductor.io/v1","kind":"Arrival","metadata":{"name":%q},"spec":{"barrier":"done","participant":%q%s}}`, name, participant, bound)
}

func broken(by string) string    { return annotation(konductorv1.BrokenByAnnotation, by) }
func createdBy(by string) string { return annotation(konductorv1.CreatedByAnnotation, by) }

func annotation(key, value string) string {
	return fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, key, value)
}

package integration

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

func TestWithoutRightsTheErrorNamesWhatIsMissingAndTheCommandThatHelps(t *testing.T) {
	w := newWorld(t)
	w.operator()
	w.newRole(participantRole, participantRules()...)
	const account = "outsider"
	w.serviceAccount(account, false)
	w.lease("db")
	barrierOf(w, "stage", 1)
	w.gate("deps", condition{Type: konductorv1.GateOnLease, Name: "db"})
	outsider := w.actorWith(w.accountConfig(account), "outsider")
	user := "system:serviceaccount:" + w.namespace + ":" + account
	command := "" // the same for all
	calls := map[string]func() error{
		"barriers.konductor.io": func() error { return outsider.ArriveBarrier(w.ctx, "stage") },
		"gates.konductor.io":    func() error { return outsider.WaitGate(w.ctx, "deps") },
		"leases.konductor.io": func() error {
			hold, err := outsider.AcquireLease(w.ctx, "db", outsider.as(nil)...)
			if err == nil {
				err = hold.Release(w.ctx)
			}
			return err
		},
	}
	for resource, call := range calls {
		err := wants[*konductor.ForbiddenError](w, call())
		if command == "" {
			command = err.Grant()
		}
		want := user + " may not get,list,watch " + resource + " in namespace " + w.namespace + "; to allow it: " + command
		if err.Error() != want {
			t.Errorf("the error is\n%s\nwant\n%s", err, want)
		}
		if err.Verb != "get,list,watch" || err.Resource != resource || err.Namespace != w.namespace || err.User != user {
			t.Errorf("in parts: %+v", err)
		}
	}
	w.createRoleBinding(command)
	w.awaitRight(outsider)
	for resource, call := range calls {
		if err := call(); err != nil {
			t.Errorf("with the right to %s: %v", resource, err)
		}
	}
	// Who may take part may not break, resize or delete, for which there are other rights.
	wants[*konductor.ForbiddenError](w, outsider.DeleteLease(w.ctx, "db"))
	_, err := outsider.ResizeSemaphore(w.ctx, "api", 3)
	if e := wants[*konductor.ForbiddenError](w, err); e.Verb != "patch" || e.Resource != "semaphores.konductor.io" {
		t.Errorf("forbidden was to %s %s", e.Verb, e.Resource)
	}
}

// createRoleBinding does what that kubectl command does, and accepts no other.
func (w *world) createRoleBinding(command string) {
	w.Helper()
	words := strings.Fields(command)
	if len(words) < 5 || strings.Join(words[:3], " ") != "kubectl create rolebinding" {
		w.Fatalf("%q creates no role binding", command)
	}
	binding := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: words[3]}}
	for _, word := range words[4:] {
		flag, value, _ := strings.Cut(word, "=")
		switch flag {
		case "--clusterrole":
			binding.RoleRef = rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: value}
		case "--serviceaccount":
			namespace, name, _ := strings.Cut(value, ":")
			binding.Subjects = []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: namespace, Name: name}}
		case "--namespace":
			binding.Namespace = value
		default:
			w.Fatalf("%s in %q", flag, command)
		}
	}
	_, err := w.kube.RbacV1().RoleBindings(binding.Namespace).Create(w.ctx, binding, metav1.CreateOptions{})
	w.ok(err)
}

// awaitRight waits until the API server has heard of a new right: its authorizer follows with a little delay.
func (w *world) awaitRight(a *actor) {
	w.Helper()
	deadline := time.Now().Add(patience)
	for {
		_, err := a.ListLeases(w.ctx)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			w.Fatal(err)
		}
	}
}

func TestARightThatIsMissingLaterInTheCallIsNamedToo(t *testing.T) {
	w := newWorld(t)
	w.operator()
	barrierOf(w, "stage", 1)
	w.lease("db")
	w.newRole("konductor-test-look-only", rbacv1.PolicyRule{
		APIGroups: []string{konductorv1.GroupName}, Resources: []string{"*"}, Verbs: []string{"get", "list", "watch"},
	})
	w.serviceAccount("looker", false)
	w.allow("konductor-test-look-only", "looker")
	looker := w.actorWith(w.accountConfig("looker"), "looker")
	w.awaitRight(looker)
	got := map[string]string{}
	for call, err := range map[string]error{
		"arrive":  looker.ArriveBarrier(w.ctx, "stage"),
		"acquire": looker.acquiring(konductorv1.KindLease, "db").fails(),
	} {
		e := wants[*konductor.ForbiddenError](w, err)
		got[call] = e.Verb + " " + e.Resource
	}
	want := map[string]string{"arrive": "create arrivals.konductor.io", "acquire": "create claims.konductor.io"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what is forbidden (-want +got):\n%s", diff)
	}
}

func TestUnknownCredentialsAreSaidToBe(t *testing.T) {
	w := newWorld(t)
	stranger := w.actorWith(w.tokenConfig("not-a-token"), "stranger")
	err := wants[*konductor.ForbiddenError](w, stranger.WaitBarrier(w.ctx, "stage"))
	if !err.Unauthorized || !strings.Contains(err.Error(), "doesn't accept these credentials") {
		t.Errorf("the error is %v", err)
	}
}

func TestWithoutAnOperatorWaitersAreToldAndLooksEnd(t *testing.T) {
	w := newWorld(t) // and no operator
	w.lease("db")
	w.semaphore("api", 1)
	barrierOf(w, "stage", 1)
	w.gate("deps", onJob("a"))
	// One that does not wait has no answer to give, and must not hang.
	look := w.someone("looker").acquiring(konductorv1.KindLease, "db", konductor.WithTimeout(0))

	type wait struct {
		call func(*actor)
		told string
	}
	waits := map[string]wait{
		"barrier":   {func(a *actor) { waiting(w, func() error { return a.WaitBarrier(w.ctx, "stage") }) }, "no operator has looked at barrier/stage for 5s: find out why with 'kubectl konductor doctor --namespace=" + w.namespace + "'"},
		"gate":      {func(a *actor) { waiting(w, func() error { return a.WaitGate(w.ctx, "deps") }) }, "no operator has looked at gate/deps for 5s: find out why with 'kubectl konductor doctor --namespace=" + w.namespace + "'"},
		"lease":     {func(a *actor) { a.acquiring(konductorv1.KindLease, "db", konductor.WithTimeout(20*time.Second)) }, "lease/db is free but no operator has answered for 5s: find out why with 'kubectl konductor doctor --namespace=" + w.namespace + "'"},
		"semaphore": {func(a *actor) { a.acquiring(konductorv1.KindSemaphore, "api", konductor.WithTimeout(20*time.Second)) }, "semaphore/api is free but no operator has answered for 5s: find out why with 'kubectl konductor doctor --namespace=" + w.namespace + "'"},
	}
	// Who has come by a kubeconfig is told of which cluster it is.
	kubeconfig := w.kubeconfigFor(w.kubeconfig, nil)
	called := inBackground(w, func() (answered, error) { return w.call(kubeconfig, "lease", "acquire", "db", "--timeout", "0"), nil })
	named := w.someone("named")
	var err error
	named.Client, err = konductor.New(w.config, konductor.InNamespace(w.namespace), konductor.InContext("my prod"), konductor.NotifyFunc(named.told.add))
	w.ok(err)
	named.acquiring(konductorv1.KindSemaphore, "api", konductor.WithTimeout(20*time.Second))

	actors := map[string]*actor{}
	for name, wait := range waits {
		actors[name] = w.someone(name)
		wait.call(actors[name])
	}
	for name, wait := range waits {
		actors[name].awaitSentence(wait.told)
	}
	named.awaitSentence("semaphore/api is free but no operator in the cluster of context my prod has answered for 5s: find out why with 'kubectl konductor doctor --context='my prod' --namespace=" + w.namespace + "'")
	want := answered{Code: 1, Err: "error: no operator in the cluster of context prod has answered the claim on lease/db within 10s: find out why with 'kubectl konductor doctor --context=prod --namespace=" + w.namespace + "'\n"}
	if diff := cmp.Diff(want, called.must()); diff != "" {
		t.Errorf("acquire of the command line (-want +got):\n%s", diff)
	}
	err = look.fails()
	if want := "no operator has answered the claim on lease/db within 10s"; !strings.Contains(err.Error(), want) {
		t.Errorf("the error is %q, want %q", err, want)
	}
	isGone(w, &konductorv1.Claim{ObjectMeta: metav1.ObjectMeta{Name: w.someone("looker").claimName(konductorv1.KindLease, get[*konductorv1.Lease](w, "db"))}})
}

func TestAWaitThatTheOperatorHasSeenIsNotBlamedOnIt(t *testing.T) {
	w := newWorld(t)
	w.operator()
	lease := w.lease("db")
	barrierOf(w, "stage", 1)
	hold := w.someone("holder").acquire(konductorv1.KindLease, "db", konductor.WithTTL(time.Hour))
	a := w.someone("a")
	waiter := waiting(w, func() error { return a.WaitBarrier(w.ctx, "stage") })
	queued := a.queue(konductorv1.KindLease, lease, konductor.WithTTL(time.Hour))
	isBarrier(w, "stage", konductorv1.BarrierWaiting)
	// Past the moment in which they would say so.
	<-time.After(7 * time.Second)
	arrive(w, "stage", "x")
	waiter.must()
	w.release(hold)
	w.release(queued.must())
	if _, all := a.told.next(); strings.Contains(all, "operator") {
		t.Errorf("told: %s", all)
	}
}

func TestAnAPIServerThatNeverAnswersIsGivenUpAndSaidSo(t *testing.T) {
	w := newWorld(t)
	nowhere := &rest.Config{Host: "https://127.0.0.1:1"}
	lost := w.actorWith(nowhere, "lost")
	forever := waiting(w, func() error { return lost.WaitBarrier(w.ctx, "stage") })
	limited := w.actorWith(nowhere, "limited").WaitBarrier(w.ctx, "stage", konductor.WithTimeout(time.Second))
	wants[*konductor.TimeoutError](w, limited)
	lost.awaitSentence("the API server can't be reached, trying again")
	if err := forever.fails(); !strings.Contains(err.Error(), "can't reach the API server") {
		t.Errorf("the error is %v", err)
	}
}

func TestANameIsNeeded(t *testing.T) {
	w := newWorld(t)
	a := w.someone("a")
	_, resize := a.ResizeSemaphore(w.ctx, "", 1)
	for call, err := range map[string]error{
		"WaitBarrier": a.WaitBarrier(w.ctx, ""), "DeleteLease": a.DeleteLease(w.ctx, ""), "ResizeSemaphore": resize,
		"AcquireLease": a.acquiring(konductorv1.KindLease, "").fails(),
	} {
		if err == nil || err.Error() != "a name is needed" {
			t.Errorf("%s: %v", call, err)
		}
	}
}

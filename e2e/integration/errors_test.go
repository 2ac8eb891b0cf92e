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

func TestForbiddenErrorNamesRightAndCommand(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	w.createClusterRole(participantRole, participantRules()...)
	const account = "outsider"
	w.createServiceAccount(account, false)
	w.createLease("db")
	createBarrier(w, "stage", 1)
	w.createGate("deps", condition{Type: konductorv1.GateOnLease, Name: "db"})
	outsider := w.newParticipantWithConfig(w.serviceAccountConfig(account), "outsider")
	user := "system:serviceaccount:" + w.namespace + ":" + account
	command := "" // the same for all
	calls := map[string]func() error{
		"barriers.konductor.io": func() error { return outsider.ArriveBarrier(w.ctx, "stage") },
		"gates.konductor.io":    func() error { return outsider.WaitGate(w.ctx, "deps") },
		"leases.konductor.io": func() error {
			hold, err := outsider.AcquireLease(w.ctx, "db", outsider.asHolder())
			if err == nil {
				err = hold.Release(w.ctx)
			}
			return err
		},
	}
	for resource, call := range calls {
		err := requireErrorAs[*konductor.ForbiddenError](w, call())
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
	w.applyRoleBindingCommand(command)
	w.waitForRight(outsider)
	for resource, call := range calls {
		if err := call(); err != nil {
			t.Errorf("with the right to %s: %v", resource, err)
		}
	}
	// A participant's rights don't include break, resize and delete.
	requireErrorAs[*konductor.ForbiddenError](w, outsider.DeleteLease(w.ctx, "db"))
	_, err := outsider.ResizeSemaphore(w.ctx, "api", 3)
	if e := requireErrorAs[*konductor.ForbiddenError](w, err); e.Verb != "patch" || e.Resource != "semaphores.konductor.io" {
		t.Errorf("forbidden was to %s %s", e.Verb, e.Resource)
	}
}

// applyRoleBindingCommand does what that kubectl command does, and accepts no other.
func (w *testEnv) applyRoleBindingCommand(command string) {
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
	w.must(err)
}

// waitForRight waits until the API server has observed a new right: its authorizer lags a little.
func (w *testEnv) waitForRight(a *testParticipant) {
	w.Helper()
	deadline := time.Now().Add(waitTimeout)
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

func TestForbiddenErrorOnCreate(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	createBarrier(w, "stage", 1)
	w.createLease("db")
	w.createClusterRole("konductor-test-look-only", rbacv1.PolicyRule{
		APIGroups: []string{konductorv1.GroupName}, Resources: []string{"*"}, Verbs: []string{"get", "list", "watch"},
	})
	w.createServiceAccount("looker", false)
	w.bindRole("konductor-test-look-only", "looker")
	looker := w.newParticipantWithConfig(w.serviceAccountConfig("looker"), "looker")
	w.waitForRight(looker)
	got := map[string]string{}
	for call, err := range map[string]error{
		"arrive":  looker.ArriveBarrier(w.ctx, "stage"),
		"acquire": looker.startAcquire(konductorv1.KindLease, "db").mustFail(),
	} {
		e := requireErrorAs[*konductor.ForbiddenError](w, err)
		got[call] = e.Verb + " " + e.Resource
	}
	want := map[string]string{"arrive": "create arrivals.konductor.io", "acquire": "create claims.konductor.io"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what is forbidden (-want +got):\n%s", diff)
	}
}

func TestUnauthorizedError(t *testing.T) {
	w := newTestEnv(t)
	stranger := w.newParticipantWithConfig(w.tokenConfig("not-a-token"), "stranger")
	err := requireErrorAs[*konductor.ForbiddenError](w, stranger.WaitBarrier(w.ctx, "stage"))
	if !err.Unauthorized || !strings.Contains(err.Error(), "doesn't accept these credentials") {
		t.Errorf("the error is %v", err)
	}
}

func TestNoOperatorNotifications(t *testing.T) {
	w := newTestEnv(t) // without an operator
	w.createLease("db")
	w.createSemaphore("api", 1)
	createBarrier(w, "stage", 1)
	w.createGate("deps", jobCondition("a"))
	// An acquire that doesn't wait gets no answer, and must not hang.
	look := w.newParticipant("looker").startAcquire(konductorv1.KindLease, "db", konductor.WithTimeout(0))

	type wait struct {
		call func(*testParticipant)
		told string
	}
	waits := map[string]wait{
		"barrier": {func(a *testParticipant) { runAsyncErr(w, func() error { return a.WaitBarrier(w.ctx, "stage") }) }, "no operator has reconciled barrier/stage within 5s: find out why with 'kubectl konductor doctor --namespace=" + w.namespace + "'"},
		"gate":    {func(a *testParticipant) { runAsyncErr(w, func() error { return a.WaitGate(w.ctx, "deps") }) }, "no operator has reconciled gate/deps within 5s: find out why with 'kubectl konductor doctor --namespace=" + w.namespace + "'"},
		"lease": {func(a *testParticipant) {
			a.startAcquire(konductorv1.KindLease, "db", konductor.WithTimeout(20*time.Second))
		}, "lease/db is free but no operator has answered for 5s: find out why with 'kubectl konductor doctor --namespace=" + w.namespace + "'"},
		"semaphore": {func(a *testParticipant) {
			a.startAcquire(konductorv1.KindSemaphore, "api", konductor.WithTimeout(20*time.Second))
		}, "semaphore/api is free but no operator has answered for 5s: find out why with 'kubectl konductor doctor --namespace=" + w.namespace + "'"},
	}
	// A client with a kubeconfig is told the name of its cluster.
	kubeconfig := w.writeKubeconfig(w.adminKubeconfig, nil)
	called := runAsync(w, func() (commandResult, error) {
		return w.runKoncli(kubeconfig, "lease", "acquire", "db", "--timeout", "0"), nil
	})
	named := w.newParticipant("named")
	var err error
	named.Client, err = konductor.New(w.adminConfig, konductor.InNamespace(w.namespace), konductor.InContext("my prod"), konductor.NotifyFunc(named.notifications.add))
	w.must(err)
	named.startAcquire(konductorv1.KindSemaphore, "api", konductor.WithTimeout(20*time.Second))

	actors := map[string]*testParticipant{}
	for name, wait := range waits {
		actors[name] = w.newParticipant(name)
		wait.call(actors[name])
	}
	for name, wait := range waits {
		actors[name].waitForNotification(wait.told)
	}
	named.waitForNotification("semaphore/api is free but no operator in the cluster of context my prod has answered for 5s: find out why with 'kubectl konductor doctor --context='my prod' --namespace=" + w.namespace + "'")
	want := commandResult{ExitCode: 1, Stderr: "error: no operator in the cluster of context prod has answered the claim on lease/db within 10s: find out why with 'kubectl konductor doctor --context=prod --namespace=" + w.namespace + "'\n"}
	if diff := cmp.Diff(want, called.mustSucceed()); diff != "" {
		t.Errorf("acquire of the command line (-want +got):\n%s", diff)
	}
	err = look.mustFail()
	if want := "no operator has answered the claim on lease/db within 10s"; !strings.Contains(err.Error(), want) {
		t.Errorf("the error is %q, want %q", err, want)
	}
	waitGone(w, &konductorv1.Claim{ObjectMeta: metav1.ObjectMeta{Name: w.newParticipant("looker").claimName(konductorv1.KindLease, getObject[*konductorv1.Lease](w, "db"))}})
}

func TestNoOperatorWarningWhileOperatorRuns(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	lease := w.createLease("db")
	createBarrier(w, "stage", 1)
	hold := w.newParticipant("holder").mustAcquire(konductorv1.KindLease, "db", konductor.WithTTL(time.Hour))
	a := w.newParticipant("a")
	waiter := runAsyncErr(w, func() error { return a.WaitBarrier(w.ctx, "stage") })
	queued := a.enqueue(konductorv1.KindLease, lease, konductor.WithTTL(time.Hour))
	waitBarrierPhase(w, "stage", konductorv1.BarrierWaiting)
	// Wait past the time at which they would report it.
	<-time.After(7 * time.Second)
	arriveInOrder(w, "stage", "x")
	waiter.mustSucceed()
	w.mustRelease(hold)
	w.mustRelease(queued.mustSucceed())
	if _, all := a.notifications.snapshot(); strings.Contains(all, "operator") {
		t.Errorf("told: %s", all)
	}
}

func TestUnreachableAPIServer(t *testing.T) {
	w := newTestEnv(t)
	nowhere := &rest.Config{Host: "https://127.0.0.1:1"}
	lost := w.newParticipantWithConfig(nowhere, "lost")
	forever := runAsyncErr(w, func() error { return lost.WaitBarrier(w.ctx, "stage") })
	limited := w.newParticipantWithConfig(nowhere, "limited").WaitBarrier(w.ctx, "stage", konductor.WithTimeout(time.Second))
	requireErrorAs[*konductor.TimeoutError](w, limited)
	lost.waitForNotification("the API server can't be reached, trying again")
	if err := forever.mustFail(); !strings.Contains(err.Error(), "can't reach the API server") {
		t.Errorf("the error is %v", err)
	}
}

func TestEmptyNameRejected(t *testing.T) {
	w := newTestEnv(t)
	a := w.newParticipant("a")
	_, resize := a.ResizeSemaphore(w.ctx, "", 1)
	for call, err := range map[string]error{
		"WaitBarrier": a.WaitBarrier(w.ctx, ""), "DeleteLease": a.DeleteLease(w.ctx, ""), "ResizeSemaphore": resize,
		"AcquireLease": a.startAcquire(konductorv1.KindLease, "").mustFail(),
	} {
		if err == nil || err.Error() != "a name is required" {
			t.Errorf("%s: %v", call, err)
		}
	}
}

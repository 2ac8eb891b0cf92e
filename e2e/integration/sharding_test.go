package integration

import (
	"slices"
	"testing"

	"golang.org/x/sync/errgroup"
	authenticationv1 "k8s.io/api/authentication/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/chart"
	"github.com/LogicIQ/konductor/operator"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// inNamespace returns the same environment with another namespace.
func (w *testEnv) inNamespace(namespace string) *testEnv {
	other := *w
	other.namespace = namespace
	return &other
}

// shard is a release of the chart: an operator for some namespaces, with exactly the rights that the chart gives it there. It
// elects its leader in a namespace of its own.
type shard struct {
	*testEnv
	electionNamespace string
	config            *rest.Config
	rbacObjects       []*unstructured.Unstructured
	operator          *runningOperator
}

// startShard installs a release for some namespaces and starts its operator.
func (w *testEnv) startShard(namespaces ...string) *shard {
	w.Helper()
	s := &shard{testEnv: w, electionNamespace: w.createNamespace()}
	s.applyRBAC(namespaces)
	day := int64(24 * 60 * 60)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &day}}
	token, err := w.kube.CoreV1().ServiceAccounts(s.electionNamespace).CreateToken(w.ctx, "konductor-operator", request, metav1.CreateOptions{})
	w.must(err)
	s.config = rest.AnonymousClientConfig(w.adminConfig)
	s.config.BearerToken = token.Status.Token
	s.operator = s.startShardOperator(namespaces)
	s.waitForNewLeader("")
	return s
}

// upgrade changes the namespaces of a release, as Kubernetes rolls it out: the rights change first, under the operator that still
// runs; the next one starts beside it, and leads once the previous one has ended.
func (s *shard) upgrade(namespaces ...string) {
	s.Helper()
	s.applyRBAC(namespaces)
	before := s.leader()
	next := s.startShardOperator(namespaces)
	s.operator.stop()
	s.operator = next
	s.waitForNewLeader(before)
}

// startShardOperator starts an operator, which leads unless another of the same release does.
func (s *shard) startShardOperator(namespaces []string) *runningOperator {
	s.Helper()
	return s.startOperatorWith(func(o *operator.Options) {
		o.Config, o.Namespaces = rest.CopyConfig(s.config), namespaces
		o.LeaderElection, o.LeaderElectionNamespace = true, s.electionNamespace
	})
}

// applyRBAC creates the account and the rights that the chart has for these namespaces, and deletes all others.
func (s *shard) applyRBAC(namespaces []string) {
	s.Helper()
	watched := make([]any, len(namespaces))
	for i, n := range namespaces {
		watched[i] = n
	}
	version, err := s.kube.Discovery().ServerVersion()
	s.must(err)
	rendered, err := chart.Render(chart.Release{Namespace: s.electionNamespace, KubeVersion: version.GitVersion, Service: "Helm"}, map[string]any{
		"watchNamespaces": watched, "crds": map[string]any{"install": false},
		"admissionPolicy": false, "participantRole": false, "aggregatedRoles": false,
	})
	s.must(err)
	var rights []*unstructured.Unstructured
	for _, obj := range rendered.Objects {
		switch obj.GetKind() {
		case "ServiceAccount", "Role", "RoleBinding":
			rights = append(rights, obj)
			if err := s.client.Create(s.ctx, obj.DeepCopy()); !apierrors.IsAlreadyExists(err) {
				s.must(err)
			}
		case "ClusterRole", "ClusterRoleBinding":
			s.Fatalf("a release for some namespaces has %s %s", obj.GetKind(), obj.GetName())
		}
	}
	for _, old := range s.rbacObjects {
		if !slices.ContainsFunc(rights, func(r *unstructured.Unstructured) bool {
			return r.GetKind() == old.GetKind() && r.GetNamespace() == old.GetNamespace() && r.GetName() == old.GetName()
		}) {
			s.must(s.client.Delete(s.ctx, old))
		}
	}
	s.rbacObjects = rights
}

// leader returns the leader of a release's operators.
func (s *shard) leader() string {
	s.Helper()
	election, err := s.kube.CoordinationV1().Leases(s.electionNamespace).Get(s.ctx, operator.LeaderElectionID, metav1.GetOptions{})
	s.must(err)
	if election.Spec.HolderIdentity == nil {
		return ""
	}
	return *election.Spec.HolderIdentity
}

// waitForNewLeader waits until another operator leads.
func (s *shard) waitForNewLeader(before string) {
	s.Helper()
	stream, err := s.kube.CoordinationV1().Leases(s.electionNamespace).Watch(s.ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + operator.LeaderElectionID})
	s.must(err)
	defer stream.Stop()
	for e := range stream.ResultChan() {
		election, ok := e.Object.(*coordinationv1.Lease)
		if ok && election.Spec.HolderIdentity != nil && *election.Spec.HolderIdentity != "" && *election.Spec.HolderIdentity != before {
			return
		}
	}
	s.Fatalf("nobody but %q came to lead", before)
}

// contendForBoth lets participants contend for the lease "db" and the semaphore "api" of a namespace.
func (w *testEnv) contendForBoth(people []*testParticipant, turns int) error {
	var both errgroup.Group
	half := len(people) / 2
	both.Go(func() error {
		return contend(w, &criticalSection{env: w, permits: 1}, people[:half], turns, konductorv1.KindLease, "db", onePermit)
	})
	both.Go(func() error {
		return contend(w, &criticalSection{env: w, permits: 2}, people[half:], turns, konductorv1.KindSemaphore, "api", onePermit)
	})
	return both.Wait()
}

// createContendedObjects creates that lease and that semaphore, and another lease, "held", and checks all of their revisions.
func (w *testEnv) createContendedObjects() {
	w.Helper()
	w.createLease("db")
	w.createLease("held")
	w.createSemaphore("api", 2)
	w.checkRevisions(konductorv1.KindLease, "db")
	w.checkRevisions(konductorv1.KindLease, "held")
	w.checkRevisions(konductorv1.KindSemaphore, "api")
}

func TestTwoShards(t *testing.T) {
	a := newTestEnv(t)
	b, nobodys := a.inNamespace(a.createNamespace()), a.inNamespace(a.createNamespace())
	ofA, ofB := a.startShard(a.namespace), a.startShard(b.namespace)
	for _, w := range []*testEnv{a, b} {
		w.createContendedObjects()
	}
	orphan := &konductorv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "orphan"}}
	nobodys.createObjects(orphan)
	waits := nobodys.newParticipant("patient").startAcquire(konductorv1.KindLease, "orphan", konductor.WithTTL(waitTimeout))

	// Different numbers of grants, so that each operator's count shows which ones were its own.
	var both errgroup.Group
	const turns = 3
	inA, inB := a.newParticipants(numberedNames("a", 4)...), b.newParticipants(numberedNames("b", 6)...)
	both.Go(func() error { return a.contendForBoth(inA, turns) })
	both.Go(func() error { return b.contendForBoth(inB, turns) })
	a.must(both.Wait())
	for s, want := range map[*shard]int{ofA: len(inA) * turns, ofB: len(inB) * turns} {
		if got := int(s.operator.counterSum("konductor_grants_total")); got != want {
			t.Errorf("the operator in %s has made %d grants, want %d", s.electionNamespace, got, want)
		}
	}
	if x, y := ofA.leader(), ofB.leader(); x == "" || y == "" || x == y {
		t.Errorf("%q leads in one release and %q in the other", x, y)
	}
	stranger, err := client.New(ofA.config, client.Options{Scheme: a.client.Scheme()})
	a.must(err)
	lease := &konductorv1.Lease{}
	err = stranger.Get(a.ctx, client.ObjectKey{Namespace: b.namespace, Name: "db"}, lease)
	if !apierrors.IsForbidden(err) {
		t.Errorf("an operator reads a namespace that is not its own: %v", err)
	}

	// While one operator is stopped the other one goes on, and holders in the first one's namespace keep their holds.
	hold := a.newParticipant("holder").mustAcquire(konductorv1.KindLease, "held", konductor.WithTTL(waitTimeout))
	next := a.newParticipant("next").startAcquire(konductorv1.KindLease, "held", konductor.WithTTL(waitTimeout))
	ofA.operator.stop()
	b.must(b.contendForBoth(inB, turns))
	next.mustBePending()
	select {
	case <-hold.Lost():
		t.Error("a hold was lost when the operator stopped")
	default:
	}
	a.mustRelease(hold)
	ofA.operator = ofA.startShardOperator([]string{a.namespace})
	if token := next.mustSucceed().Token(); token <= hold.Token() {
		t.Errorf("token %d was granted after %d", token, hold.Token())
	}

	waits.mustBePending()
	a.must(a.client.Get(a.ctx, client.ObjectKeyFromObject(orphan), orphan))
	if orphan.Status.ObservedGeneration != 0 {
		t.Error("an operator has written to a namespace that is nobody's")
	}
	// A waiter in that namespace is served when an operator takes the namespace over.
	ofB.upgrade(b.namespace, nobodys.namespace)
	waits.mustSucceed()
}

// moveStep is a change of one of the two operators between which a namespace moves.
type moveStep struct {
	change func(m *namespaceMove)
	// nobodyServes says that no operator serves the namespace afterwards, and bothServe that both do.
	nobodyServes, bothServe bool
}

// namespaceMove is a namespace that moves from one operator to another, each of which has another namespace besides.
type namespaceMove struct {
	source, destination                              *shard
	namespace, sourceNamespace, destinationNamespace string
}

func (m *namespaceMove) removeFromSource() { m.source.upgrade(m.sourceNamespace) }
func (m *namespaceMove) addToDestination() {
	m.destination.upgrade(m.destinationNamespace, m.namespace)
}

// swapDirection makes the next move go back.
func (m *namespaceMove) swapDirection() {
	m.source, m.destination, m.sourceNamespace, m.destinationNamespace = m.destination, m.source, m.destinationNamespace, m.sourceNamespace
}

// waitBothGrant lets participants work in the namespace only, until each of the two operators has granted something.
func (m *namespaceMove) waitBothGrant(w *testEnv, people []*testParticipant) {
	w.Helper()
	const grants = "konductor_grants_total"
	before := [2]float64{m.source.operator.counterSum(grants), m.destination.operator.counterSum(grants)}
	for rounds := 1; w.ctx.Err() == nil; rounds++ {
		w.must(w.contendForBoth(people, 1))
		if m.source.operator.counterSum(grants) > before[0] && m.destination.operator.counterSum(grants) > before[1] {
			w.Logf("both operators have granted after %d rounds", rounds)
			return
		}
	}
	w.Fatal("one of the operators never got to grant")
}

func TestNamespaceMovesBetweenShards(t *testing.T) {
	giveUp, takeOver := moveStep{change: (*namespaceMove).removeFromSource}, moveStep{change: (*namespaceMove).addToDestination, bothServe: true}
	back := moveStep{change: func(m *namespaceMove) { m.swapDirection(); m.addToDestination() }, bothServe: true}
	for name, moves := range map[string][]moveStep{
		"given up, then taken over":                {{change: (*namespaceMove).removeFromSource, nobodyServes: true}, {change: (*namespaceMove).addToDestination}},
		"taken over, so that both act for a while": {takeOver, giveUp},
		"there and back, always with both":         {takeOver, giveUp, back, giveUp},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTestEnv(t)
			ofFrom, ofTo := w.inNamespace(w.createNamespace()), w.inNamespace(w.createNamespace())
			m := &namespaceMove{namespace: w.namespace, sourceNamespace: ofFrom.namespace, destinationNamespace: ofTo.namespace}
			m.source, m.destination = w.startShard(m.sourceNamespace, m.namespace), w.startShard(m.destinationNamespace)
			places := []*testEnv{w, ofFrom, ofTo}
			people := make([][]*testParticipant, len(places))
			holds := make([]*konductor.Hold, len(places))
			next := make([]*future[*konductor.Hold], len(places))
			for i, place := range places {
				place.createContendedObjects()
				people[i] = place.newParticipants(numberedNames("p", 6)...)
				holds[i] = place.newParticipant("holder").mustAcquire(konductorv1.KindLease, "held", konductor.WithTTL(waitTimeout))
				next[i] = place.newParticipant("next").startAcquire(konductorv1.KindLease, "held", konductor.WithTTL(waitTimeout))
			}
			const turns = 2
			atWork := func() *errgroup.Group {
				var all errgroup.Group
				for i, place := range places {
					all.Go(func() error { return place.contendForBoth(people[i], turns) })
				}
				return &all
			}

			// Participants work during each move, and until an operator serves the namespace again.
			working := atWork()
			for _, move := range moves {
				move.change(m)
				if move.nobodyServes {
					continue
				}
				w.must(working.Wait())
				if move.bothServe {
					m.waitBothGrant(w, people[0])
				}
				working = atWork()
			}
			w.must(working.Wait())

			for i, place := range places {
				next[i].mustBePending()
				select {
				case <-holds[i].Lost():
					t.Errorf("a hold in %s was lost", place.namespace)
				default:
				}
				lease := &konductorv1.Lease{}
				w.must(w.client.Get(w.ctx, client.ObjectKey{Namespace: place.namespace, Name: "held"}, lease))
				if lease.Status.Holder != "holder" || lease.Status.FencingToken != holds[i].Token() {
					t.Errorf("%q holds the lease with token %d; it was holder with %d", lease.Status.Holder, lease.Status.FencingToken, holds[i].Token())
				}
				place.mustRelease(holds[i])
				if token := next[i].mustSucceed().Token(); token <= holds[i].Token() {
					t.Errorf("token %d was granted after %d", token, holds[i].Token())
				}
			}
		})
	}
}

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
	"github.com/LogicIQ/konductor/operator"
	"github.com/LogicIQ/konductor/plugins/konductor/chart"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// seenFrom returns the same world seen from another namespace.
func (w *world) seenFrom(namespace string) *world {
	other := *w
	other.namespace = namespace
	return &other
}

// shard is a release of the chart: an operator for some namespaces, with the rights that the chart gives it there and no others. It
// elects its leader in a namespace of its own.
type shard struct {
	*world
	home   string
	config *rest.Config
	rights []*unstructured.Unstructured
	op     *operation
}

// shard installs a release for some namespaces and starts its operator.
func (w *world) shard(namespaces ...string) *shard {
	w.Helper()
	s := &shard{world: w, home: w.newNamespace()}
	s.grant(namespaces)
	day := int64(24 * 60 * 60)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &day}}
	token, err := w.kube.CoreV1().ServiceAccounts(s.home).CreateToken(w.ctx, "konductor-operator", request, metav1.CreateOptions{})
	w.ok(err)
	s.config = rest.AnonymousClientConfig(w.config)
	s.config.BearerToken = token.Status.Token
	s.op = s.start(namespaces)
	s.awaitLeader("")
	return s
}

// upgrade gives a release other namespaces, as Kubernetes rolls it out: the rights change first, under the operator that
// still runs; the next one starts beside it, and leads once the one before has ended.
func (s *shard) upgrade(namespaces ...string) {
	s.Helper()
	s.grant(namespaces)
	before := s.leader()
	next := s.start(namespaces)
	s.op.stop()
	s.op = next
	s.awaitLeader(before)
}

// start starts an operator, which leads unless another of the same release does.
func (s *shard) start(namespaces []string) *operation {
	s.Helper()
	return s.operatorWith(func(o *operator.Options) {
		o.Config, o.Namespaces = rest.CopyConfig(s.config), namespaces
		o.LeaderElection, o.LeaderElectionNamespace = true, s.home
	})
}

// grant creates the account and the rights that the chart has for these namespaces, and takes the others away.
func (s *shard) grant(namespaces []string) {
	s.Helper()
	watched := make([]any, len(namespaces))
	for i, n := range namespaces {
		watched[i] = n
	}
	version, err := s.kube.Discovery().ServerVersion()
	s.ok(err)
	rendered, err := chart.Render(chart.Release{Namespace: s.home, KubeVersion: version.GitVersion, Service: "Helm"}, map[string]any{
		"watchNamespaces": watched, "crds": map[string]any{"install": false},
		"admissionPolicy": false, "participantRole": false, "aggregatedRoles": false,
	})
	s.ok(err)
	var rights []*unstructured.Unstructured
	for _, obj := range rendered.Objects {
		switch obj.GetKind() {
		case "ServiceAccount", "Role", "RoleBinding":
			rights = append(rights, obj)
			if err := s.objects.Create(s.ctx, obj.DeepCopy()); !apierrors.IsAlreadyExists(err) {
				s.ok(err)
			}
		case "ClusterRole", "ClusterRoleBinding":
			s.Fatalf("a release for some namespaces has %s %s", obj.GetKind(), obj.GetName())
		}
	}
	for _, old := range s.rights {
		if !slices.ContainsFunc(rights, func(r *unstructured.Unstructured) bool {
			return r.GetKind() == old.GetKind() && r.GetNamespace() == old.GetNamespace() && r.GetName() == old.GetName()
		}) {
			s.ok(s.objects.Delete(s.ctx, old))
		}
	}
	s.rights = rights
}

// leader returns who leads the operators of a release.
func (s *shard) leader() string {
	s.Helper()
	election, err := s.kube.CoordinationV1().Leases(s.home).Get(s.ctx, operator.LeaderElectionID, metav1.GetOptions{})
	s.ok(err)
	if election.Spec.HolderIdentity == nil {
		return ""
	}
	return *election.Spec.HolderIdentity
}

// awaitLeader waits until somebody else leads.
func (s *shard) awaitLeader(before string) {
	s.Helper()
	stream, err := s.kube.CoordinationV1().Leases(s.home).Watch(s.ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + operator.LeaderElectionID})
	s.ok(err)
	defer stream.Stop()
	for e := range stream.ResultChan() {
		election, ok := e.Object.(*coordinationv1.Lease)
		if ok && election.Spec.HolderIdentity != nil && *election.Spec.HolderIdentity != "" && *election.Spec.HolderIdentity != before {
			return
		}
	}
	s.Fatalf("nobody but %q came to lead", before)
}

// work has people take turns on the lease "db" and the semaphore "api" of a namespace.
func (w *world) work(people []*actor, turns int) error {
	var both errgroup.Group
	half := len(people) / 2
	both.Go(func() error {
		return hammer(w, &room{w: w, permits: 1}, people[:half], turns, konductorv1.KindLease, "db", one)
	})
	both.Go(func() error {
		return hammer(w, &room{w: w, permits: 2}, people[half:], turns, konductorv1.KindSemaphore, "api", one)
	})
	return both.Wait()
}

// workplace creates that lease and that semaphore, and another lease, "held", and watches all of their revisions.
func (w *world) workplace() {
	w.Helper()
	w.lease("db")
	w.lease("held")
	w.semaphore("api", 2)
	w.witness(konductorv1.KindLease, "db")
	w.witness(konductorv1.KindLease, "held")
	w.witness(konductorv1.KindSemaphore, "api")
}

func TestTwoOperatorsEachDecideInTheirNamespacesOnly(t *testing.T) {
	a := newWorld(t)
	b, nobodys := a.seenFrom(a.newNamespace()), a.seenFrom(a.newNamespace())
	ofA, ofB := a.shard(a.namespace), a.shard(b.namespace)
	for _, w := range []*world{a, b} {
		w.workplace()
	}
	orphan := &konductorv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "orphan"}}
	nobodys.create(orphan)
	waits := nobodys.someone("patient").acquiring(konductorv1.KindLease, "orphan", konductor.WithTTL(patience))

	// Different numbers of grants, so that each operator's count says whose they were.
	var both errgroup.Group
	const turns = 3
	inA, inB := a.people(numbered("a", 4)...), b.people(numbered("b", 6)...)
	both.Go(func() error { return a.work(inA, turns) })
	both.Go(func() error { return b.work(inB, turns) })
	a.ok(both.Wait())
	for s, want := range map[*shard]int{ofA: len(inA) * turns, ofB: len(inB) * turns} {
		if got := int(s.op.counter("konductor_grants_total")); got != want {
			t.Errorf("the operator in %s has made %d grants, want %d", s.home, got, want)
		}
	}
	if x, y := ofA.leader(), ofB.leader(); x == "" || y == "" || x == y {
		t.Errorf("%q leads in one release and %q in the other", x, y)
	}
	stranger, err := client.New(ofA.config, client.Options{Scheme: a.objects.Scheme()})
	a.ok(err)
	lease := &konductorv1.Lease{}
	err = stranger.Get(a.ctx, client.ObjectKey{Namespace: b.namespace, Name: "db"}, lease)
	if !apierrors.IsForbidden(err) {
		t.Errorf("an operator reads a namespace that is not its own: %v", err)
	}

	// While one is away the other goes on, and who holds a lease of the one that is away keeps it.
	hold := a.someone("holder").acquire(konductorv1.KindLease, "held", konductor.WithTTL(patience))
	next := a.someone("next").acquiring(konductorv1.KindLease, "held", konductor.WithTTL(patience))
	ofA.op.stop()
	b.ok(b.work(inB, turns))
	next.pending()
	select {
	case <-hold.Lost():
		t.Error("a hold was lost when the operator stopped")
	default:
	}
	a.release(hold)
	ofA.op = ofA.start([]string{a.namespace})
	if token := next.must().Token(); token <= hold.Token() {
		t.Errorf("token %d was granted after %d", token, hold.Token())
	}

	waits.pending()
	a.ok(a.objects.Get(a.ctx, client.ObjectKeyFromObject(orphan), orphan))
	if orphan.Status.ObservedGeneration != 0 {
		t.Error("an operator has written to a namespace that is nobody's")
	}
	// Whoever waits there is let off when somebody takes the namespace.
	ofB.upgrade(b.namespace, nobodys.namespace)
	waits.must()
}

// move is a change of one of two operators between which a namespace goes.
type move struct {
	change func(m *moving)
	// unserved says that nobody decides in the namespace afterwards, and both that both do.
	unserved, both bool
}

// moving is a namespace that goes from one operator to another, each of which has another namespace besides.
type moving struct {
	from, to           *shard
	what, ofFrom, ofTo string
}

func (m *moving) giveUp()   { m.from.upgrade(m.ofFrom) }
func (m *moving) takeOver() { m.to.upgrade(m.ofTo, m.what) }

// turnRound makes the next move one back.
func (m *moving) turnRound() { m.from, m.to, m.ofFrom, m.ofTo = m.to, m.from, m.ofTo, m.ofFrom }

// bothGrant has people work in the namespace, and nowhere else, until each of the two operators has granted something.
func (m *moving) bothGrant(w *world, people []*actor) {
	w.Helper()
	const grants = "konductor_grants_total"
	before := [2]float64{m.from.op.counter(grants), m.to.op.counter(grants)}
	for rounds := 1; w.ctx.Err() == nil; rounds++ {
		w.ok(w.work(people, 1))
		if m.from.op.counter(grants) > before[0] && m.to.op.counter(grants) > before[1] {
			w.Logf("both operators have granted after %d rounds", rounds)
			return
		}
	}
	w.Fatal("one of the operators never got to grant")
}

func TestANamespaceGoesFromOneOperatorToAnother(t *testing.T) {
	giveUp, takeOver := move{change: (*moving).giveUp}, move{change: (*moving).takeOver, both: true}
	back := move{change: func(m *moving) { m.turnRound(); m.takeOver() }, both: true}
	for name, moves := range map[string][]move{
		"given up, then taken over":                {{change: (*moving).giveUp, unserved: true}, {change: (*moving).takeOver}},
		"taken over, so that both act for a while": {takeOver, giveUp},
		"there and back, always with both":         {takeOver, giveUp, back, giveUp},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			ofFrom, ofTo := w.seenFrom(w.newNamespace()), w.seenFrom(w.newNamespace())
			m := &moving{what: w.namespace, ofFrom: ofFrom.namespace, ofTo: ofTo.namespace}
			m.from, m.to = w.shard(m.ofFrom, m.what), w.shard(m.ofTo)
			places := []*world{w, ofFrom, ofTo}
			people := make([][]*actor, len(places))
			holds := make([]*konductor.Hold, len(places))
			next := make([]*future[*konductor.Hold], len(places))
			for i, place := range places {
				place.workplace()
				people[i] = place.people(numbered("p", 6)...)
				holds[i] = place.someone("holder").acquire(konductorv1.KindLease, "held", konductor.WithTTL(patience))
				next[i] = place.someone("next").acquiring(konductorv1.KindLease, "held", konductor.WithTTL(patience))
			}
			const turns = 2
			atWork := func() *errgroup.Group {
				var all errgroup.Group
				for i, place := range places {
					all.Go(func() error { return place.work(people[i], turns) })
				}
				return &all
			}

			// People work during each move, and go on until somebody decides again.
			working := atWork()
			for _, move := range moves {
				move.change(m)
				if move.unserved {
					continue
				}
				w.ok(working.Wait())
				if move.both {
					m.bothGrant(w, people[0])
				}
				working = atWork()
			}
			w.ok(working.Wait())

			for i, place := range places {
				next[i].pending()
				select {
				case <-holds[i].Lost():
					t.Errorf("a hold in %s was lost", place.namespace)
				default:
				}
				lease := &konductorv1.Lease{}
				w.ok(w.objects.Get(w.ctx, client.ObjectKey{Namespace: place.namespace, Name: "held"}, lease))
				if lease.Status.Holder != "holder" || lease.Status.FencingToken != holds[i].Token() {
					t.Errorf("%q holds the lease with token %d; it was holder with %d", lease.Status.Holder, lease.Status.FencingToken, holds[i].Token())
				}
				place.release(holds[i])
				if token := next[i].must().Token(); token <= holds[i].Token() {
					t.Errorf("token %d was granted after %d", token, holds[i].Token())
				}
			}
		})
	}
}

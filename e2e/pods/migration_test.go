package pods

import (
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

func TestReplicasMigrateOneAtATimeAndTheNextTakesOverWhenOneIsKilled(t *testing.T) {
	s := newScene(t, "migration")
	leases := watching[*konductorv1.Lease](s)

	// Long enough to be killed in the middle.
	s.given("examples/migration/migration.yaml", script("sleep 2", "sleep 4"))
	victim := s.runs(1, "app-", "migrate")[0]
	leases.awaitOne("db-migration", "held by "+victim.Name, func(l *konductorv1.Lease) bool { return l.Status.Holder == victim.Name })
	s.delete(victim.DeepCopy(), client.GracePeriodSeconds(0))

	next := leases.awaitOne("db-migration", "held by the next", func(l *konductorv1.Lease) bool { return held(l) && l.Status.Holder != victim.Name })
	s.runs(5, "app-", "serve")
	leases.awaitOne("db-migration", "free", func(l *konductorv1.Lease) bool { return !held(l) })

	gone := s.pods.first("the victim gone", func(e entry[*corev1.Pod]) bool { return e.obj.UID == victim.UID && e.deleted })
	all := grants(leases, "db-migration")
	taken := all[slices.IndexFunc(all, func(g grant) bool { return g.Holder == next.Status.Holder })]
	took := taken.seen.Sub(gone.seen)
	t.Logf("%s had the lease %s after the holder's Pod was gone", taken.Holder, took.Round(time.Millisecond))
	if took > atOnce {
		t.Errorf("it took %s to hand over the lease of a Pod that was killed", took)
	}
	if ended := endOf(all, victim.Name); ended <= gone.revision {
		t.Errorf("the victim's hold ended at revision %d, while its Pod was there until %d", ended, gone.revision)
	}
	if len(all) != 6 {
		t.Errorf("there were %d grants, not one for each of five replicas and the one killed", len(all))
	}
	checkOneAtATime(s, all)
}

// endOf returns the revision at which the hold of that holder ended.
func endOf(all []grant, holder string) uint64 {
	for _, g := range all {
		if g.Holder == holder {
			return g.to
		}
	}
	return 0
}

// checkOneAtATime checks by the Pods alone that never two migrated at the same time, and that nobody did without the
// lease.
func checkOneAtATime(s *scene, all []grant) {
	s.Helper()
	migrating := func(pod *corev1.Pod) bool { return running(pod, "migrate") && !finished(pod) }
	if most := s.pods.most(migrating); most != 1 {
		s.Errorf("%d Pods migrated at the same time", most)
	}
	granted := map[string]uint64{}
	for _, g := range all {
		granted[g.Holder] = g.from
	}
	for _, e := range s.pods.history() {
		if from, ok := granted[e.obj.Name]; started(e.obj, "migrate") && (!ok || e.revision <= from) {
			s.Errorf("%s migrated at revision %d; it was granted the lease at %d", e.obj.Name, e.revision, from)
		}
	}
	// From the end of lock to the beginning of unlock a Pod holds for certain, by the container runtime's own clock.
	type turn struct {
		pod      string
		from, to time.Time
	}
	var turns []turn
	for name, pod := range s.pods.state() {
		if lock := ended(pod, "lock"); strings.HasPrefix(name, "app-") && lock != nil {
			turns = append(turns, turn{name, lock.FinishedAt.Time, startedAt(pod, "unlock")})
		}
	}
	slices.SortFunc(turns, func(a, b turn) int { return a.from.Compare(b.from) })
	for i := 1; i < len(turns); i++ {
		if before, after := turns[i-1], turns[i]; after.from.Before(before.to) {
			s.Errorf("%s had the lease from %s, %s until %s", after.pod, after.from, before.pod, before.to)
		}
	}
}

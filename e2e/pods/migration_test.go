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

func TestMigrationExample(t *testing.T) {
	s := newTestEnv(t, "migration")
	leases := recordRevisions[*konductorv1.Lease](s)

	// It takes long enough to be killed in the middle.
	s.createExample("examples/migration/migration.yaml", replaceInCommand("sleep 2", "sleep 4"))
	victim := s.waitContainersRunning(1, "app-", "migrate")[0]
	leases.waitForObject("db-migration", "held by "+victim.Name, func(l *konductorv1.Lease) bool { return l.Status.Holder == victim.Name })
	s.deleteObject(victim.DeepCopy(), client.GracePeriodSeconds(0))

	next := leases.waitForObject("db-migration", "held by the next", func(l *konductorv1.Lease) bool { return isHeld(l) && l.Status.Holder != victim.Name })
	s.waitContainersRunning(5, "app-", "serve")
	leases.waitForObject("db-migration", "free", func(l *konductorv1.Lease) bool { return !isHeld(l) })

	gone := s.pods.firstEntry("the victim gone", func(e entry[*corev1.Pod]) bool { return e.obj.UID == victim.UID && e.deleted })
	all := checkedGrants(leases, "db-migration")
	taken := all[slices.IndexFunc(all, func(g grant) bool { return g.Name == next.Status.Holder })]
	took := taken.seenAt.Sub(gone.receivedAt)
	t.Logf("%s had the lease %s after the holder's Pod was gone", taken.Name, took.Round(time.Millisecond))
	if took > promptLimit {
		t.Errorf("it took %s to hand over the lease of a Pod that was killed", took)
	}
	if ended := endRevisionOf(all, victim.Name); ended <= gone.revision {
		t.Errorf("the victim's hold ended at revision %d, while its Pod was there until %d", ended, gone.revision)
	}
	if len(all) != 6 {
		t.Errorf("there were %d grants, not one for each of five replicas and the one killed", len(all))
	}
	checkOneAtATime(s, all)
}

// endRevisionOf returns the revision at which the hold of that holder ended.
func endRevisionOf(all []grant, holder string) uint64 {
	for _, g := range all {
		if g.Name == holder {
			return g.endedAtRevision
		}
	}
	return 0
}

// checkOneAtATime checks by the Pods alone that no two migrated at the same time, and that none did without the lease.
func checkOneAtATime(s *testEnv, all []grant) {
	s.Helper()
	migrating := func(pod *corev1.Pod) bool { return isContainerRunning(pod, "migrate") && !isPodFinished(pod) }
	if most := s.pods.maxConcurrent(migrating); most != 1 {
		s.Errorf("%d Pods migrated at the same time", most)
	}
	granted := map[string]uint64{}
	for _, g := range all {
		granted[g.Name] = g.grantedAtRevision
	}
	for _, e := range s.pods.history() {
		if from, ok := granted[e.obj.Name]; hasContainerStarted(e.obj, "migrate") && (!ok || e.revision <= from) {
			s.Errorf("%s migrated at revision %d; it was granted the lease at %d", e.obj.Name, e.revision, from)
		}
	}
	// From the end of lock to the beginning of unlock a Pod definitely holds, by the container runtime's own clock.
	type turn struct {
		pod      string
		from, to time.Time
	}
	var turns []turn
	for name, pod := range s.pods.currentObjects() {
		if lock := terminatedState(pod, "lock"); strings.HasPrefix(name, "app-") && lock != nil {
			turns = append(turns, turn{name, lock.FinishedAt.Time, containerStartTime(pod, "unlock")})
		}
	}
	slices.SortFunc(turns, func(a, b turn) int { return a.from.Compare(b.from) })
	for i := 1; i < len(turns); i++ {
		if before, after := turns[i-1], turns[i]; after.from.Before(before.to) {
			s.Errorf("%s had the lease from %s, %s until %s", after.pod, after.from, before.pod, before.to)
		}
	}
}

package controller

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/expfmt"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/rules"
)

// newTestRegistry returns a registry with all metrics of an operator that sees these objects; acting makes it the leader.
func newTestRegistry(t *testing.T, acting bool, now time.Time, objects ...client.Object) (*prometheus.Registry, *Metrics) {
	t.Helper()
	registry := prometheus.NewRegistry()
	m, err := NewMetrics(registry)
	if err != nil {
		t.Fatal(err)
	}
	elected := make(chan struct{})
	if acting {
		close(elected)
	}
	if err := RegisterStateMetrics(registry, newFakeClient(t, objects...), fixedServerTime{now}, elected); err != nil {
		t.Fatal(err)
	}
	return registry, m
}

type fixedServerTime struct{ server time.Time }

func (c fixedServerTime) Now() rules.Instant { return rules.Instant{ServerTime: c.server} }

func TestMetricsPassPromlint(t *testing.T) {
	registry, m := newTestRegistry(t, true, time.Unix(1000, 0), newTestSemaphore("1", "10", 2))
	m.measureReconcile("Semaphore", reconcile.Func(nil))
	problems, err := testutil.GatherAndLint(registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestMetricLabelsAreBounded(t *testing.T) {
	registry, m := newTestRegistry(t, true, time.Unix(1000, 0), newTestSemaphore("1", "10", 2))
	m.measureReconcile("Semaphore", reconcile.Func(nil))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	bounded := []string{"kind", "reason", "phase", "result", "controller", "state"}
	seen := 0
	for _, f := range families {
		for _, metric := range f.GetMetric() {
			for _, label := range metric.GetLabel() {
				seen++
				if !slices.Contains(bounded, label.GetName()) {
					t.Errorf("%s has the label %s=%s", f.GetName(), label.GetName(), label.GetValue())
				}
			}
		}
	}
	if seen == 0 {
		t.Error("no metric has any label")
	}
}

func TestRecordHoldDecision(t *testing.T) {
	registry, m := newTestRegistry(t, false, time.Time{})
	start := time.Unix(1000, 0)
	now := rules.Instant{ServerTime: start.Add(90 * time.Second), Monotonic: 90 * time.Second}
	held := func(uid types.UID, since time.Duration) konductorv1.Holder {
		return konductorv1.Holder{ClaimUID: uid, AcquiredAt: metav1.NewMicroTime(start.Add(since))}
	}
	m.recordHoldDecision(konductorv1.KindSemaphore, &rules.HoldDecision{
		Granted: []*rules.Claim{{UID: "a", Created: start.Add(90 * time.Second), LastObservedRenewal: 90*time.Second - 20*time.Millisecond}},
		Ended: []rules.EndedHold{
			{Holder: held("b", 0), Reason: konductorv1.EventReleased},
			{Holder: held("c", 80*time.Second), Reason: konductorv1.EventExpired},
		},
	}, now)
	const want = `
# HELP konductor_grants_total Grants of leases and semaphore permits.
# TYPE konductor_grants_total counter
konductor_grants_total{kind="Lease"} 0
konductor_grants_total{kind="Semaphore"} 1
# HELP konductor_handovers_total Grants made in the same status write that ended another hold.
# TYPE konductor_handovers_total counter
konductor_handovers_total{kind="Lease"} 0
konductor_handovers_total{kind="Semaphore"} 1
# HELP konductor_holds_ended_total Holds that ended, by reason.
# TYPE konductor_holds_ended_total counter
konductor_holds_ended_total{kind="Lease",reason="Broken"} 0
konductor_holds_ended_total{kind="Lease",reason="Expired"} 0
konductor_holds_ended_total{kind="Lease",reason="PodEnded"} 0
konductor_holds_ended_total{kind="Lease",reason="Released"} 0
konductor_holds_ended_total{kind="Semaphore",reason="Broken"} 0
konductor_holds_ended_total{kind="Semaphore",reason="Expired"} 1
konductor_holds_ended_total{kind="Semaphore",reason="PodEnded"} 0
konductor_holds_ended_total{kind="Semaphore",reason="Released"} 1
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want),
		"konductor_grants_total", "konductor_handovers_total", "konductor_holds_ended_total"); err != nil {
		t.Error(err)
	}
	for name, sum := range map[string]float64{"konductor_wait_seconds": .02, "konductor_hold_seconds": 90 + 10} {
		if got := histogramSum(t, registry, name, konductorv1.KindSemaphore); got < sum-.0001 || got > sum+.0001 {
			t.Errorf("%s adds up to %v, want %v", name, got, sum)
		}
	}
}

// histogramSum returns the sum of a histogram for one kind.
func histogramSum(t *testing.T, registry *prometheus.Registry, name, kind string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, metric := range f.GetMetric() {
			if f.GetName() == name && metric.GetLabel()[0].GetValue() == kind {
				return metric.GetHistogram().GetSampleSum()
			}
		}
	}
	t.Fatalf("there is no %s of %s", name, kind)
	return 0
}

func TestClaimWaitTime(t *testing.T) {
	start := time.Unix(1000, 0)
	for what, c := range map[string]struct {
		created, seen time.Duration
		want          time.Duration
	}{
		"to the millisecond when it was seen at once":          {time.Hour, time.Hour + 970*time.Millisecond, 30 * time.Millisecond},
		"from its creation when it waited for an operator too": {0, time.Hour, time.Hour + time.Second - 2*time.Second},
	} {
		t.Run(what, func(t *testing.T) {
			now := rules.Instant{ServerTime: start.Add(time.Hour + time.Second), Monotonic: time.Hour + time.Second}
			if got := claimWaitTime(&rules.Claim{Created: start.Add(c.created), LastObservedRenewal: c.seen}, now); got != c.want {
				t.Errorf("it waited %s, want %s", got, c.want)
			}
		})
	}
}

// newSampleObjects returns a semaphore with two holders and two waiters, and a lease in a wait cycle that nobody waits for.
func newSampleObjects(start time.Time) []client.Object {
	meta := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name), CreationTimestamp: metav1.NewTime(start)}
	}
	since := func(d time.Duration) metav1.MicroTime { return metav1.NewMicroTime(start.Add(d)) }
	held := since(10 * time.Second)
	claim := func(name string, phase konductorv1.ClaimPhase) *konductorv1.Claim {
		return &konductorv1.Claim{
			ObjectMeta: meta(name),
			Spec:       konductorv1.ClaimSpec{Target: konductorv1.ClaimTarget{Kind: konductorv1.KindSemaphore, Name: "s"}},
			Status:     konductorv1.ClaimStatus{Phase: phase},
		}
	}
	return []client.Object{
		&konductorv1.Barrier{ObjectMeta: meta("b"), Status: konductorv1.BarrierStatus{Phase: konductorv1.BarrierOpen}},
		&konductorv1.Gate{ObjectMeta: meta("new")},
		&konductorv1.Lease{ObjectMeta: meta("l"), Status: konductorv1.LeaseStatus{
			Phase: konductorv1.LeaseHeld, ClaimUID: "x", AcquiredAt: &held,
			Conditions: []metav1.Condition{{Type: konductorv1.ConditionDeadlocked, Status: metav1.ConditionTrue}},
		}},
		&konductorv1.Semaphore{ObjectMeta: meta("s"), Status: konductorv1.SemaphoreStatus{
			Phase: konductorv1.SemaphoreFull, Waiting: 2,
			Holders: []konductorv1.Holder{{AcquiredAt: since(20 * time.Second)}, {AcquiredAt: since(30 * time.Second)}},
		}},
		claim("waits", ""), claim("waits-too", konductorv1.ClaimPending), claim("holds", konductorv1.ClaimGranted),
	}
}

func TestStateCollectorOnLeader(t *testing.T) {
	start := time.Unix(1000, 0)
	registry, _ := newTestRegistry(t, true, start.Add(time.Minute), newSampleObjects(start)...)
	for name, want := range map[string]string{
		"konductor_leader":                        ` 1`,
		"konductor_deadlocked_objects":            `{kind="Barrier"} 0,{kind="Gate"} 0,{kind="Lease"} 1,{kind="Semaphore"} 0`,
		"konductor_holders":                       `{kind="Lease"} 1,{kind="Semaphore"} 2`,
		"konductor_queue_length":                  `{kind="Lease"} 0,{kind="Semaphore"} 2`,
		"konductor_longest_queue_length":          `{kind="Lease"} 0,{kind="Semaphore"} 2`,
		"konductor_longest_wait_seconds":          `{kind="Lease"} 0,{kind="Semaphore"} 60`,
		"konductor_longest_hold_seconds":          `{kind="Lease"} 50,{kind="Semaphore"} 40`,
		"konductor_longest_blocking_hold_seconds": `{kind="Lease"} 0,{kind="Semaphore"} 40`,
		"konductor_objects": `{kind="Barrier",phase="Failed"} 0,{kind="Barrier",phase="Open"} 1,{kind="Barrier",phase="Timeout"} 0,{kind="Barrier",phase="Waiting"} 0,` +
			`{kind="Claim",phase="Expired"} 0,{kind="Claim",phase="Granted"} 1,{kind="Claim",phase="Pending"} 2,{kind="Claim",phase="Refused"} 0,` +
			`{kind="Gate",phase="Failed"} 0,{kind="Gate",phase="Open"} 0,{kind="Gate",phase="Timeout"} 0,{kind="Gate",phase="Waiting"} 0,` +
			`{kind="Lease",phase="Available"} 0,{kind="Lease",phase="Held"} 1,{kind="Semaphore",phase="Full"} 1,{kind="Semaphore",phase="Ready"} 0`,
	} {
		if got := gaugeSamples(t, registry, name); got != want {
			t.Errorf("%s is\n%s\nwant\n%s", name, got, want)
		}
	}
}

func TestStateCollectorOnStandby(t *testing.T) {
	start := time.Unix(1000, 0)
	registry, _ := newTestRegistry(t, false, start.Add(time.Minute), newSampleObjects(start)...)
	if got := gaugeSamples(t, registry, "konductor_leader"); got != " 0" {
		t.Errorf("konductor_leader is%s", got)
	}
	if got := gaugeSamples(t, registry, "konductor_holders"); got != "" {
		t.Errorf("konductor_holders is %s", got)
	}
}

// gaugeSamples returns the samples of a gauge, each without the metric's name.
func gaugeSamples(t *testing.T, registry *prometheus.Registry, name string) string {
	t.Helper()
	text, err := testutil.CollectAndFormat(registry, expfmt.TypeTextPlain, name)
	if err != nil {
		t.Fatal(err)
	}
	var samples []string
	for line := range strings.Lines(string(text)) {
		if sample, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), name); ok {
			samples = append(samples, sample)
		}
	}
	return strings.Join(samples, ",")
}

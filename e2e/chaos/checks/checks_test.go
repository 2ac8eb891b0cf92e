package checks

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/e2e/chaos/history"
	"github.com/LogicIQ/konductor/e2e/chaos/revisions"
)

var began = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// log makes up revisions, a tenth of a second apart.
type log struct {
	all     []revisions.Revision
	created map[string]int64
}

func (l *log) add(resource, name string, r revisions.Revision) *log {
	if l.created == nil {
		l.created = map[string]int64{}
	}
	r.Number = int64(len(l.all) + 1)
	r.Seen = time.Duration(r.Number) * 100 * time.Millisecond
	r.Resource, r.Namespace, r.Name, r.Version = resource, "default", name, 2
	if l.created[resource+name] == 0 {
		l.created[resource+name], r.Version = r.Number, 1
	}
	r.Created = l.created[resource+name]
	l.all = append(l.all, r)
	return l
}

func hold(claim string, permits int32, token int64) konductorv1.SemaphoreHolder {
	return konductorv1.SemaphoreHolder{Holder: claim, Claim: claim, ClaimUID: types.UID(claim), Permits: permits, FencingToken: token}
}

func (l *log) semaphore(permits int32, holders ...konductorv1.SemaphoreHolder) *log {
	s := &konductorv1.Semaphore{ObjectMeta: metav1.ObjectMeta{UID: "s"}, Spec: konductorv1.SemaphoreSpec{Permits: permits}}
	s.Status.Holders = holders
	return l.add("semaphores", "s", revisions.Revision{Semaphore: s})
}

func (l *log) claim(name string, phase konductorv1.ClaimPhase, token int64, change ...func(*konductorv1.Claim)) *log {
	c := &konductorv1.Claim{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), CreationTimestamp: metav1.NewTime(began)},
		Spec:       konductorv1.ClaimSpec{Target: konductorv1.ClaimTarget{Kind: konductorv1.KindSemaphore, Name: "s"}, Holder: name, Permits: 1},
		Status:     konductorv1.ClaimStatus{Phase: phase, FencingToken: token},
	}
	for _, f := range change {
		f(c)
	}
	return l.add("claims", name, revisions.Revision{Claim: c})
}

// asks creates a claim that waits.
func (l *log) asks(name string, permits, priority int32) *log {
	return l.claim(name, "", 0, func(c *konductorv1.Claim) { c.Spec.Permits, c.Spec.Priority = permits, priority })
}

func (l *log) gone(name string) *log {
	l.claim(name, "", 0)
	l.all[len(l.all)-1].Deleted = true
	return l
}

func (l *log) arrives(participant string, after time.Duration) *log {
	a := &konductorv1.Arrival{
		ObjectMeta: metav1.ObjectMeta{OwnerReferences: []metav1.OwnerReference{{UID: "b"}}, CreationTimestamp: metav1.NewTime(began.Add(after))},
		Spec:       konductorv1.ArrivalSpec{Barrier: "b", Participant: participant},
	}
	return l.add("arrivals", fmt.Sprint("a", len(l.all)), revisions.Revision{Arrival: a})
}

func (l *log) barrier(phase konductorv1.BarrierPhase, expected, arrived int32, change ...func(*konductorv1.Barrier)) *log {
	b := &konductorv1.Barrier{
		ObjectMeta: metav1.ObjectMeta{UID: "b", CreationTimestamp: metav1.NewTime(began)},
		Spec:       konductorv1.BarrierSpec{Expected: expected}, Status: konductorv1.BarrierStatus{Phase: phase, Arrived: arrived},
	}
	for _, f := range change {
		f(b)
	}
	return l.add("barriers", "b", revisions.Revision{Barrier: b})
}

func within(d time.Duration) func(*konductorv1.Barrier) {
	return func(b *konductorv1.Barrier) { b.Spec.Timeout = konductorv1.NewDuration(d) }
}

func start() *log { return (&log{}).semaphore(2) }

// serve grants the claims one after the other, each given back before the next.
func (l *log) serve(permits int32, kept konductorv1.SemaphoreHolder, names ...string) *log {
	for i, name := range names {
		token := int64(10 + i)
		l.semaphore(permits, kept, hold(name, 1, token)).claim(name, konductorv1.ClaimGranted, token).gone(name).semaphore(permits, kept)
	}
	return l
}

func numbered(n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprintf("small%02d", i))
	}
	return names
}

func passedBy(n int) *log {
	l := (&log{}).semaphore(4).asks("first", 1, 0).semaphore(4, hold("first", 1, 1)).claim("first", konductorv1.ClaimGranted, 1).asks("large", 4, 0)
	for _, name := range numbered(n) {
		l.asks(name, 1, 0)
	}
	return l.serve(4, hold("first", 1, 1), numbered(n)...)
}

func TestRevisionsThatBreakAPromiseAreNoticed(t *testing.T) {
	granted, expired := konductorv1.ClaimGranted, konductorv1.ClaimExpired
	for what, c := range map[string]struct {
		log  *log
		want []string // checks other than those about how it all ends
	}{
		"a grant, told, released and followed by another": {
			start().asks("a", 2, 0).semaphore(2, hold("a", 2, 1)).claim("a", granted, 1).asks("b", 1, 0).gone("a").semaphore(2, hold("b", 1, 4)).claim("b", granted, 4), nil,
		},
		"more is held than there is": {
			start().asks("a", 2, 0).asks("b", 1, 0).semaphore(2, hold("a", 2, 1), hold("b", 1, 2)), []string{"limit"},
		},
		"fewer permits than are held is no grant too many": {
			start().asks("a", 2, 0).semaphore(2, hold("a", 2, 1)).semaphore(1, hold("a", 2, 1)), nil,
		},
		"a grant in place of another while too much is held": {
			start().asks("a", 2, 0).asks("b", 1, 0).semaphore(2, hold("a", 2, 1)).semaphore(0, hold("a", 2, 1)).gone("a").semaphore(0, hold("b", 1, 2)), []string{"limit"},
		},
		"a token that is not larger than the last": {
			start().asks("a", 1, 0).semaphore(2, hold("a", 1, 5)).gone("a").asks("b", 1, 0).semaphore(2, hold("b", 1, 5)), []string{"token"},
		},
		"a hold whose token changes": {
			start().asks("a", 1, 0).semaphore(2, hold("a", 1, 5)).semaphore(2, hold("a", 1, 6)), []string{"token"},
		},
		"a claim is told before its grant is written": {
			start().asks("a", 1, 0).claim("a", granted, 5).semaphore(2, hold("a", 1, 5)), []string{"told"},
		},
		"a hold ends and its claim lives on": {
			start().asks("a", 1, 0).semaphore(2, hold("a", 1, 5)).claim("a", granted, 5).semaphore(2), []string{"cause"},
		},
		"a hold ends that has expired": {
			start().asks("a", 1, 0).semaphore(2, hold("a", 1, 5)).claim("a", granted, 5).claim("a", expired, 5).semaphore(2), nil,
		},
		"a hold ends of one that another operator has refused": {
			start().asks("a", 1, 0).claim("a", konductorv1.ClaimRefused, 0).semaphore(2, hold("a", 1, 5)).semaphore(2), nil,
		},
		"the second to ask is served first": {
			start().asks("a", 1, 0).asks("b", 1, 0).semaphore(2, hold("b", 1, 1)), []string{"order"},
		},
		"the second to ask is of higher priority": {
			start().asks("a", 1, 0).asks("b", 1, 5).semaphore(2, hold("b", 1, 1)), nil,
		},
		"the first to ask doesn't fit": {
			start().asks("x", 1, 0).semaphore(2, hold("x", 1, 1)).asks("a", 2, 0).asks("b", 1, 0).semaphore(2, hold("x", 1, 1), hold("b", 1, 2)), nil,
		},
		"the first is passed ten times":    {passedBy(10), nil},
		"the first is passed eleven times": {passedBy(11), []string{"overtaking"}},
		"a barrier opens when all have arrived": {
			(&log{}).barrier("", 2, 0).arrives("a", 0).arrives("b", 0).barrier(konductorv1.BarrierOpen, 2, 2), nil,
		},
		"a barrier opens too early": {
			(&log{}).barrier("", 2, 0).arrives("a", 0).barrier(konductorv1.BarrierOpen, 2, 1), []string{"barrier"},
		},
		"a barrier counts one participant twice": {
			(&log{}).barrier("", 3, 0).arrives("a", 0).arrives("a", 0).barrier(konductorv1.BarrierWaiting, 3, 2), []string{"barrier"},
		},
		"a barrier closes again": {
			(&log{}).barrier("", 1, 0).arrives("a", 0).barrier(konductorv1.BarrierOpen, 1, 1).barrier(konductorv1.BarrierWaiting, 1, 1), []string{"barrier"},
		},
		"a barrier stays closed": {
			(&log{}).barrier("", 1, 0).arrives("a", 0).barrier(konductorv1.BarrierWaiting, 1, 1), []string{"barrier"},
		},
		"a barrier times out before its time": {
			(&log{}).barrier("", 1, 0, within(time.Hour)).barrier(konductorv1.BarrierTimeout, 1, 0, within(time.Hour)), []string{"barrier"},
		},
		"a barrier times out though enough had arrived in time": {
			(&log{}).barrier("", 1, 0, within(time.Nanosecond)).arrives("a", 0).barrier(konductorv1.BarrierTimeout, 1, 0, within(time.Nanosecond)), []string{"barrier"},
		},
		"a barrier doesn't count who came too late": {
			(&log{}).barrier("", 1, 0, within(time.Nanosecond)).arrives("a", time.Second).barrier(konductorv1.BarrierTimeout, 1, 0, within(time.Nanosecond)), nil,
		},
	} {
		t.Run(what, func(t *testing.T) {
			run := &Run{Dir: t.TempDir(), Revisions: c.log.all, Began: began, Ops: []history.Op{
				{Action: history.Create, Kind: konductorv1.KindSemaphore, Namespace: "default", Object: "s", Permits: 4, Outcome: history.OK},
			}}
			var got []string
			for _, v := range Find(run) {
				if v.Check != "leak" && v.Check != "linearizable" && !slices.Contains(got, v.Check) {
					got = append(got, v.Check)
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("checks (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAnswersThatBreakAPromiseAreNoticed(t *testing.T) {
	acquired := history.Op{Action: history.Acquire, Kind: konductorv1.KindSemaphore, Namespace: "default", Object: "s", Holder: "a", Outcome: history.OK, Token: 5}
	for what, c := range map[string]struct {
		run  Run
		want string
	}{
		"a token that was never granted":         {Run{Ops: []history.Op{acquired}}, "answers"},
		"a call that has not returned":           {Run{Ops: []history.Op{{Action: history.Acquire}}}, "stuck"},
		"a failure after the last fault":         {Run{Ops: []history.Op{{Action: history.Acquire, Final: true, Outcome: history.Fail}}}, "stuck"},
		"an error that nobody knows":             {Run{Ops: []history.Op{{Action: history.Acquire, Outcome: history.Unknown, Detail: "boom"}}}, "surprise"},
		"an update that was lost":                {Run{Registers: []Register{{"db", 6, 7}}}, "register"},
		"a status that the API server refused":   {Run{Guarded: []string{"PUT …"}}, "guard"},
		"a panic":                                {Run{Crashes: []string{"panic: …"}}, "crash"},
		"a hold that is left":                    {Run{Revisions: start().asks("a", 1, 0).semaphore(2, hold("a", 1, 1)).all}, "leak"},
		"a claim that waits when all is quiet":   {Run{Revisions: start().asks("a", 1, 0).all}, "leak"},
		"open, of a barrier that was never open": {Run{Ops: []history.Op{{Action: history.Wait, Kind: konductorv1.KindBarrier, Object: "b", Outcome: history.OK}}}, "answers"},
	} {
		t.Run(what, func(t *testing.T) {
			c.run.Dir = t.TempDir()
			found := Find(&c.run)
			if !slices.ContainsFunc(found, func(v Violation) bool { return v.Check == c.want }) {
				t.Errorf("check %s has found nothing; there are %v", c.want, found)
			}
		})
	}
}

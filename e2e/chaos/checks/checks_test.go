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

var startTime = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// revisionLog builds a list of revisions, a tenth of a second apart.
type revisionLog struct {
	entries          []revisions.Revision
	createdRevisions map[string]int64
}

func (l *revisionLog) add(resource, name string, r revisions.Revision) *revisionLog {
	if l.createdRevisions == nil {
		l.createdRevisions = map[string]int64{}
	}
	r.Number = int64(len(l.entries) + 1)
	r.ReadAt = time.Duration(r.Number) * 100 * time.Millisecond
	r.Resource, r.Namespace, r.Name, r.Version = resource, "default", name, 2
	if l.createdRevisions[resource+name] == 0 {
		l.createdRevisions[resource+name], r.Version = r.Number, 1
	}
	r.Created = l.createdRevisions[resource+name]
	l.entries = append(l.entries, r)
	return l
}

func newSemaphoreHolder(claim string, permits int32, token int64) konductorv1.Holder {
	return konductorv1.Holder{Name: claim, Claim: claim, ClaimUID: types.UID(claim), Permits: permits, FencingToken: token}
}

func (l *revisionLog) addSemaphore(permits int32, holders ...konductorv1.Holder) *revisionLog {
	s := &konductorv1.Semaphore{ObjectMeta: metav1.ObjectMeta{UID: "s"}, Spec: konductorv1.SemaphoreSpec{Permits: permits}}
	s.Status.Holders = holders
	return l.add("semaphores", "s", revisions.Revision{Semaphore: s})
}

func (l *revisionLog) addClaim(name string, phase konductorv1.ClaimPhase, token int64, change ...func(*konductorv1.Claim)) *revisionLog {
	c := &konductorv1.Claim{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), CreationTimestamp: metav1.NewTime(startTime)},
		Spec:       konductorv1.ClaimSpec{Target: konductorv1.ClaimTarget{Kind: konductorv1.KindSemaphore, Name: "s"}, Holder: name, Permits: 1},
		Status:     konductorv1.ClaimStatus{Phase: phase, FencingToken: token},
	}
	for _, f := range change {
		f(c)
	}
	return l.add("claims", name, revisions.Revision{Claim: c})
}

// addPendingClaim creates a pending claim.
func (l *revisionLog) addPendingClaim(name string, permits, priority int32) *revisionLog {
	return l.addClaim(name, "", 0, func(c *konductorv1.Claim) { c.Spec.Permits, c.Spec.Priority = permits, priority })
}

func (l *revisionLog) deleteClaim(name string) *revisionLog {
	l.addClaim(name, "", 0)
	l.entries[len(l.entries)-1].Deleted = true
	return l
}

func (l *revisionLog) addArrival(participant string, after time.Duration, change ...func(*konductorv1.Arrival)) *revisionLog {
	a := &konductorv1.Arrival{
		ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(startTime.Add(after))},
		Spec:       konductorv1.ArrivalSpec{Barrier: "b", BarrierUID: "b", Participant: participant},
	}
	for _, f := range change {
		f(a)
	}
	return l.add("arrivals", fmt.Sprint("a", len(l.entries)), revisions.Revision{Arrival: a})
}

func (l *revisionLog) addBarrier(phase konductorv1.BarrierPhase, expected, arrived int32, change ...func(*konductorv1.Barrier)) *revisionLog {
	b := &konductorv1.Barrier{
		ObjectMeta: metav1.ObjectMeta{UID: "b", CreationTimestamp: metav1.NewTime(startTime)},
		Spec:       konductorv1.BarrierSpec{Expected: expected}, Status: konductorv1.BarrierStatus{Phase: phase, Arrived: arrived},
	}
	for _, f := range change {
		f(b)
	}
	return l.add("barriers", "b", revisions.Revision{Barrier: b})
}

func withTimeout(d time.Duration) func(*konductorv1.Barrier) {
	return func(b *konductorv1.Barrier) { b.Spec.Timeout = konductorv1.NewDuration(d) }
}

// addPod adds a Pod of job "j", which holds semaphore s.
func (l *revisionLog) addPod(finished bool) *revisionLog {
	return l.add("pods", "p", revisions.Revision{Pod: &revisions.Workload{UID: "p", Holder: "job/j", Holds: "Semaphore/s", Finished: finished}})
}

// addHeldPod adds the held Pod "p", which holds semaphore s and arrives at barrier b.
func (l *revisionLog) addHeldPod(change ...func(*revisions.Workload)) *revisionLog {
	pod := &revisions.Workload{UID: "p", Holder: "pod/p", Holds: "Semaphore/s", Barrier: "b"}
	for _, f := range change {
		f(pod)
	}
	return l.add("pods", "p", revisions.Revision{Pod: pod})
}

// addJob adds job "j", which arrives at barrier b.
func (l *revisionLog) addJob(change ...func(*revisions.Workload)) *revisionLog {
	job := &revisions.Workload{UID: "j", Holder: "job/j", Barrier: "b"}
	for _, f := range change {
		f(job)
	}
	return l.add("jobs", "j", revisions.Revision{Job: job})
}

func gated(w *revisions.Workload)      { w.Gated = true }
func finished(w *revisions.Workload)   { w.Finished = true }
func failed(w *revisions.Workload)     { w.Finished, w.Failed = true, true }
func settled(w *revisions.Workload)    { w.Finished, w.Settled = true, true }
func asFailed(a *konductorv1.Arrival)  { a.Spec.Failed = true }
func newPodHolder() konductorv1.Holder { return newSemaphoreHolder("pod/p", 1, 1) }

// newJobHolder returns the hold of job "j".
func newJobHolder(token int64) konductorv1.Holder {
	h := newSemaphoreHolder("job/j", 1, token)
	h.Job = &konductorv1.JobReference{Name: "j", UID: "j"}
	return h
}

func (l *revisionLog) deleteSemaphore() *revisionLog {
	l.addSemaphore(2)
	l.entries[len(l.entries)-1].Deleted = true
	return l
}

// deleteLast deletes the Job or Pod that was added last.
func (l *revisionLog) deleteLast() *revisionLog {
	r := l.entries[len(l.entries)-1]
	l.add(r.Resource, r.Name, r)
	l.entries[len(l.entries)-1].Deleted = true
	return l
}

func newSemaphoreLog() *revisionLog { return (&revisionLog{}).addSemaphore(2) }

// grantAndRelease grants the claims one after the other, each released before the next grant.
func (l *revisionLog) grantAndRelease(permits int32, kept konductorv1.Holder, names ...string) *revisionLog {
	for i, name := range names {
		token := int64(10 + i)
		l.addSemaphore(permits, kept, newSemaphoreHolder(name, 1, token)).addClaim(name, konductorv1.ClaimGranted, token).deleteClaim(name).addSemaphore(permits, kept)
	}
	return l
}

func smallClaimNames(n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprintf("small%02d", i))
	}
	return names
}

func newOvertakingLog(n int) *revisionLog {
	l := (&revisionLog{}).addSemaphore(4).addPendingClaim("first", 1, 0).addSemaphore(4, newSemaphoreHolder("first", 1, 1)).addClaim("first", konductorv1.ClaimGranted, 1).addPendingClaim("large", 4, 0)
	for _, name := range smallClaimNames(n) {
		l.addPendingClaim(name, 1, 0)
	}
	return l.grantAndRelease(4, newSemaphoreHolder("first", 1, 1), smallClaimNames(n)...)
}

func TestChecksOfRevisions(t *testing.T) {
	granted, expired := konductorv1.ClaimGranted, konductorv1.ClaimExpired
	for what, c := range map[string]struct {
		log  *revisionLog
		want []string // checks other than those of the final state
	}{
		"a grant, told, released and followed by another": {
			newSemaphoreLog().addPendingClaim("a", 2, 0).addSemaphore(2, newSemaphoreHolder("a", 2, 1)).addClaim("a", granted, 1).addPendingClaim("b", 1, 0).deleteClaim("a").addSemaphore(2, newSemaphoreHolder("b", 1, 4)).addClaim("b", granted, 4), nil,
		},
		"more is held than there is": {
			newSemaphoreLog().addPendingClaim("a", 2, 0).addPendingClaim("b", 1, 0).addSemaphore(2, newSemaphoreHolder("a", 2, 1), newSemaphoreHolder("b", 1, 2)), []string{"limit"},
		},
		"fewer permits than are held is no grant too many": {
			newSemaphoreLog().addPendingClaim("a", 2, 0).addSemaphore(2, newSemaphoreHolder("a", 2, 1)).addSemaphore(1, newSemaphoreHolder("a", 2, 1)), nil,
		},
		"a grant in place of another while too much is held": {
			newSemaphoreLog().addPendingClaim("a", 2, 0).addPendingClaim("b", 1, 0).addSemaphore(2, newSemaphoreHolder("a", 2, 1)).addSemaphore(0, newSemaphoreHolder("a", 2, 1)).deleteClaim("a").addSemaphore(0, newSemaphoreHolder("b", 1, 2)), []string{"limit"},
		},
		"a token that is not larger than the last": {
			newSemaphoreLog().addPendingClaim("a", 1, 0).addSemaphore(2, newSemaphoreHolder("a", 1, 5)).deleteClaim("a").addPendingClaim("b", 1, 0).addSemaphore(2, newSemaphoreHolder("b", 1, 5)), []string{"token"},
		},
		"a hold whose token changes": {
			newSemaphoreLog().addPendingClaim("a", 1, 0).addSemaphore(2, newSemaphoreHolder("a", 1, 5)).addSemaphore(2, newSemaphoreHolder("a", 1, 6)), []string{"token"},
		},
		"a claim is told before its grant is written": {
			newSemaphoreLog().addPendingClaim("a", 1, 0).addClaim("a", granted, 5).addSemaphore(2, newSemaphoreHolder("a", 1, 5)), []string{"told"},
		},
		"a hold ends and its claim lives on": {
			newSemaphoreLog().addPendingClaim("a", 1, 0).addSemaphore(2, newSemaphoreHolder("a", 1, 5)).addClaim("a", granted, 5).addSemaphore(2), []string{"cause"},
		},
		"a hold ends that has expired": {
			newSemaphoreLog().addPendingClaim("a", 1, 0).addSemaphore(2, newSemaphoreHolder("a", 1, 5)).addClaim("a", granted, 5).addClaim("a", expired, 5).addSemaphore(2), nil,
		},
		"a hold ends of one that another operator has refused": {
			newSemaphoreLog().addPendingClaim("a", 1, 0).addClaim("a", konductorv1.ClaimRefused, 0).addSemaphore(2, newSemaphoreHolder("a", 1, 5)).addSemaphore(2), nil,
		},
		"the second to ask is served first": {
			newSemaphoreLog().addPendingClaim("a", 1, 0).addPendingClaim("b", 1, 0).addSemaphore(2, newSemaphoreHolder("b", 1, 1)), []string{"order"},
		},
		"the second to ask is of higher priority": {
			newSemaphoreLog().addPendingClaim("a", 1, 0).addPendingClaim("b", 1, 5).addSemaphore(2, newSemaphoreHolder("b", 1, 1)), nil,
		},
		"the first to ask doesn't fit": {
			newSemaphoreLog().addPendingClaim("x", 1, 0).addSemaphore(2, newSemaphoreHolder("x", 1, 1)).addPendingClaim("a", 2, 0).addPendingClaim("b", 1, 0).addSemaphore(2, newSemaphoreHolder("x", 1, 1), newSemaphoreHolder("b", 1, 2)), nil,
		},
		"a job's pod while it holds": {
			newSemaphoreLog().addSemaphore(2, newJobHolder(1)).addPod(false).addPod(true).addSemaphore(2), nil,
		},
		"a job's pod before it holds": {newSemaphoreLog().addPod(false).addSemaphore(2, newJobHolder(1)).addPod(true).addSemaphore(2), []string{"pods"}},
		"a hold ends before the job's pod": {
			newSemaphoreLog().addSemaphore(2, newJobHolder(1)).addPod(false).addSemaphore(2).addPod(true), []string{"pods"},
		},
		"a job's pod after the semaphore was deleted": {
			newSemaphoreLog().addSemaphore(2, newJobHolder(1)).deleteSemaphore().addPod(false).addSemaphore(2).addPod(true), nil,
		},
		"a job's pod of a later hold that has ended": {
			newSemaphoreLog().addSemaphore(2, newJobHolder(1)).deleteSemaphore().addSemaphore(2, newJobHolder(5)).addSemaphore(2).addPod(false), []string{"pods"},
		},
		"a pod behind its gate before it holds": {
			newSemaphoreLog().addHeldPod(gated).addSemaphore(2, newPodHolder()).addHeldPod().addHeldPod(finished).addSemaphore(2), nil,
		},
		"a pod without its gate before it holds": {
			newSemaphoreLog().addHeldPod(gated).addHeldPod().addSemaphore(2, newPodHolder()), []string{"pods"},
		},
		"a hold ends while its pod runs": {
			newSemaphoreLog().addSemaphore(2, newPodHolder()).addHeldPod().addSemaphore(2), []string{"cause", "pods"},
		},
		"a hold ends while its pod is behind its gate": {
			newSemaphoreLog().addSemaphore(2, newPodHolder()).addHeldPod(gated).addSemaphore(2), []string{"cause"},
		},
		"a pod's hold ends with the semaphore": {
			newSemaphoreLog().addSemaphore(2, newPodHolder()).addHeldPod().deleteSemaphore().addSemaphore(2), nil,
		},
		"a job arrives when it has finished": {
			(&revisionLog{}).addJob().addJob(finished).addArrival("job/j", 0).addJob(settled), nil,
		},
		"a job that has failed arrives as failed": {
			(&revisionLog{}).addJob().addJob(failed).addArrival("job/j", 0, asFailed).addJob(failed, settled), nil,
		},
		"a job is deleted before it has arrived": {(&revisionLog{}).addJob().addJob(finished).deleteLast(), nil},
		"a job that has failed arrives as not failed": {
			(&revisionLog{}).addJob().addJob(failed).addArrival("job/j", 0), []string{"arrivals"},
		},
		"a job arrives before it has finished": {(&revisionLog{}).addJob().addArrival("job/j", 0).addJob(finished), []string{"arrivals"}},
		"a job arrives that was deleted before it had finished": {
			(&revisionLog{}).addJob().deleteLast().addArrival("job/j", 0), []string{"arrivals"},
		},
		"a job arrives twice": {
			(&revisionLog{}).addJob().addJob(finished).addArrival("job/j", 0).addArrival("job/j", 0).addJob(settled), []string{"arrivals"},
		},
		"a job is settled and has not arrived": {(&revisionLog{}).addJob().addJob(settled), []string{"arrivals"}},
		"a pod arrives under the name of another": {
			(&revisionLog{}).addHeldPod(gated).addHeldPod(gated, finished).addArrival("pod/q", 0), []string{"arrivals"},
		},
		"the first is passed ten times":    {newOvertakingLog(10), nil},
		"the first is passed eleven times": {newOvertakingLog(11), []string{"overtaking"}},
		"a barrier opens when all have arrived": {
			(&revisionLog{}).addBarrier("", 2, 0).addArrival("a", 0).addArrival("b", 0).addBarrier(konductorv1.BarrierOpen, 2, 2), nil,
		},
		"a barrier opens too early": {
			(&revisionLog{}).addBarrier("", 2, 0).addArrival("a", 0).addBarrier(konductorv1.BarrierOpen, 2, 1), []string{"barrier"},
		},
		"a barrier counts one participant twice": {
			(&revisionLog{}).addBarrier("", 3, 0).addArrival("a", 0).addArrival("a", 0).addBarrier(konductorv1.BarrierWaiting, 3, 2), []string{"barrier"},
		},
		"a barrier closes again": {
			(&revisionLog{}).addBarrier("", 1, 0).addArrival("a", 0).addBarrier(konductorv1.BarrierOpen, 1, 1).addBarrier(konductorv1.BarrierWaiting, 1, 1), []string{"barrier"},
		},
		"a barrier stays closed": {
			(&revisionLog{}).addBarrier("", 1, 0).addArrival("a", 0).addBarrier(konductorv1.BarrierWaiting, 1, 1), []string{"barrier"},
		},
		"a barrier times out before its time": {
			(&revisionLog{}).addBarrier("", 1, 0, withTimeout(time.Hour)).addBarrier(konductorv1.BarrierTimeout, 1, 0, withTimeout(time.Hour)), []string{"barrier"},
		},
		"a barrier times out though enough had arrived in time": {
			(&revisionLog{}).addBarrier("", 1, 0, withTimeout(time.Nanosecond)).addArrival("a", 0).addBarrier(konductorv1.BarrierTimeout, 1, 0, withTimeout(time.Nanosecond)), []string{"barrier"},
		},
		"a barrier doesn't count who came too late": {
			(&revisionLog{}).addBarrier("", 1, 0, withTimeout(time.Nanosecond)).addArrival("a", time.Second).addBarrier(konductorv1.BarrierTimeout, 1, 0, withTimeout(time.Nanosecond)), nil,
		},
	} {
		t.Run(what, func(t *testing.T) {
			run := &CampaignData{OutputDir: t.TempDir(), Revisions: c.log.entries, StartTime: startTime, Ops: []history.Op{
				{Action: history.Create, Kind: konductorv1.KindSemaphore, Namespace: "default", Object: "s", Permits: 4, Outcome: history.OK},
			}}
			var got []string
			for _, v := range RunAll(run) {
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

func TestChecksOfResponses(t *testing.T) {
	acquired := history.Op{Action: history.Acquire, Kind: konductorv1.KindSemaphore, Namespace: "default", Object: "s", Holder: "a", Outcome: history.OK, Token: 5}
	for what, c := range map[string]struct {
		run  CampaignData
		want string
	}{
		"a token that was never granted":         {CampaignData{Ops: []history.Op{acquired}}, "answers"},
		"a call that has not returned":           {CampaignData{Ops: []history.Op{{Action: history.Acquire}}}, "stuck"},
		"a failure after the last fault":         {CampaignData{Ops: []history.Op{{Action: history.Acquire, Final: true, Outcome: history.Fail}}}, "stuck"},
		"an error that nobody knows":             {CampaignData{Ops: []history.Op{{Action: history.Acquire, Outcome: history.Unknown, Detail: "boom"}}}, "surprise"},
		"an update that was lost":                {CampaignData{Registers: []Register{{"db", 6, 7}}}, "register"},
		"a status that the API server refused":   {CampaignData{RejectedStatusWrites: []string{"PUT …"}}, "guard"},
		"a panic":                                {CampaignData{CrashLogLines: []string{"panic: …"}}, "crash"},
		"a hold that is left":                    {CampaignData{Revisions: newSemaphoreLog().addPendingClaim("a", 1, 0).addSemaphore(2, newSemaphoreHolder("a", 1, 1)).entries}, "leak"},
		"a claim that waits when all is quiet":   {CampaignData{Revisions: newSemaphoreLog().addPendingClaim("a", 1, 0).entries}, "leak"},
		"open, of a barrier that was never open": {CampaignData{Ops: []history.Op{{Action: history.Wait, Kind: konductorv1.KindBarrier, Object: "b", Outcome: history.OK}}}, "answers"},
	} {
		t.Run(what, func(t *testing.T) {
			c.run.OutputDir = t.TempDir()
			found := RunAll(&c.run)
			if !slices.ContainsFunc(found, func(v Violation) bool { return v.Check == c.want }) {
				t.Errorf("check %s has found nothing; there are %v", c.want, found)
			}
		})
	}
}

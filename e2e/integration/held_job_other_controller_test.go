package integration

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/e2e/cluster"
	"github.com/LogicIQ/konductor/e2e/install"
	"github.com/LogicIQ/konductor/operator"
)

// kueueQueueLabel gives a Job to Kueue.
const kueueQueueLabel = "kueue.x-k8s.io/queue-name"

// anotherWriter is the field manager of the test where it acts as another controller.
const anotherWriter = client.FieldOwner("another-controller")

// jobRecord has every revision of a Job from its creation, or from the time at which the recording began.
type jobRecord struct {
	mu        sync.Mutex
	revisions []*batchv1.Job
}

// recordJob records the revisions of a Job that follow job.
func (w *testEnv) recordJob(job *batchv1.Job) *jobRecord {
	w.Helper()
	r := &jobRecord{revisions: []*batchv1.Job{job}}
	stream, err := w.client.Watch(w.ctx, &batchv1.JobList{}, client.InNamespace(w.namespace), client.MatchingFields{"metadata.name": job.Name}, fromResourceVersion(&batchv1.JobList{ListMeta: metav1.ListMeta{ResourceVersion: job.ResourceVersion}}))
	w.must(err)
	ctx, cancel := context.WithCancel(w.ctx)
	done := runAsyncErr(w, func() error {
		consumeWatch(ctx, stream, func(j *batchv1.Job, deleted bool) bool {
			r.mu.Lock()
			defer r.mu.Unlock()
			if !deleted {
				r.revisions = append(r.revisions, j)
			}
			return false
		})
		return nil
	})
	w.Cleanup(func() {
		cancel()
		stream.Stop()
		done.waitUpTo(waitTimeout)
	})
	return r
}

// current returns the newest revision.
func (r *jobRecord) current() *batchv1.Job {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.revisions[len(r.revisions)-1]
}

// writes returns how many revisions have another spec or other metadata than the one before, and how many another status only.
func (r *jobRecord) writes() (changed, statusOnly int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := 1; i < len(r.revisions); i++ {
		if isSameButStatus(r.revisions[i-1], r.revisions[i]) {
			statusOnly++
		} else {
			changed++
		}
	}
	return changed, statusOnly
}

func isSameButStatus(a, b *batchv1.Job) bool {
	metaOf := func(j *batchv1.Job) metav1.ObjectMeta {
		m := *j.ObjectMeta.DeepCopy()
		m.ResourceVersion, m.ManagedFields = "", nil
		return m
	}
	return equality.Semantic.DeepEqual(a.Spec, b.Spec) && equality.Semantic.DeepEqual(metaOf(a), metaOf(b))
}

// describe returns the revisions, one a line, for the message of a failed test.
func (r *jobRecord) describe() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var lines []string
	for _, j := range r.revisions {
		var managers []string
		for _, f := range j.ManagedFields {
			managers = append(managers, f.Manager)
		}
		lines = append(lines, fmt.Sprintf("%s: generation %d, suspend %t, %s=%q, written by %s", j.ResourceVersion, j.Generation,
			j.Spec.Suspend != nil && *j.Spec.Suspend, konductorv1.HeldLabel, j.Labels[konductorv1.HeldLabel], strings.Join(managers, ", ")))
	}
	return strings.Join(lines, "\n")
}

// setSuspend sets spec.suspend of a Job as another controller does.
func (w *testEnv) setSuspend(name string, suspend bool) {
	w.Helper()
	w.must(w.trySetSuspend(name, suspend))
}

func (w *testEnv) trySetSuspend(name string, suspend bool) error {
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}}
	return w.client.Patch(w.ctx, job, client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"spec":{"suspend":%t}}`, suspend)), anotherWriter)
}

// writesOf returns the requests other than reads that got a response, for objects of that resource, or of all if it is empty.
func (l *hookedTransport) writesOf(resource string) (writes []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.responses {
		if !strings.HasPrefix(s, "GET ") && !strings.HasPrefix(s, "WATCH ") && (resource == "" || slices.Contains(strings.Split(s, "/"), resource)) {
			writes = append(writes, s)
		}
	}
	return writes
}

// operatorEvents returns the Events of the operator about a Job.
func (w *testEnv) operatorEvents(job string) []corev1.Event {
	w.Helper()
	var list corev1.EventList
	w.must(w.client.List(w.ctx, &list, client.InNamespace(w.namespace), client.MatchingFields{"involvedObject.kind": "Job", "involvedObject.name": job}))
	return slices.DeleteFunc(list.Items, func(e corev1.Event) bool { return e.Source.Component != "konductor" })
}

// expectNotHeld fails the test unless the operator's Events about a Job say only that it isn't held, why, and what to do instead.
func (w *testEnv) expectNotHeld(job, why string) {
	w.Helper()
	w.awaitEvent("Job", job, konductorv1.EventNotHeld, why)
	events := w.operatorEvents(job)
	if len(events) != 1 {
		w.Errorf("%s: %d different Events, want one", job, len(events))
	}
	for _, e := range events {
		if e.Reason != konductorv1.EventNotHeld || e.Type != corev1.EventTypeWarning {
			w.Errorf("%s: got the Event %s %s: %s", job, e.Type, e.Reason, e.Message)
		}
		if !strings.Contains(e.Message, why) || !strings.Contains(e.Message, "annotate its Pod template instead") {
			w.Errorf("%s: the Event says %q, want the other controller, and what to do", job, e.Message)
		}
	}
}

// jobOfAnotherController returns a Job with that name that another controller suspends and starts.
type jobOfAnotherController struct {
	job *batchv1.Job
	// why is what the Event says about the other controller.
	why string
	// hasPods says that the Job controller of Kubernetes runs it.
	hasPods bool
}

func jobsOfOtherControllers(annotations map[string]string) []jobOfAnotherController {
	queued, managed, owned := newHeldJob("queued", annotations, true), newHeldJob("managed", annotations, true), newHeldJob("owned", annotations, true)
	queued.Labels = map[string]string{kueueQueueLabel: "default"}
	manager := "example.com/another"
	managed.Spec.ManagedBy = &manager
	isController := true
	// The kind need not be installed: the garbage collector keeps what has an owner of an unknown kind.
	owned.OwnerReferences = []metav1.OwnerReference{{APIVersion: "jobset.x-k8s.io/v1alpha2", Kind: "JobSet", Name: "etl", UID: "0b3c6f1e-6f0a-4a5e-9d5e-3a3f0c9a7d11", Controller: &isController}}
	return []jobOfAnotherController{
		{queued, "Kueue writes spec.suspend", true},
		{managed, "example.com/another writes spec.suspend", false},
		{owned, "JobSet etl writes spec.suspend", true},
	}
}

// TestJobsOfOtherControllersAreLeftAlone has annotated Jobs whose spec.suspend another controller writes, again and again.
func TestJobsOfOtherControllersAreLeftAlone(t *testing.T) {
	w := newTestEnv(t)
	config, wire := w.hookTransport(w.operatorConfig)
	w.startOperatorWith(func(o *operator.Options) { o.Config, o.HeldWorkloads = config, true })
	w.createLease("report")
	createBarrier(w, "done", 3)
	annotations := holding("lease/report")
	annotations[konductorv1.ArriveAnnotation] = "barrier/done"
	jobs := jobsOfOtherControllers(annotations)
	records := make([]*jobRecord, len(jobs))
	for i, j := range jobs {
		w.createObjects(j.job)
		records[i] = w.recordJob(j.job)
		w.awaitEvent("Job", j.job.Name, konductorv1.EventNotHeld, j.why)
	}
	const flips = 7 // odd, so that the Jobs run at the end
	for n := range flips {
		suspend := n%2 == 1
		for _, j := range jobs {
			w.setSuspend(j.job.Name, suspend)
			w.waitUntil("the controller of "+j.job.Name, func() bool {
				current := getObject[*batchv1.Job](w, j.job.Name)
				switch {
				case !j.hasPods:
					return true
				case suspend:
					w.removeTerminatingPods(j.job.UID)
					if len(w.jobPods(j.job.UID)) > 0 || current.Status.Active > 0 {
						return false
					}
					if current.Status.StartTime != nil {
						// Until Kubernetes 1.35 the Job controller leaves it, and then can't start the Job again. So Kueue and JobSet remove it.
						w.must(w.client.Status().Patch(w.ctx, current, client.RawPatch(types.MergePatchType, []byte(`{"status":{"startTime":null}}`)), anotherWriter))
					}
					return true
				default:
					return current.Status.Active == 1
				}
			})
		}
	}
	quiet := time.NewTimer(quietPeriod)
	<-quiet.C
	for _, j := range jobs {
		if j.hasPods {
			w.waitForPodOf(j.job)
			w.waitUntil("the end of "+j.job.Name, func() bool {
				w.finishPods(j.job.UID, corev1.PodSucceeded)
				return getObject[*batchv1.Job](w, j.job.Name).Status.Succeeded == 1
			})
		}
	}

	for _, resource := range []string{"jobs", "claims", "arrivals"} {
		if writes := wire.writesOf(resource); len(writes) > 0 {
			t.Errorf("the operator wrote %v", writes)
		}
	}
	if l := getObject[*konductorv1.Lease](w, "report"); l.Status.FencingToken != 0 || l.Status.Waiting != 0 {
		t.Errorf("the lease was claimed: %+v", l.Status)
	}
	// A held Job beside them shows that the operator works.
	w.createObjects(heldJob("held", annotations))
	held := w.waitJobState("held", konductorv1.HeldStarted)
	w.waitForPodOf(held)
	w.finishPods(held.UID, corev1.PodSucceeded)
	w.waitJobState("held", konductorv1.HeldFinished)

	for i, j := range jobs {
		changed, statusOnly := records[i].writes()
		current := records[i].current()
		t.Logf("%s: %d changes of the other, %d revisions of spec or metadata, %d of the status", j.job.Name, flips, changed, statusOnly)
		// Each change of spec.suspend is a generation; a change of labels or annotations is none.
		if changed != flips || current.Generation != int64(1+flips) {
			t.Errorf("%s: %d revisions of spec or metadata and generation %d after %d changes of the other:\n%s",
				j.job.Name, changed, current.Generation, flips, records[i].describe())
		}
		if !j.hasPods && statusOnly != 0 {
			t.Errorf("%s: its status was written, which nobody does:\n%s", j.job.Name, records[i].describe())
		}
		if current.Labels[konductorv1.HeldLabel] != "" {
			t.Errorf("%s has the label %s=%s", j.job.Name, konductorv1.HeldLabel, current.Labels[konductorv1.HeldLabel])
		}
		for _, f := range current.ManagedFields {
			if strings.Contains(string(f.FieldsV1.GetRawBytes()), "konductor.io/held\"") {
				t.Errorf("%s: %s has written the operator's label", j.job.Name, f.Manager)
			}
		}
		w.expectNotHeld(j.job.Name, j.why)
	}
	var arrivals konductorv1.ArrivalList
	w.must(w.client.List(w.ctx, &arrivals, client.InNamespace(w.namespace)))
	for i := range arrivals.Items {
		if p := arrivals.Items[i].Spec.Participant; p != "job/held" {
			t.Errorf("%s has arrived", p)
		}
	}
	for _, s := range wire.writesOf("jobs") {
		if !strings.HasSuffix(s, "/jobs/held") {
			t.Errorf("the operator wrote to a job of another controller: %s", s)
		}
	}
}

// TestDeletedJobOfAnotherControllerDoesNotArrive has such a Job deleted after it has completed, as by ttlSecondsAfterFinished.
func TestDeletedJobOfAnotherControllerDoesNotArrive(t *testing.T) {
	w := newTestEnv(t)
	w.startJobOperator()
	createBarrier(w, "done", 2)
	annotations := map[string]string{konductorv1.ArriveAnnotation: "barrier/done"}
	queued := newHeldJob("queued", annotations, false)
	queued.Labels = map[string]string{kueueQueueLabel: "default"}
	w.createObjects(queued)
	w.waitForPodOf(queued)
	w.waitUntil("the end of the job", func() bool {
		w.finishPods(queued.UID, corev1.PodSucceeded)
		return getObject[*batchv1.Job](w, "queued").Status.Succeeded == 1
	})
	w.expectNotHeld("queued", "Kueue writes spec.suspend")
	w.must(w.client.Delete(w.ctx, queued, client.PropagationPolicy(metav1.DeletePropagationBackground)))
	waitGone(w, queued)
	quiet := time.NewTimer(quietPeriod)
	<-quiet.C
	if n := w.countArrivals("done"); n != 0 {
		t.Errorf("%d have arrived", n)
	}
}

// TestStartedJobSuspendedByAnother has another controller suspend a started Job again and again, without the annotation that
// pauses it. The admission policy undoes that or, before Kubernetes 1.36, refuses it.
func TestStartedJobSuspendedByAnother(t *testing.T) {
	w := newTestEnv(t)
	config, wire := w.hookTransport(w.operatorConfig)
	w.startOperatorWith(func(o *operator.Options) { o.Config, o.HeldWorkloads = config, true })
	w.createLease("report")
	w.createObjects(heldJob("j", holding("lease/report")))
	pod := w.waitForPodOf(w.waitJobState("j", konductorv1.HeldStarted))
	waitFor(w, "j", "active", func(j *batchv1.Job) bool { return j.Status.Active == 1 })
	w.waitNoWrites(quietPeriod)
	record := w.recordJob(getObject[*batchv1.Job](w, "j"))
	before := len(wire.writesOf(""))
	for range 10 {
		if err := w.trySetSuspend("j", true); (err == nil) != sharedCluster.suspendsHeldJobs {
			t.Errorf("suspending a started job: %v", err)
		}
	}
	quiet := time.NewTimer(quietPeriod)
	<-quiet.C
	changed, statusOnly := record.writes()
	if changed != 0 || statusOnly > 1 { // The Job controller may count the Pod as ready late.
		t.Errorf("%d revisions of spec or metadata, %d of the status:\n%s", changed, statusOnly, record.describe())
	}
	if after := wire.writesOf(""); len(after) != before {
		t.Errorf("the operator wrote %v", after[before:])
	}
	if again := w.waitForPodOf(record.current()); again.UID != pod.UID {
		t.Error("the job was stopped")
	}
}

// TestStartedJobSuspendedByAnotherWithoutPolicy has another controller suspend a started Job each time that the operator has
// started it, where no admission policy prevents that.
func TestStartedJobSuspendedByAnotherWithoutPolicy(t *testing.T) {
	t.Parallel()
	plane, err := cluster.StartControlPlane(t.Context(), cluster.ControlPlaneOptions{ControllerManager: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = plane.Close() })
	if err := install.CRDs(t.Context(), plane, nil); err != nil {
		t.Fatal(err)
	}
	account, err := install.CreateOperatorAccount(t.Context(), plane.Config())
	if err != nil {
		t.Fatal(err)
	}
	w := newTestEnvOn(t, &testCluster{ControlPlane: plane, operatorConfig: account})
	config, wire := w.hookTransport(w.operatorConfig)
	w.startOperatorWith(func(o *operator.Options) { o.Config, o.HeldWorkloads = config, true })
	w.createLease("report")
	w.checkPods(1)
	w.checkRevisions(konductorv1.KindLease, "report")
	job := newHeldJob("j", holding("lease/report"), true)
	w.createObjects(job)
	record := w.recordJob(job)
	const (
		rounds = 3
		// writesPerRound are those by which the Job stops, waits and is started again.
		writesPerRound = 3
	)
	for range rounds {
		w.waitForPodOf(w.waitJobState("j", konductorv1.HeldStarted))
		written := len(wire.writesOf("jobs"))
		changed, _ := record.writes()
		stopped := time.Now()
		w.setSuspend("j", true)
		w.waitJobState("j", konductorv1.HeldStopping)
		w.waitUntil("the next start", func() bool {
			w.removeTerminatingPods(job.UID)
			current := record.current()
			return current.Labels[konductorv1.HeldLabel] == konductorv1.HeldStarted && !*current.Spec.Suspend
		})
		if took := time.Since(stopped); took < 5*time.Second {
			t.Errorf("the job was started again after %s", took)
		}
		after, _ := record.writes()
		// One more is the other's.
		if after-changed != writesPerRound+1 {
			t.Errorf("there were %d revisions of spec or metadata, want %d", after-changed, writesPerRound+1)
		}
		// A request may fail because the Job has changed, and before Kubernetes 1.36 the operator removes the start time.
		if writes := wire.writesOf("jobs")[written:]; len(writes) > 2*writesPerRound {
			t.Errorf("the operator made %d requests: %v", len(writes), writes)
		}
	}
	w.awaitEvent("Job", "j", konductorv1.EventStopped, `the job was suspended: it waits for its holds again. To pause it, set the annotation konductor.io/pause to "true"`)
	w.waitForPodOf(job)
	w.waitNoWrites(quietPeriod)
	before := record.current().ResourceVersion
	quiet := time.NewTimer(quietPeriod)
	<-quiet.C
	if record.current().ResourceVersion != before {
		t.Error("the job is written although nobody suspends it any more")
	}
	if t.Failed() {
		t.Logf("the revisions of the job:\n%s", record.describe())
	}
}

// removeTerminatingPods lets the Pods of a Job go that are being deleted, and no others.
func (w *testEnv) removeTerminatingPods(job types.UID) {
	w.Helper()
	pods := w.jobPods(job)
	if len(pods) > 0 && !slices.ContainsFunc(pods, func(p corev1.Pod) bool { return p.DeletionTimestamp == nil }) {
		w.finishPods(job, corev1.PodFailed)
	}
}

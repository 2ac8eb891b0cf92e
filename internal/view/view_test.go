package view_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/view"
	"github.com/LogicIQ/konductor/internal/view/viewtest"
)

func newStoreWith(objects ...metav1.Object) *view.Store {
	w := view.NewStore()
	w.Apply(viewtest.FullDelta(objects...))
	return w
}

func upsertDelta(obj metav1.Object, kind string) view.Delta {
	return view.Delta{Kinds: []view.KindDelta{{Kind: kind, Upserted: []metav1.Object{obj}}}}
}

func etlRef(kind, name string) view.Ref { return view.Ref{Kind: kind, Namespace: "etl", Name: name} }

func TestRowDescription(t *testing.T) {
	timeout := konductorv1.NewDuration(10 * time.Minute)
	soon := viewtest.Barrier("etl", "b", 7, 1, 10, 8)
	soon.Spec.Timeout = timeout
	fresh := viewtest.Barrier("etl", "b", 0, 0, 3, 0)
	fresh.Status = konductorv1.BarrierStatus{}
	leaving := viewtest.Barrier("etl", "b", 0, 0, 3, 0)
	leaving.DeletionTimestamp = &metav1.Time{Time: viewtest.Now()}
	timedOut := viewtest.Barrier("etl", "b", 2, 0, 3, 0)
	at := metav1.NewTime(viewtest.Now().Add(-time.Minute))
	timedOut.Status.Phase, timedOut.Status.EndedAt = konductorv1.BarrierTimeout, &at
	timedOut.Status.Conditions[1].Message = "timed out after 10m0s with 2 of 3 arrived"
	cycle := viewtest.Gate("etl", "g", 0, "load")
	cycle.Status.Conditions[0].Status, cycle.Status.Conditions[0].Reason = metav1.ConditionFalse, konductorv1.ReasonCycle
	cycle.Status.Conditions[0].Message = "these gates wait for each other and can never open: g -> h -> g"
	other := viewtest.Gate("etl", "g", 0, "load")
	other.Status.ConditionStatuses[0] = konductorv1.GateConditionStatus{Type: konductorv1.GateOnLease, Name: "db", Namespace: "ops", State: konductorv1.StateHeld}
	expired := viewtest.Lease("etl", "l", "me", time.Minute, 0)
	past := metav1.NewMicroTime(viewtest.Now().Add(-time.Second))
	expired.Status.ExpiresAt = &past
	many := viewtest.Semaphore("etl", "s", 6, 2, "a", "b", "c", "d", "e")
	many.Status.Holders[0].Permits = 2
	for name, c := range map[string]struct {
		object metav1.Object
		want   string
	}{
		"a barrier with a timeout":              {soon, "Waiting 7/10: 1 to come, 1 failed, times out in 60s"},
		"a barrier no operator has seen":        {fresh, "Unseen 0/3: no operator has observed it yet"},
		"a barrier that is being deleted":       {leaving, "Deleting 0/3: it is being deleted"},
		"a barrier that has timed out":          {timedOut, "Timeout 2/3: timed out 60s ago, after 10m0s with 2 of 3 arrived"},
		"a barrier that has opened":             {viewtest.Barrier("etl", "b", 3, 0, 3, 0), "Open 3/3: opened 2m ago"},
		"a gate that waits":                     {viewtest.Gate("etl", "g", 1, "a", "b", "c"), "Waiting 1/3: waits for job/b, job/c"},
		"a gate on a lease elsewhere":           {other, "Waiting 0/1: waits for ops/lease/db=Held"},
		"gates in a wait cycle":                 {cycle, "Cycle 0/1: these gates wait for each other and can never open: g -> h -> g"},
		"a lease that is free":                  {viewtest.Lease("etl", "l", "", 0, 0), "Available : free"},
		"a lease that is held":                  {viewtest.Lease("etl", "l", "me", time.Minute, 2), "Held : held by me for 60s, expires in 4m, 2 waiting"},
		"a lease whose time has run out":        {expired, "Held : held by me for 60s, expiring"},
		"a semaphore that is free":              {viewtest.Semaphore("etl", "s", 2, 0), "Ready 0/2: free"},
		"a semaphore with many holders":         {many, "Ready 5/6: held by a (2), b, c and 2 more, 2 waiting"},
		"a semaphore that is paused while held": {viewtest.Semaphore("etl", "s", 0, 1, "a"), "Paused 1/0: paused with 0 permits, still held by a, 1 waiting"},
	} {
		t.Run(name, func(t *testing.T) {
			rows := newStoreWith(c.object).Rows()
			if len(rows) != 1 {
				t.Fatalf("%d rows", len(rows))
			}
			got := fmt.Sprintf("%s %s: %s", rows[0].State, rows[0].ProgressText(), rows[0].Description(viewtest.Now()))
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestApplyChanges(t *testing.T) {
	lease := viewtest.Lease("etl", "db", "me", time.Minute, 0)
	w := newStoreWith(lease)
	renewed := lease.DeepCopy()
	until := metav1.NewMicroTime(viewtest.Now().Add(time.Hour))
	renewed.Status.ExpiresAt, renewed.Status.Renewals, renewed.ResourceVersion = &until, 7, "9999999"
	handed := viewtest.Lease("etl", "db", "you", time.Second, 0)
	anew := viewtest.Lease("etl", "db", "you", time.Second, 0)
	anew.CreationTimestamp = metav1.NewTime(viewtest.Now())
	for _, step := range []struct {
		what string
		news view.Delta
		want []string
	}{
		{"a renewal", upsertDelta(renewed, konductorv1.KindLease), nil},
		{"another holder", upsertDelta(handed, konductorv1.KindLease), []string{"MODIFIED lease/db held by you, token 4711"}},
		{"the same again", upsertDelta(handed, konductorv1.KindLease), nil},
		{"deleted and created anew between two looks", upsertDelta(anew, konductorv1.KindLease), []string{"MODIFIED lease/db held by you, token 4711"}},
		{"another object", upsertDelta(viewtest.Barrier("etl", "b", 1, 0, 2, 0), konductorv1.KindBarrier), []string{"ADDED barrier/b 1/2"}},
		{"a list without the lease", view.Delta{Kinds: []view.KindDelta{{Kind: konductorv1.KindLease, Replace: true}}}, []string{"DELETED lease/db held by you, token 4711"}},
		{"deleted", view.Delta{Kinds: []view.KindDelta{{Kind: konductorv1.KindBarrier, Deleted: []view.Ref{etlRef("Barrier", "b")}}}}, []string{"DELETED barrier/b 1/2"}},
	} {
		var got []string
		for _, c := range w.Apply(step.news) {
			got = append(got, strings.TrimSpace(c.Type+" "+c.Row.String()+" "+c.Row.StateSummary()))
		}
		if diff := cmp.Diff(step.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step.what, diff)
		}
	}
}

// sectionLines returns the lines of a section of an object's details, with their cells joined, and its footnote.
func sectionLines(t *testing.T, w *view.Store, r view.Ref, title string) (lines []string, more string) {
	t.Helper()
	d, ok := w.Detail(r, viewtest.Now())
	if !ok {
		t.Fatalf("no details of %s", r)
	}
	for _, s := range d.Sections {
		if strings.HasPrefix(s.Title, title) {
			for _, l := range s.Lines {
				lines = append(lines, strings.Join(l.Cells, "|"))
			}
			return lines, s.Footnote
		}
	}
	return nil, ""
}

func TestQueueOrder(t *testing.T) {
	const kind = konductorv1.KindSemaphore
	first, second := viewtest.Claim("etl", kind, "s", "first", time.Minute, 0, false), viewtest.Claim("etl", kind, "s", "second", time.Minute, 0, false)
	first.ResourceVersion, second.ResourceVersion = "99", "100"
	w := newStoreWith(viewtest.Semaphore("etl", "s", 1, 3, "a"), second, first,
		viewtest.Claim("etl", kind, "s", "urgent", time.Second, 9, false), viewtest.Claim("etl", kind, "s", "a", time.Hour, 0, true),
		viewtest.Claim("etl", kind, "other", "x", time.Hour, 0, false))
	lines, _ := sectionLines(t, w, etlRef(kind, "s"), "Queue")
	want := []string{"1|urgent|urgent|1s|9|1", "2|first|first|60s|0|1", "3|second|second|60s|0|1"}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestMissingParticipants(t *testing.T) {
	sh := func(text string) []string { return []string{"sh", "-c", text} }
	indexed := viewtest.Job("etl", "shard", 3, "work")
	done := viewtest.Job("etl", "done", 0, "koncli", "barrier", "arrive", "b")
	done.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobFailed, Status: corev1.ConditionTrue, Reason: "BackoffLimitExceeded"}}
	for name, c := range map[string]struct {
		objects []metav1.Object
		want    []string
		more    string
	}{
		"nothing is known": {nil, nil, "4 not known yet: no Job or Pod in this namespace has a command that arrives at this barrier"},
		"an Indexed Job of which one index is here": {
			[]metav1.Object{indexed, viewtest.Arrival("etl", "b", "job/shard/1", time.Minute, false, ""), viewtest.Pod("etl", "shard-0-x", indexed, "0", corev1.PodRunning)},
			[]string{"job/shard/0|pod shard-0-x Running", "job/shard/…|1 without a pod, job 1 active"}, "and 2 more, not known yet",
		},
		"a Job whose command line arrives": {
			[]metav1.Object{viewtest.Job("etl", "load", 0, sh("load && koncli barrier arrive b --timeout 5m")...)},
			[]string{"job/load|1 active"}, "and 3 more, not known yet",
		},
		"a Job that has failed": {[]metav1.Object{done}, []string{"job/done|Failed, BackoffLimitExceeded"}, "and 3 more, not known yet"},
		"a Pod without a Job": {
			[]metav1.Object{func() *corev1.Pod {
				p := viewtest.Pod("etl", "solo", nil, "", corev1.PodPending)
				p.Spec.Containers = []corev1.Container{{Command: []string{"/konductor/koncli", "barrier", "arrive"}, Args: []string{"b"}}}
				return p
			}()},
			[]string{"pod/solo|Pending"}, "and 3 more, not known yet",
		},
		"a Job that arrives at another barrier": {
			[]metav1.Object{viewtest.Job("etl", "load", 0, sh("koncli barrier arrive bb; koncli barrier wait b")...)},
			nil, "4 not known yet: no Job or Pod in this namespace has a command that arrives at this barrier",
		},
		"a Job that arrives under another name": {
			[]metav1.Object{viewtest.Job("etl", "load", 0, sh("koncli barrier arrive b --holder me")...)},
			nil, "4 not known yet: no Job or Pod in this namespace has a command that arrives at this barrier",
		},
		"a Job in another namespace": {
			[]metav1.Object{viewtest.Job("other", "load", 0, sh("koncli barrier arrive b")...)},
			nil, "4 not known yet: no Job or Pod in this namespace has a command that arrives at this barrier",
		},
	} {
		t.Run(name, func(t *testing.T) {
			lines, more := sectionLines(t, newStoreWith(append(c.objects, viewtest.Barrier("etl", "b", 1, 0, 5, 0))...), etlRef("Barrier", "b"), "Missing (4)")
			if diff := cmp.Diff(c.want, lines); diff != "" {
				t.Errorf("missing (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.more, more); diff != "" {
				t.Errorf("the rest (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDeniedKinds(t *testing.T) {
	b := viewtest.Barrier("etl", "b", 2, 0, 5, 0)
	b.Status.Arrivals = []string{"x", "y"}
	w := newStoreWith(b)
	w.Apply(view.Delta{Kinds: []view.KindDelta{{Kind: konductorv1.KindArrival, DeniedMessage: "no arrivals"}, {Kind: view.KindEvent, DeniedMessage: "no events"}}})
	for title, want := range map[string]string{"Missing": "no arrivals", "Recent events": "no events"} {
		if _, more := sectionLines(t, w, etlRef("Barrier", "b"), title); more != want {
			t.Errorf("%s: %q, want %q", title, more, want)
		}
	}
	if lines, _ := sectionLines(t, w, etlRef("Barrier", "b"), "Arrivals (2)"); !slices.Equal(lines, []string{"x", "y"}) {
		t.Errorf("arrivals %q: the barrier itself names them", lines)
	}
	w.Apply(view.Delta{Kinds: []view.KindDelta{{Kind: konductorv1.KindBarrier, DeniedMessage: "no barriers"}}})
	if len(w.Rows()) != 1 || w.DeniedMessage(konductorv1.KindBarrier) == "" {
		t.Error("a right that is lost for a moment must not empty the picture")
	}
}

func TestDetailMaxPriority(t *testing.T) {
	limit := int32(0)
	limited, s := viewtest.Lease("etl", "limited", "", 0, 0), viewtest.Semaphore("etl", "limited", 1, 0)
	limited.Spec.MaxPriority, s.Spec.MaxPriority = &limit, &limit
	w := newStoreWith(limited, s, viewtest.Lease("etl", "free", "", 0, 0))
	for object, want := range map[view.Ref][]view.Property{
		etlRef("Lease", "limited"): {{Name: "Max priority", Value: "0"}}, etlRef("Semaphore", "limited"): {{Name: "Max priority", Value: "0"}},
		etlRef("Lease", "free"): nil,
	} {
		d, _ := w.Detail(object, viewtest.Now())
		got := slices.DeleteFunc(d.Properties, func(p view.Property) bool { return p.Name != "Max priority" })
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", object, diff)
		}
	}
}

func TestDetailRootCause(t *testing.T) {
	held := viewtest.Lease("etl", "db", "migrate-7c9f", time.Minute, 1)
	holder := viewtest.Claim("etl", konductorv1.KindLease, "db", "migrate-7c9f", time.Minute, 0, true)
	for name, c := range map[string]struct {
		object  view.Ref
		objects []metav1.Object
		want    string
	}{
		"a gate on a Job that is not there": {etlRef("Gate", "g"), []metav1.Object{viewtest.Gate("etl", "g", 0, "load")}, "why: job/load does not exist: create it"},
		"what has failed itself":            {etlRef("Barrier", "b"), []metav1.Object{viewtest.Barrier("etl", "b", 1, 2, 3, 0)}, "fix: lower spec.quorum, or delete it and create it again"},
		"what has opened":                   {etlRef("Barrier", "b"), []metav1.Object{viewtest.Barrier("etl", "b", 3, 0, 3, 0)}, ""},
		"what is held and worked with": {
			etlRef("Lease", "db"), []metav1.Object{held, holder, viewtest.Pod("etl", "migrate-7c9f", nil, "", corev1.PodRunning)},
			"why: pod/migrate-7c9f has been running on node node-1; not waiting for anything known",
		},
	} {
		w := newStoreWith(c.objects...)
		d, ok := w.Detail(c.object, viewtest.Now())
		if !ok || d.RootCause != c.want {
			t.Errorf("%s: %q, want %q", name, d.RootCause, c.want)
		}
		w.DropKinds(view.KindPod, view.KindJob)
		if d, _ := w.Detail(c.object, viewtest.Now()); d.RootCause != "" {
			t.Errorf("%s: without its Pods and Jobs nothing can be said, not %q", name, d.RootCause)
		}
	}
}

func TestSectionLineLimit(t *testing.T) {
	objects := []metav1.Object{viewtest.Semaphore("etl", "s", 1, 0, "a")}
	for i := range 1200 {
		objects = append(objects, viewtest.Claim("etl", konductorv1.KindSemaphore, "s", fmt.Sprintf("w-%d", i), time.Duration(i)*time.Second, 0, false))
	}
	lines, more := sectionLines(t, newStoreWith(objects...), etlRef(konductorv1.KindSemaphore, "s"), "Queue (1200)")
	if len(lines) != 500 || more != "and 700 more" {
		t.Errorf("%d lines, %q", len(lines), more)
	}
}

func TestEventCacheLimit(t *testing.T) {
	w := view.NewStore()
	for i := range 9000 {
		w.Apply(upsertDelta(viewtest.Event("etl", "Lease", fmt.Sprint("l", i), time.Duration(9000-i)*time.Second, false, "Granted", ""), view.KindEvent))
	}
	events := w.Events(view.Ref{}, 100000)
	if len(events) > 4000 || events[0].InvolvedObject.Name != "l8999" {
		t.Errorf("%d events, the latest about %s", len(events), events[0].InvolvedObject.Name)
	}
}

func TestSummaryJSON(t *testing.T) {
	rows := newStoreWith(viewtest.Lease("etl", "db", "me", time.Minute, 1), viewtest.Barrier("etl", "b", 7, 1, 10, 8)).Rows()
	view.Sort(rows, view.ByKind)
	got, err := json.MarshalIndent(view.NewSummary(rows), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	want := `{
  "apiVersion": "cli.konductor.io/v1",
  "kind": "Summary",
  "tally": {
    "objects": 2,
    "waiting": 2,
    "failed": 0
  },
  "objects": [
    {
      "kind": "Barrier",
      "namespace": "etl",
      "name": "b",
      "state": "Waiting",
      "done": 7,
      "total": 10,
      "quorum": 8,
      "failed": 1,
      "waiting": 0,
      "message": "7 of 10 participants have arrived",
      "created": "2026-03-01T11:51:00Z"
    },
    {
      "kind": "Lease",
      "namespace": "etl",
      "name": "db",
      "state": "Held",
      "done": 0,
      "total": 0,
      "holders": [
        {
          "holder": "me",
          "permits": 1,
          "fencingToken": 4711,
          "since": "2026-03-01T11:59:00Z",
          "until": "2026-03-01T12:04:00Z",
          "claim": "lease-db-me"
        }
      ],
      "waiting": 1,
      "message": "me holds the lease",
      "since": "2026-03-01T11:59:00Z",
      "created": "2026-03-01T11:00:00Z"
    }
  ]
}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	empty, err := json.Marshal(view.NewSummary(newStoreWith().Rows()))
	if err != nil || !strings.Contains(string(empty), `"objects":[]`) {
		t.Errorf("nothing is %s, %v", empty, err)
	}
}

func TestCommandLineQuoting(t *testing.T) {
	for want, args := range map[string][]string{
		"koncli lease break db --yes":       {"lease", "break", "db", "--yes"},
		"koncli x --holder='it'\\''s me'":   {"x", "--holder=it's me"},
		"koncli x --holder='$(rm -rf /)'":   {"x", "--holder=$(rm -rf /)"},
		"koncli x --holder=job/a/1":         {"x", "--holder=job/a/1"},
		"koncli x '' --holder=''":           {"x", "", "--holder="},
		"koncli x --kubeconfig='/a b/c.ya'": {"x", "--kubeconfig=/a b/c.ya"},
	} {
		if got := view.CommandLine("koncli", args); got != want {
			t.Errorf("%q is %s, want %s", args, got, want)
		}
	}
}

package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// Each phase of each kind can be waited for with kubectl, by conditions and by fields. And kstatus, by which Helm and others
// that know nothing of konductor judge, takes whatever the operator has accepted for done, so that nobody waits for a barrier
// to open who has only installed it; but not a gate that can never open.
func TestKubectlAndKstatusAgreeWithEachPhase(t *testing.T) {
	w := newWorld(t)
	w.operator()
	barrierOf(w, "waiting", 2)
	barrierOf(w, "open", 1)
	arrive(w, "open", "a")
	barrierOf(w, "failed", 1)
	w.ok(w.someone("a").ArriveBarrier(w.ctx, "failed", konductor.WithHolder("a"), konductor.AsFailed("disk full")))
	barrierOf(w, "late", 1, konductor.TimeOutAfter(time.Second))

	on := func(kind konductorv1.GateConditionType, name string) []condition {
		return []condition{{Type: kind, Name: name}}
	}
	w.gate("waiting", on(konductorv1.GateOnBarrier, "waiting")...)
	w.gate("open", on(konductorv1.GateOnBarrier, "open")...)
	w.job("bad")
	w.jobBecomes("bad", batchv1.JobFailed)
	w.gate("failed", onJob("bad"))
	w.create(konductor.NewGate("late", on(konductorv1.GateOnBarrier, "waiting"), konductor.TimeOutAfter(time.Second)))
	w.gate("circle", on(konductorv1.GateOnGate, "circle-2")...)
	w.gate("circle-2", on(konductorv1.GateOnGate, "circle")...)

	w.lease("available")
	held := w.lease("held")
	holder := w.someone("holder")
	hold := holder.acquire(konductorv1.KindLease, "held")
	defer w.release(hold)
	w.semaphore("ready", 1)
	w.semaphore("full", 0)

	path, kubeconfig := w.plugins(), w.kubeconfigFor(w.kubeconfig, nil)
	for _, o := range []struct {
		object, phase string
		conditions    string
		want          status.Status
	}{
		{"barriers.konductor.io/waiting", "Waiting", "Ready=True Open=False", status.CurrentStatus},
		{"barriers.konductor.io/open", "Open", "Ready=True Open=True", status.CurrentStatus},
		{"barriers.konductor.io/failed", "Failed", "Ready=True Open=False", status.CurrentStatus},
		{"barriers.konductor.io/late", "Timeout", "Ready=True Open=False", status.CurrentStatus},
		{"gates.konductor.io/waiting", "Waiting", "Ready=True Open=False", status.CurrentStatus},
		{"gates.konductor.io/open", "Open", "Ready=True Open=True", status.CurrentStatus},
		{"gates.konductor.io/failed", "Failed", "Ready=True Open=False", status.CurrentStatus},
		{"gates.konductor.io/late", "Timeout", "Ready=True Open=False", status.CurrentStatus},
		{"gates.konductor.io/circle", "Waiting", "Ready=False Open=False Deadlocked=True", status.InProgressStatus},
		{"leases.konductor.io/available", "Available", "Ready=True Held=False", status.CurrentStatus},
		{"leases.konductor.io/held", "Held", "Ready=True Held=True", status.CurrentStatus},
		{"semaphores.konductor.io/ready", "Ready", "Ready=True Available=True", status.CurrentStatus},
		{"semaphores.konductor.io/full", "Full", "Ready=True Available=False", status.CurrentStatus},
		{"claims.konductor.io/" + holder.claimName(konductorv1.KindLease, held), "Granted", "", status.CurrentStatus},
	} {
		script := fmt.Sprintf("set -e; kubectl wait --for=jsonpath='{.status.phase}'=%s --timeout=1m %s\n", o.phase, o.object)
		for condition := range strings.FieldsSeq(o.conditions) {
			script += fmt.Sprintf("kubectl wait --for=condition=%s --timeout=1m %s\n", condition, o.object)
		}
		if got := w.shell(path, kubeconfig, script); got.Code != 0 {
			t.Errorf("%s, which is to be %s with %s: %+v", o.object, o.phase, o.conditions, got)
			continue
		}
		resource, name, _ := strings.Cut(o.object, "/")
		now := &unstructured.Unstructured{}
		now.SetGroupVersionKind(konductorv1.GroupVersion().WithKind(map[string]string{
			"barriers": konductorv1.KindBarrier, "gates": konductorv1.KindGate, "leases": konductorv1.KindLease,
			"semaphores": konductorv1.KindSemaphore, "claims": konductorv1.KindClaim,
		}[strings.TrimSuffix(resource, ".konductor.io")]))
		w.ok(w.objects.Get(w.ctx, client.ObjectKey{Namespace: w.namespace, Name: name}, now))
		if got, err := status.Compute(now); err != nil || got.Status != o.want {
			t.Errorf("%s, which is %s: kstatus says %+v, %v; want %s", o.object, o.phase, got, err, o.want)
		}
		// What the operator has not seen yet is not done.
		now.SetGeneration(now.GetGeneration() + 1)
		if got, err := status.Compute(now); o.conditions != "" && (err != nil || got.Status != status.InProgressStatus) {
			t.Errorf("%s, with a change that the operator has not seen: kstatus says %+v, %v", o.object, got, err)
		}
	}
}

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

// TestKubectlWaitAndKstatus checks that kubectl can wait for each phase of each kind, by conditions and by fields; and that kstatus,
// with which Helm and other tools that don't know konductor decide, reports an object as current once the operator has accepted it,
// so that an installation doesn't wait for a barrier to open, but not a gate that can never open.
func TestKubectlWaitAndKstatus(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	createBarrier(w, "waiting", 2)
	createBarrier(w, "open", 1)
	arriveInOrder(w, "open", "a")
	createBarrier(w, "failed", 1)
	w.must(w.newParticipant("a").ArriveBarrier(w.ctx, "failed", konductor.WithHolder("a"), konductor.AsFailed("disk full")))
	createBarrier(w, "late", 1, konductor.WithTimeoutAfterCreation(time.Second))

	on := func(kind konductorv1.GateConditionType, name string) []condition {
		return []condition{{Type: kind, Name: name}}
	}
	w.createGate("waiting", on(konductorv1.GateOnBarrier, "waiting")...)
	w.createGate("open", on(konductorv1.GateOnBarrier, "open")...)
	w.createJob("bad")
	w.finishJob("bad", batchv1.JobFailed)
	w.createGate("failed", jobCondition("bad"))
	w.createObjects(konductor.NewGate("late", on(konductorv1.GateOnBarrier, "waiting"), konductor.WithTimeoutAfterCreation(time.Second)))
	w.createGate("cycle", on(konductorv1.GateOnGate, "cycle-2")...)
	w.createGate("cycle-2", on(konductorv1.GateOnGate, "cycle")...)

	w.createLease("available")
	held := w.createLease("held")
	holder := w.newParticipant("holder")
	hold := holder.mustAcquire(konductorv1.KindLease, "held")
	defer w.mustRelease(hold)
	w.createSemaphore("ready", 1)
	w.createSemaphore("full", 0)
	w.createClaimYAML("metadata: {name: refused}\nspec: {target: {kind: Lease, name: held}, holder: b, whenBusy: Refuse}")

	path, kubeconfig := w.linkPlugins(), w.writeKubeconfig(w.adminKubeconfig, nil)
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
		{"gates.konductor.io/cycle", "Waiting", "Ready=False Open=False Deadlocked=True", status.InProgressStatus},
		{"leases.konductor.io/available", "Available", "Ready=True Held=False", status.CurrentStatus},
		{"leases.konductor.io/held", "Held", "Ready=True Held=True", status.CurrentStatus},
		{"semaphores.konductor.io/ready", "Ready", "Ready=True Available=True", status.CurrentStatus},
		{"semaphores.konductor.io/full", "Full", "Ready=True Available=False", status.CurrentStatus},
		{"claims.konductor.io/" + holder.claimName(konductorv1.KindLease, held), "Granted", "Granted=True", status.CurrentStatus},
		{"claims.konductor.io/refused", "Refused", "Granted=False", status.CurrentStatus},
	} {
		script := fmt.Sprintf("set -e; kubectl wait --for=jsonpath='{.status.phase}'=%s --timeout=1m %s\n", o.phase, o.object)
		for condition := range strings.FieldsSeq(o.conditions) {
			script += fmt.Sprintf("kubectl wait --for=condition=%s --timeout=1m %s\n", condition, o.object)
		}
		if got := w.runShell(path, kubeconfig, script); got.ExitCode != 0 {
			t.Errorf("%s, which is to be %s with %s: %+v", o.object, o.phase, o.conditions, got)
			continue
		}
		resource, name, _ := strings.Cut(o.object, "/")
		now := &unstructured.Unstructured{}
		now.SetGroupVersionKind(konductorv1.GroupVersion().WithKind(map[string]string{
			"barriers": konductorv1.KindBarrier, "gates": konductorv1.KindGate, "leases": konductorv1.KindLease,
			"semaphores": konductorv1.KindSemaphore, "claims": konductorv1.KindClaim,
		}[strings.TrimSuffix(resource, ".konductor.io")]))
		w.must(w.client.Get(w.ctx, client.ObjectKey{Namespace: w.namespace, Name: name}, now))
		if got, err := status.Compute(now); err != nil || got.Status != o.want {
			t.Errorf("%s, which is %s: kstatus says %+v, %v; want %s", o.object, o.phase, got, err, o.want)
		}
		if resource == "claims.konductor.io" {
			continue
		}
		// A generation that the operator has not observed yet is in progress.
		now.SetGeneration(now.GetGeneration() + 1)
		if got, err := status.Compute(now); err != nil || got.Status != status.InProgressStatus {
			t.Errorf("%s, with a change that the operator has not seen: kstatus says %+v, %v", o.object, got, err)
		}
	}
}

package cli

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/rules"
	"github.com/LogicIQ/konductor/internal/waitgraph"
)

// gateOnJobsIn returns a gate with a condition in each namespace. The operator has observed the first judged of them.
func gateOnJobsIn(judged int, namespaces ...string) *konductorv1.Gate {
	g := &konductorv1.Gate{ObjectMeta: metav1.ObjectMeta{Namespace: "etl", Name: "g"}}
	for i, n := range namespaces {
		c := konductorv1.GateCondition{Type: konductorv1.GateOnJob, Name: "load", Namespace: n}
		g.Spec.Conditions = append(g.Spec.Conditions, c)
		if i < judged {
			g.Status.ConditionStatuses = append(g.Status.ConditionStatuses, konductorv1.GateConditionStatus{Type: c.Type, Name: c.Name, Namespace: n})
		}
	}
	return g
}

func TestUnlistedNamespaces(t *testing.T) {
	g := gateOnJobsIn(4, "allowed", "denied", "etl", "", "new")
	g.Status.ConditionStatuses[1].Message = rules.NamespaceDeniedMessage("denied")
	s := &waitgraph.Snapshot{Namespaces: []string{"etl"}, Gates: []*konductorv1.Gate{g, gateOnJobsIn(1, "allowed"), gateOnJobsIn(0, "other")}}
	if diff := cmp.Diff([]string{"allowed"}, unlistedNamespaces(s)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

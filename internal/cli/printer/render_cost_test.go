package printer

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/cli/render"
	"github.com/LogicIQ/konductor/internal/costtest"
	"github.com/LogicIQ/konductor/internal/waitgraph"
)

func TestRenderCost(t *testing.T) {
	const n, objectSize, perByte = 3000, 200, 500
	name := func(i int) string { return fmt.Sprintf("g%05d", i) }
	meta := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: "n", Name: name} }
	gate := func(s *waitgraph.Snapshot, i int, on ...konductorv1.GateCondition) {
		g := &konductorv1.Gate{ObjectMeta: meta(name(i)), Spec: konductorv1.GateSpec{Conditions: on}}
		g.Status.Phase = konductorv1.GateWaiting
		s.Gates = append(s.Gates, g)
	}
	onGate := func(i int) konductorv1.GateCondition {
		return konductorv1.GateCondition{Type: konductorv1.GateOnGate, Name: name(i)}
	}
	for what, fill := range map[string]func(*waitgraph.Snapshot){
		"a chain of gates": func(s *waitgraph.Snapshot) {
			for i := range n {
				gate(s, i, onGate(i+1))
			}
		},
		"a cycle of gates": func(s *waitgraph.Snapshot) {
			for i := range n {
				gate(s, i, onGate((i+1)%n))
			}
		},
		"gates in layers": func(s *waitgraph.Snapshot) {
			for i := range n {
				gate(s, i, onGate((i/3+1)*3), onGate((i/3+1)*3+1), onGate((i/3+1)*3+2))
			}
		},
		"gates on one Job of many Pods": func(s *waitgraph.Snapshot) {
			s.Jobs = append(s.Jobs, &batchv1.Job{ObjectMeta: meta("j")})
			for i := range n / 2 {
				gate(s, i, konductorv1.GateCondition{Type: konductorv1.GateOnJob, Name: "j"})
				pod := &corev1.Pod{ObjectMeta: meta(name(i)), Status: corev1.PodStatus{Phase: corev1.PodRunning}}
				controls := true
				pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "batch/v1", Kind: "Job", Name: "j", Controller: &controls}}
				s.Pods = append(s.Pods, pod)
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			s := &waitgraph.Snapshot{Now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
			theme := render.NewPlainTheme(true)
			signs := NewSymbols(&theme, true)
			fill(s)
			costtest.CheckLinear(t, n*objectSize, perByte, func() {
				a := waitgraph.Analyze(s)
				g := a.Graph()
				drawn := len(GraphTreeText(&g, signs)) + len(GraphDOTText(&g)) + len(GraphMermaidText(&g))
				d, err := a.Why(waitgraph.Ref{Kind: konductorv1.KindGate, Namespace: "n", Name: name(0)})
				if err != nil {
					t.Fatal(err)
				}
				told, err := json.Marshal(d)
				if err != nil {
					t.Fatal(err)
				}
				if size := drawn + len(WhyText(d, s.Now, signs)) + len(told); size > n*objectSize*20 {
					t.Errorf("%d objects fill %d bytes", n, size)
				}
			})
		})
	}
}

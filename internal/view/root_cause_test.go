package view

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

func TestDiagnosisCache(t *testing.T) {
	w := NewStore()
	gates := KindDelta{Kind: konductorv1.KindGate, Replace: true}
	for _, name := range []string{"a", "b"} {
		gates.Upserted = append(gates.Upserted, &konductorv1.Gate{ObjectMeta: metav1.ObjectMeta{Namespace: "etl", Name: name}})
	}
	w.Apply(Delta{Kinds: []KindDelta{gates}})
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	a, b := Ref{konductorv1.KindGate, "etl", "a"}, Ref{konductorv1.KindGate, "etl", "b"}
	first := w.diagnose(a, now)
	if first == nil || first.Object.Name != "a" {
		t.Fatalf("of a gate it is told %v", first)
	}
	if w.diagnose(a, now.Add(analysisMaxAge/2)) != first {
		t.Error("it is told anew while its analysis stands")
	}
	if other := w.diagnose(b, now.Add(analysisMaxAge/2)); other == nil || other.Object.Name != "b" {
		t.Errorf("of another gate it is told %v", other)
	}
	if w.diagnose(a, now.Add(analysisMaxAge)) == first {
		t.Error("it is told as before when there is a new analysis")
	}
	if got := w.diagnose(Ref{konductorv1.KindGate, "etl", "new"}, now.Add(analysisMaxAge)); got != nil {
		t.Errorf("of a gate that is not there it is told %v", got)
	}
}

package rbac_test

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"

	"github.com/LogicIQ/konductor/internal/rbac"
)

func TestParticipantRulesMatchChart(t *testing.T) {
	text, err := os.ReadFile("../../charts/konductor/files/rbac/participant.yaml")
	if err != nil {
		t.Fatal(err)
	}
	role := &rbacv1.ClusterRole{}
	if err := yaml.UnmarshalStrict(text, role); err != nil {
		t.Fatal(err)
	}
	if role.Name != rbac.ParticipantRoleName {
		t.Errorf("the chart's role is called %s", role.Name)
	}
	if diff := cmp.Diff(rbac.ParticipantRules(), role.Rules); diff != "" {
		t.Errorf("the chart's role (-here +chart):\n%s", diff)
	}
}

func TestRoleBindingName(t *testing.T) {
	for want, who := range map[string]rbacv1.Subject{
		"konductor-participant-worker":           rbac.ServiceAccountSubject("etl", "worker"),
		"konductor-participant-other-worker":     rbac.ServiceAccountSubject("other", "worker"),
		"konductor-participant-jane@example.com": rbac.UserSubject("jane@example.com"),
		"konductor-participant-https:--id-jane":  rbac.UserSubject("https://id/jane"),
	} {
		_, binding := rbac.NewRoleAndBinding(rbac.ParticipantRoleName, "etl", rbac.ParticipantRules(), who)
		if binding.Name != want {
			t.Errorf("the binding of %s is called %s, want %s", who.Name, binding.Name, want)
		}
	}
}

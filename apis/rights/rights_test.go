package rights_test

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"

	"github.com/LogicIQ/konductor/apis/rights"
)

func TestTheChartsParticipantRoleHasTheseRules(t *testing.T) {
	text, err := os.ReadFile("../../charts/konductor/files/rbac/participant.yaml")
	if err != nil {
		t.Fatal(err)
	}
	role := &rbacv1.ClusterRole{}
	if err := yaml.UnmarshalStrict(text, role); err != nil {
		t.Fatal(err)
	}
	if role.Name != rights.ParticipantRole {
		t.Errorf("the chart's role is called %s", role.Name)
	}
	if diff := cmp.Diff(rights.Participant(), role.Rules); diff != "" {
		t.Errorf("the chart's role (-here +chart):\n%s", diff)
	}
}

func TestABindingIsNamedForWhoHasIt(t *testing.T) {
	for want, who := range map[string]rbacv1.Subject{
		"konductor-participant-worker":           rights.Account("etl", "worker"),
		"konductor-participant-other-worker":     rights.Account("other", "worker"),
		"konductor-participant-jane@example.com": rights.User("jane@example.com"),
		"konductor-participant-https:--id-jane":  rights.User("https://id/jane"),
	} {
		_, binding := rights.Grant("etl", rights.Participant(), who)
		if binding.Name != want {
			t.Errorf("the binding of %s is called %s, want %s", who.Name, binding.Name, want)
		}
	}
}

package versions

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/yaml"

	"github.com/LogicIQ/konductor/e2e/cluster"
	"github.com/LogicIQ/konductor/e2e/cluster/toolchain"
	"github.com/LogicIQ/konductor/e2e/cluster/toolchain/toolchaintest"
	"github.com/LogicIQ/konductor/e2e/manifest"
)

func TestExpectedError(t *testing.T) {
	for name, tc := range map[string]struct{ version, words, want string }{
		"an object, now":               {"1.36.3", `spec: Invalid value: leave it out`, `spec: Invalid value: leave it out`},
		"an object, before":            {"1.34.9", `spec: Invalid value: leave it out`, `spec: Invalid value: "object": leave it out`},
		"a string, before":             {"1.32.9", `spec.ttl: Invalid value: "5 \"m\"": must be a duration`, `spec.ttl: Invalid value: "string": must be a duration`},
		"a number, before":             {"1.32.9", `spec.renewals: Invalid value: -1: start at 0`, `spec.renewals: Invalid value: "integer": start at 0`},
		"a bound, which is no rule":    {"1.32.9", `spec.expected: Invalid value: 0: spec.expected in body should be more`, `spec.expected: Invalid value: 0: spec.expected in body should be more`},
		"what has no value, before":    {"1.32.9", `spec.permits: Required value`, `spec.permits: Required value`},
		"an entry that is there twice": {"1.32.9", `holders[1]: Duplicate value: {"a":"b"}`, `holders[1]: Duplicate value: map[string]interface {}{"a":"b"}`},
		"a number's format, before":    {"1.35.4", `x: Invalid value: "float64": x in body must be of type int32: "float64"`, `x: Invalid value: "number": x in body must be of type integer: "number"`},
		"the release that changed it":  {"1.35.0", `spec: Invalid value: leave it out`, `spec: Invalid value: leave it out`},
	} {
		t.Run(name, func(t *testing.T) {
			if got := (Version{version.MustParse(tc.version)}).ExpectedError(tc.words); got != tc.want {
				t.Errorf("%s says %q, want %q", tc.version, got, tc.want)
			}
		})
	}
}

// TestServerVersionMatchesRequest checks that the API server has the requested version, and that the differences are as
// described.
func TestServerVersionMatchesRequest(t *testing.T) {
	plane, err := cluster.StartControlPlane(t.Context(), cluster.ControlPlaneOptions{Log: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := plane.Close(); err != nil {
			t.Error(err)
		}
	}()
	server := ForTest(t, plane.Config())
	t.Logf("kube-apiserver has version %s", server)
	asked := os.Getenv(toolchain.KubernetesEnv)
	if asked == "" && os.Getenv("KUBEBUILDER_ASSETS") == "" {
		asked = toolchain.KubernetesVersions()[len(toolchain.KubernetesVersions())-1]
	}
	if asked != "" && server.Minor() != asked {
		t.Errorf("the API server has version %s, and %s was asked for", server, asked)
	}
	if asked != "" {
		out, err := exec.CommandContext(t.Context(), toolchaintest.ProgramPath(t, "kubectl"), "version", "--client").CombinedOutput()
		if err != nil || !strings.Contains(string(out), "Client Version: "+server.String()) {
			t.Errorf("kubectl isn't of version %s: %v\n%s", server, err, out)
		}
	}

	d, err := discovery.NewDiscoveryClientForConfig(plane.Config())
	if err != nil {
		t.Fatal(err)
	}
	_, lists, err := d.ServerGroupsAndResources()
	if err != nil {
		t.Fatal(err)
	}
	var served []string
	for _, list := range lists {
		for i := range list.APIResources {
			served = append(served, list.GroupVersion+"/"+list.APIResources[i].Name)
		}
	}
	if got := slices.Contains(served, "admissionregistration.k8s.io/v1/mutatingadmissionpolicies"); got != server.HasMutatingAdmissionPolicy() {
		t.Errorf("%s serves MutatingAdmissionPolicies: %v", server, got)
	}
	if slices.ContainsFunc(served, func(s string) bool { return strings.HasSuffix(s, "beta1/mutatingadmissionpolicies") }) {
		t.Errorf("%s serves the beta version of MutatingAdmissionPolicies by default", server)
	}
}

func TestOldestVersionMatchesChart(t *testing.T) {
	root, err := manifest.RepoRoot()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(root + "/charts/konductor/Chart.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var chart struct{ KubeVersion string }
	if err := yaml.Unmarshal(text, &chart); err != nil {
		t.Fatal(err)
	}
	if want := ">=" + toolchain.KubernetesVersions()[0] + ".0-0"; chart.KubeVersion != want {
		t.Errorf("the chart admits %s, and the oldest that tests run on makes that %s", chart.KubeVersion, want)
	}
}

package chart

import (
	"encoding/json"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/e2e/cluster"
	"github.com/LogicIQ/konductor/e2e/install"
	"github.com/LogicIQ/konductor/e2e/internal/versions"
)

// TestMutatingAdmissionPolicyVersions uses clusters that serve MutatingAdmissionPolicies in one version, another, or none. Both
// Helms and the plugin install konductor's policy in that version, and where there is none nothing else is missing.
func TestMutatingAdmissionPolicyVersions(t *testing.T) {
	plane := startControlPlane(t)
	on := versions.ForTest(t, plane.Config())
	served := ""
	if on.HasMutatingAdmissionPolicy() {
		served = "v1"
	}
	t.Run(on.String()+" as it comes", func(t *testing.T) { checkMutatingPolicyInstallation(t, plane, served, served != "") })
	switch {
	case on.HasMutatingAdmissionPolicy():
		t.Run("served and turned off", func(t *testing.T) {
			checkMutatingPolicyInstallation(t, startControlPlane(t, "--feature-gates=MutatingAdmissionPolicy=false"), served, false)
		})
	case on.HasBetaMutatingAdmissionPolicy():
		t.Run("the beta version turned on", func(t *testing.T) {
			checkMutatingPolicyInstallation(t, startControlPlane(t, "--feature-gates=MutatingAdmissionPolicy=true", "--runtime-config=admissionregistration.k8s.io/v1beta1=true"), "v1beta1", true)
		})
	}
}

// checkMutatingPolicyInstallation installs with each tool and checks that the policy exists in that version, or not at all when
// it is empty, and whether it works.
func checkMutatingPolicyInstallation(t *testing.T, cp *cluster.ControlPlane, version string, acts bool) {
	t.Helper()
	there := func(by string, want int) {
		t.Helper()
		objects := newApplier(t, cp.Config()).client
		for _, v := range []string{"v1", "v1beta1"} {
			for _, resource := range mutatingPolicyResources(v) {
				list, err := objects.Resource(resource).List(t.Context(), metav1.ListOptions{})
				switch {
				case v != version && !apierrors.IsNotFound(err):
					t.Errorf("%s are served in %s, so that this shows nothing: %v", resource.Resource, v, err)
				case v == version && err != nil:
					t.Fatal(err)
				case v == version && len(list.Items) != want:
					t.Errorf("%s: there are %d %s, want %d", by, len(list.Items), resource.Resource, want)
				}
			}
		}
	}
	there("at first", 0)
	for _, helm := range []string{"helm", "helm3"} {
		of := []string{"--kubeconfig", cp.Kubeconfig(), "--namespace", install.Namespace}
		runTool(t, nil, helm, append([]string{"upgrade", "--install", "konductor", chartDir(t), "--create-namespace"}, of...)...)
		there("installed by "+helm, 6)
		checkCreatorRecorded(t, cp, acts)
		runTool(t, nil, helm, append([]string{"uninstall", "konductor", "--wait"}, of...)...)
		there("uninstalled by "+helm, 0)
	}
	do := func(args ...string) commandResult {
		t.Helper()
		return runCommand(t, buildPlugin(t, "v1.2.0"), append(args, "--kubeconfig", cp.Kubeconfig())...)
	}
	do("install", "--wait=false").expectExit(t, 0)
	there("installed by the plugin", 6)
	checkCreatorRecorded(t, cp, acts)
	do("uninstall", "--yes").expectExit(t, 0)
	there("uninstalled by the plugin", 0)
}

// checkCreatorRecorded checks whether the API server records the creator in a claim that doesn't name it.
func checkCreatorRecorded(t *testing.T, cp *cluster.ControlPlane, want bool) {
	t.Helper()
	rest := newRESTClient(t, cp.Config())
	made := func() (by string, err error) {
		claim := &konductorv1.Claim{}
		err = rest.Post().Namespace(namespace).Resource("claims").Param("dryRun", metav1.DryRunAll).
			SetHeader("Content-Type", "application/json").Body([]byte(unboundClaimJSON("probe"))).Do(t.Context()).Into(claim)
		return claim.Annotations[konductorv1.CreatedByAnnotation], err
	}
	if want {
		eventually(t, "the API server notes who makes a claim", func() bool {
			by, err := made()
			return err == nil && by != ""
		})
		return
	}
	// By now the other policy is in force.
	eventually(t, "nobody else is named", func() bool {
		claim := strings.Replace(unboundClaimJSON("probe"), `"name":"probe"`, `"name":"probe","annotations":{"konductor.io/created-by":"somebody"}`, 1)
		err := rest.Post().Namespace(namespace).Resource("claims").Param("dryRun", metav1.DryRunAll).SetHeader("Content-Type", "application/json").Body([]byte(claim)).Do(t.Context()).Error()
		return err != nil && strings.Contains(err.Error(), "must be omitted, or name the user who sends the request")
	})
	if by, err := made(); err != nil || by != "" {
		t.Errorf("a claim that doesn't say who made it was made by %q, it says (%v)", by, err)
	}
}

// TestPluginUninstallsRemovedAPIVersions uninstalls an object from an upgraded cluster that no longer serves the version in which it
// was installed: the plugin deletes it in another version.
func TestPluginUninstallsRemovedAPIVersions(t *testing.T) {
	cp := startControlPlane(t)
	do := func(args ...string) commandResult {
		t.Helper()
		return runCommand(t, buildPlugin(t, "v1.2.0"), append(args, "--kubeconfig", cp.Kubeconfig())...)
	}
	do("install", "--wait=false", "--set", "flowControl.enabled=true").expectExit(t, 0)
	maps := kubernetes.NewForConfigOrDie(cp.Config()).CoreV1().ConfigMaps(install.Namespace)
	record, err := maps.Get(t.Context(), "konductor-installation", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	const now, before = "flowcontrol.apiserver.k8s.io/v1 ", "flowcontrol.apiserver.k8s.io/v1beta3 "
	objects := strings.ReplaceAll(record.Data["objects"], now, before)
	if !strings.Contains(objects, before) {
		t.Fatalf("the record has nothing in %s:\n%s", now, objects)
	}
	patch, err := json.Marshal(map[string]any{"data": map[string]string{"objects": objects}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := maps.Patch(t.Context(), record.Name, "application/merge-patch+json", patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	do("uninstall", "--yes").expectExit(t, 0, "flowschema.flowcontrol.apiserver.k8s.io/konductor-operator deleted")
	checkNothingLeft(t, cp, "after the uninstallation")
}

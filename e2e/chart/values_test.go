package chart

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	"github.com/LogicIQ/konductor/e2e/cluster/toolchain/toolchaintest"
	"github.com/LogicIQ/konductor/e2e/install"
	"github.com/LogicIQ/konductor/e2e/internal/versions"
	"github.com/LogicIQ/konductor/e2e/manifest"
	"github.com/LogicIQ/konductor/internal/chart"
)

// kubeVersion is the version for which the chart is rendered without a cluster.
const kubeVersion = "v1.36.3"

// valuesCase is values of the chart and a check of the result.
type valuesCase struct {
	values string
	want   func(r renderedObjects) bool
}

// renderedObjects are the objects of a rendered chart, by key.
type renderedObjects map[string]any

// field returns a field, as in field("Deployment", "konductor-operator", "spec", "replicas"); a number is an index. Without the
// field it returns nil.
func (r renderedObjects) field(kind, name string, path ...any) any {
	var now any
	for k, obj := range r {
		if k == kind+" "+name || strings.HasPrefix(k, kind+" ") && strings.HasSuffix(k, "/"+name) {
			now = obj
		}
	}
	for _, step := range path {
		switch step := step.(type) {
		case string:
			m, _ := now.(map[string]any)
			now = m[step]
		case int:
			list, _ := now.([]any)
			if step >= len(list) {
				return nil
			}
			now = list[step]
		}
	}
	return now
}

// fieldEquals reports whether a field equals the YAML value want.
func (r renderedObjects) fieldEquals(want, kind, name string, path ...any) bool {
	var wanted any
	if err := yaml.Unmarshal([]byte(want), &wanted); err != nil {
		return false
	}
	return cmp.Equal(wanted, r.field(kind, name, path...))
}

func (r renderedObjects) podFieldEquals(want string, path ...any) bool {
	return r.fieldEquals(want, "Deployment", install.Deployment, append([]any{"spec", "template", "spec"}, path...)...)
}

func (r renderedObjects) containerFieldEquals(want string, path ...any) bool {
	return r.podFieldEquals(want, append([]any{"containers", 0}, path...)...)
}

func (r renderedObjects) hasArg(want string) bool {
	args, _ := r.field("Deployment", install.Deployment, "spec", "template", "spec", "containers", 0, "args").([]any)
	return slices.Contains(args, any(want))
}

func (r renderedObjects) countKind(kind string) (n int) {
	for k := range r {
		if strings.HasPrefix(k, kind+" ") {
			n++
		}
	}
	return n
}

const deploymentKind, operatorName = "Deployment", install.Deployment

// valuesCases cover all values of the chart. A test checks that none is missing.
var valuesCases = map[string]valuesCase{
	"nothing asked for": {"{}", func(r renderedObjects) bool {
		return r.fieldEquals("2", deploymentKind, operatorName, "spec", "replicas") && r.containerFieldEquals("logiciq/koncli:dev", "image") &&
			r.countKind("CustomResourceDefinition") == 6 && r.countKind("NetworkPolicy") == 0 && r.countKind("ServiceMonitor") == 0 &&
			r.hasArg("--metrics-bind-address=:8443") && r.countKind("PodDisruptionBudget") == 1 &&
			r.containerFieldEquals("null", "env") &&
			r.fieldEquals("null", deploymentKind, operatorName, "spec", "template", "spec", "nodeSelector")
	}},
	"one replica": {"replicas: 1", func(r renderedObjects) bool {
		return r.fieldEquals("1", deploymentKind, operatorName, "spec", "replicas") && r.countKind("PodDisruptionBudget") == 0
	}},
	"no replica": {"replicas: 0", func(r renderedObjects) bool {
		return r.fieldEquals("0", deploymentKind, operatorName, "spec", "replicas")
	}},
	"an image of one's own": {"image: {repository: registry.example/koncli, tag: v9, pullPolicy: Always}\nimagePullSecrets: [{name: registry}]", func(r renderedObjects) bool {
		return r.containerFieldEquals("registry.example/koncli:v9", "image") && r.containerFieldEquals("Always", "imagePullPolicy") && r.podFieldEquals("[{name: registry}]", "imagePullSecrets")
	}},
	"an image by digest": {"image: {digest: 'sha256:" + strings.Repeat("ab", 32) + "'}", func(r renderedObjects) bool {
		return r.containerFieldEquals("logiciq/koncli@sha256:"+strings.Repeat("ab", 32), "image")
	}},
	"resource types not kept": {"crds: {keep: false}", func(r renderedObjects) bool {
		return r.field("CustomResourceDefinition", "leases.konductor.io", "metadata", "annotations", "helm.sh/resource-policy") == nil
	}},
	"resource types kept": {"crds: {keep: true}", func(r renderedObjects) bool {
		return r.fieldEquals("keep", "CustomResourceDefinition", "leases.konductor.io", "metadata", "annotations", "helm.sh/resource-policy")
	}},
	"no resource types": {"crds: {install: false}", func(r renderedObjects) bool { return r.countKind("CustomResourceDefinition") == 0 }},
	"some namespaces": {"watchNamespaces: [etl, reports]", func(r renderedObjects) bool {
		return r.hasArg("--watch-namespaces=etl,reports") && r.hasArg("--metrics-bind-address=0") && r.countKind("Service") == 0 &&
			r.field("ClusterRole", operatorName) == nil && r.countKind("ClusterRoleBinding") == 0 && r.countKind("Role") == 3 && r.countKind("RoleBinding") == 3 &&
			r.field("Role", operatorName+"-"+install.Namespace, "rules") != nil
	}},
	"the log": {"log: {level: debug, format: text}", func(r renderedObjects) bool {
		return r.hasArg("--log-level=debug") && r.hasArg("--log-format=text")
	}},
	"further arguments": {"extraArgs: ['--pprof-bind-address=127.0.0.1:6060']", func(r renderedObjects) bool {
		return r.hasArg("--pprof-bind-address=127.0.0.1:6060")
	}},
	"further environment": {"extraEnv: [{name: GOMEMLIMIT, value: 400MiB}, {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}]", func(r renderedObjects) bool {
		return r.containerFieldEquals("[{name: GOMEMLIMIT, value: 400MiB}, {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}]", "env")
	}},
	"resources": {"resources: {requests: {cpu: 1, memory: 1Gi}, limits: {memory: 2Gi}}", func(r renderedObjects) bool {
		return r.containerFieldEquals("{requests: {cpu: 1, memory: 1Gi}, limits: {memory: 2Gi}}", "resources")
	}},
	"labels and annotations": {
		"labels: {team: batch}\nannotations: {owner: us}\npodLabels: {mesh: 'false'}\npodAnnotations: {scrape: 'no'}\nserviceAccountAnnotations: {role: r}",
		func(r renderedObjects) bool {
			return r.fieldEquals("batch", deploymentKind, operatorName, "metadata", "labels", "team") && r.fieldEquals("us", deploymentKind, operatorName, "metadata", "annotations", "owner") &&
				r.fieldEquals("batch", "ServiceAccount", operatorName, "metadata", "labels", "team") && r.fieldEquals("{owner: us, role: r}", "ServiceAccount", operatorName, "metadata", "annotations") &&
				r.fieldEquals("'false'", deploymentKind, operatorName, "spec", "template", "metadata", "labels", "mesh") &&
				r.fieldEquals("'no'", deploymentKind, operatorName, "spec", "template", "metadata", "annotations", "scrape") &&
				r.fieldEquals("us", "Service", operatorName+"-metrics", "metadata", "annotations", "owner")
		},
	},
	"the same labels and annotations twice": {
		"labels: {team: all, app.kubernetes.io/instance: another}\npodLabels: {team: pods, app.kubernetes.io/name: another}\npodAnnotations: {kubectl.kubernetes.io/default-container: another}\n" +
			"metrics: {serviceMonitor: {enabled: true, labels: {team: scraped}}, prometheusRule: {enabled: true, labels: {team: rules}}, dashboard: {enabled: true, labels: {team: dashboards}}}",
		func(r renderedObjects) bool {
			return r.fieldEquals("pods", deploymentKind, operatorName, "spec", "template", "metadata", "labels", "team") && r.fieldEquals("all", deploymentKind, operatorName, "metadata", "labels", "team") &&
				r.fieldEquals("konductor", deploymentKind, operatorName, "spec", "template", "metadata", "labels", "app.kubernetes.io/instance") &&
				r.fieldEquals("konductor", deploymentKind, operatorName, "spec", "template", "metadata", "labels", "app.kubernetes.io/name") &&
				r.fieldEquals("another", deploymentKind, operatorName, "spec", "template", "metadata", "annotations", "kubectl.kubernetes.io/default-container") &&
				r.fieldEquals("scraped", "ServiceMonitor", operatorName, "metadata", "labels", "team") && r.fieldEquals("rules", "PrometheusRule", operatorName, "metadata", "labels", "team") &&
				r.fieldEquals("dashboards", "ConfigMap", "konductor-dashboard-konductor", "metadata", "labels", "team")
		},
	},
	"nothing where there could be something": {
		"watchNamespaces: null\nlabels: null\nannotations: null\npodLabels: null\npodAnnotations: null\nserviceAccountAnnotations: null\nmetrics: {serviceMonitor: {enabled: true, labels: null}, prometheusRule: {enabled: true, labels: null}, dashboard: {enabled: true, labels: null, annotations: null}}",
		func(r renderedObjects) bool {
			return r.countKind("ServiceMonitor") == 1 && r.fieldEquals("{kubectl.kubernetes.io/default-container: operator}", deploymentKind, operatorName, "spec", "template", "metadata", "annotations")
		},
	},
	"where it runs": {
		"nodeSelector: {pool: system}\ntolerations: [{key: system, operator: Exists}]\npriorityClassName: system-cluster-critical\naffinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: pool, operator: Exists}]}]}}}",
		func(r renderedObjects) bool {
			return r.podFieldEquals("{pool: system}", "nodeSelector") && r.podFieldEquals("[{key: system, operator: Exists}]", "tolerations") && r.podFieldEquals("system-cluster-critical", "priorityClassName") &&
				r.podFieldEquals("pool", "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms", 0, "matchExpressions", 0, "key")
		},
	},
	"spread over racks only": {"topologySpread: {topologyKeys: [rack], whenUnsatisfiable: DoNotSchedule}", func(r renderedObjects) bool {
		return r.podFieldEquals("rack", "topologySpreadConstraints", 0, "topologyKey") && r.podFieldEquals("DoNotSchedule", "topologySpreadConstraints", 0, "whenUnsatisfiable") &&
			r.podFieldEquals("null", "topologySpreadConstraints", 1)
	}},
	"not spread": {"topologySpread: {enabled: false}", func(r renderedObjects) bool { return r.podFieldEquals("null", "topologySpreadConstraints") }},
	"a disruption budget": {"podDisruptionBudget: {maxUnavailable: 50%}", func(r renderedObjects) bool {
		return r.fieldEquals("50%", "PodDisruptionBudget", operatorName, "spec", "maxUnavailable")
	}},
	"no disruption budget": {"podDisruptionBudget: {enabled: false}", func(r renderedObjects) bool { return r.countKind("PodDisruptionBudget") == 0 }},
	"a network policy":     {"networkPolicy: {enabled: true, apiServerPorts: [8443], metricsFrom: [{namespaceSelector: {matchLabels: {name: monitoring}}}]}", hasNetworkPolicy},
	"metrics never": {"metrics: {serve: never}", func(r renderedObjects) bool {
		return r.hasArg("--metrics-bind-address=0") && r.countKind("Service") == 0 && r.field("ClusterRole", operatorName+"-metrics") == nil
	}},
	"metrics at another port": {"metrics: {port: 9443}", func(r renderedObjects) bool {
		return r.hasArg("--metrics-bind-address=:9443") && r.fieldEquals("9443", "Service", operatorName+"-metrics", "spec", "ports", 0, "port")
	}},
	"metrics of some namespaces": {"watchNamespaces: [etl]\nmetrics: {serve: always}", func(r renderedObjects) bool {
		return r.hasArg("--metrics-bind-address=:8443") && r.field("ClusterRole", operatorName+"-metrics-"+install.Namespace) != nil && r.field("ClusterRole", operatorName) == nil
	}},
	"monitoring": {
		"metrics: {serviceMonitor: {enabled: true, interval: 10s, labels: {release: prometheus}}, prometheusRule: {enabled: true, labels: {release: prometheus}}, dashboard: {enabled: true, labels: {grafana_dashboard: 'yes'}, annotations: {grafana_folder: Batch}}}",
		func(r renderedObjects) bool {
			return r.fieldEquals("10s", "ServiceMonitor", operatorName, "spec", "endpoints", 0, "interval") && r.fieldEquals("prometheus", "ServiceMonitor", operatorName, "metadata", "labels", "release") &&
				r.fieldEquals("prometheus", "PrometheusRule", operatorName, "metadata", "labels", "release") && r.field("PrometheusRule", operatorName, "spec", "groups", 0, "rules", 0, "alert") != nil &&
				r.fieldEquals("'yes'", "ConfigMap", "konductor-dashboard-konductor", "metadata", "labels", "grafana_dashboard") &&
				r.fieldEquals("Batch", "ConfigMap", "konductor-dashboard-konductor", "metadata", "annotations", "grafana_folder") &&
				isDashboard(r.field("ConfigMap", "konductor-dashboard-konductor", "data", "konductor.json"))
		},
	},
	"traces": {"tracing: {endpoint: 'otel-collector.monitoring:4317'}\nnetworkPolicy: {enabled: true}", func(r renderedObjects) bool {
		return r.hasArg("--tracing-endpoint=otel-collector.monitoring:4317") && r.hasArg("--tracing-sampling-rate=1000000") &&
			r.fieldEquals("[{protocol: TCP, port: 4317}, {protocol: UDP, port: 53}, {protocol: TCP, port: 53}]", "NetworkPolicy", operatorName, "spec", "egress", 1, "ports")
	}},
	"some traces over TLS": {"tracing: {endpoint: 'https://[2001:db8::1]:443', samplingRatePerMillion: 100}", func(r renderedObjects) bool {
		return r.hasArg("--tracing-endpoint=https://[2001:db8::1]:443") && r.hasArg("--tracing-sampling-rate=100")
	}},
	"flow control": {"flowControl: {enabled: true, operatorShares: 30, participantShares: 60}\notherOperators: [batch/konductor-operator]", func(r renderedObjects) bool {
		return r.countKind("PriorityLevelConfiguration") == 2 && r.countKind("FlowSchema") == 3 &&
			r.fieldEquals("30", "PriorityLevelConfiguration", operatorName, "spec", "limited", "nominalConcurrencyShares") &&
			r.fieldEquals("60", "PriorityLevelConfiguration", "konductor-participants", "spec", "limited", "nominalConcurrencyShares") &&
			r.fieldEquals("{kind: ServiceAccount, serviceAccount: {name: konductor-operator, namespace: konductor-system}}", "FlowSchema", operatorName, "spec", "rules", 0, "subjects", 0) &&
			r.fieldEquals("{kind: ServiceAccount, serviceAccount: {name: konductor-operator, namespace: batch}}", "FlowSchema", operatorName, "spec", "rules", 0, "subjects", 1)
	}},
	"no flow control": {"flowControl: {enabled: false}", func(r renderedObjects) bool {
		return r.countKind("FlowSchema") == 0 && r.countKind("PriorityLevelConfiguration") == 0
	}},
	"no participant role": {"participantRole: false", func(r renderedObjects) bool { return r.field("ClusterRole", "konductor-participant") == nil }},
	"no admission policy": {"admissionPolicy: false", func(r renderedObjects) bool {
		return r.countKind("ValidatingAdmissionPolicy") == 0 && r.countKind("MutatingAdmissionPolicy") == 0 && !r.hasArg("--hold-workloads")
	}},
	"held workloads": {"watchNamespaces: [etl]", func(r renderedObjects) bool {
		return r.hasArg("--hold-workloads") && r.field("ValidatingAdmissionPolicy", "konductor-held-jobs") != nil &&
			r.fieldEquals("[etl]", "ValidatingAdmissionPolicyBinding", "konductor-held-jobs", "spec", "matchResources", "namespaceSelector", "matchExpressions", 0, "values")
	}},
	"no held workloads": {"heldWorkloads: false", func(r renderedObjects) bool {
		return !r.hasArg("--hold-workloads") && r.field("ValidatingAdmissionPolicy", "konductor-held-jobs") == nil && r.field("ValidatingAdmissionPolicy", "konductor-status") != nil
	}},
	"the cluster's own roles left alone": {"aggregatedRoles: false", func(r renderedObjects) bool {
		return r.field("ClusterRole", "konductor-edit") == nil && r.field("ClusterRole", "konductor-participant") != nil
	}},
	"operators of other releases": {"otherOperators: [batch/konductor-operator]", func(r renderedObjects) bool {
		const both = "request.userInfo.username in ['system:serviceaccount:" + install.Namespace + ":" + operatorName + "', 'system:serviceaccount:batch:konductor-operator']"
		policy, _ := json.Marshal(r.field("ValidatingAdmissionPolicy", "konductor-status", "spec"))
		return strings.Contains(string(policy), both)
	}},
	"quotas": {"quotas: {etl: {claims: 1000, arrivals: 10000}, reports: {leases: 5}}", func(r renderedObjects) bool {
		return r.countKind("ResourceQuota") == 2 &&
			r.fieldEquals("'5'", "ResourceQuota", "reports/konductor", "spec", "hard", "count/leases.konductor.io") &&
			r.fieldEquals("'1000'", "ResourceQuota", "etl/konductor", "spec", "hard", "count/claims.konductor.io")
	}},
}

func hasNetworkPolicy(r renderedObjects) bool {
	return r.fieldEquals("[{ports: [{protocol: TCP, port: 8443}]}]", "NetworkPolicy", operatorName, "spec", "egress") &&
		r.fieldEquals("[{namespaceSelector: {matchLabels: {name: monitoring}}}]", "NetworkPolicy", operatorName, "spec", "ingress", 1, "from")
}

func isDashboard(text any) bool {
	var dashboard struct {
		Title  string
		Panels []any
	}
	s, _ := text.(string)
	return json.Unmarshal([]byte(s), &dashboard) == nil && dashboard.Title != "" && len(dashboard.Panels) > 0
}

// renderWithHelm renders the chart with one of the Helms, for a version of Kubernetes.
func renderWithHelm(t *testing.T, helm, version, values string) []*unstructured.Unstructured {
	t.Helper()
	file := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(file, []byte(values), 0o600); err != nil {
		t.Fatal(err)
	}
	out := runTool(t, nil, helm, "template", "konductor", chartDir(t), "--namespace", install.Namespace, "--kube-version", version, "--values", file)
	for _, document := range strings.Split(string(out), "\n---\n") {
		if err := yaml.UnmarshalStrict([]byte(document), &map[string]any{}); err != nil {
			t.Errorf("%s renders what is not strictly YAML: %v", helm, err)
		}
	}
	objects, err := manifest.Parse(out)
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

func TestChartValues(t *testing.T) {
	cp := startControlPlane(t)
	for _, name := range []string{install.Namespace, "etl", "reports"} {
		createRestrictedNamespace(t, cp, name)
	}
	server, on := newApplier(t, cp.Config()), versions.ForTest(t, cp.Config())
	for _, kind := range []string{"ServiceMonitor", "PrometheusRule"} {
		if err := server.apply(t.Context(), newSchemalessCRD("monitoring.coreos.com", "v1", kind), false); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the kinds of the Prometheus operator are served", func() bool {
		server.mapper.Reset()
		_, err := server.mapper.RESTMapping(monitoringv1.SchemeGroupVersion.WithKind("PrometheusRule").GroupKind())
		return err == nil
	})
	for name, o := range valuesCases {
		t.Run(name, func(t *testing.T) {
			objects := renderWithHelm(t, "helm", on.String(), o.values)
			seen := objectsByKey(t, objects)
			if !o.want(seen) {
				text, _ := yaml.Marshal(renderedObjects(seen).field(deploymentKind, operatorName))
				t.Errorf("%s is not rendered as it should be; there is %q\n%s", o.values, slices.Sorted(maps.Keys(seen)), text)
			}
			for _, obj := range objects {
				if err := server.apply(t.Context(), obj, true); err != nil {
					t.Errorf("the API server refuses %s: %v", objectKey(obj), err)
				}
				checkPrometheusTypes(t, obj)
			}
			if diff := cmp.Diff(seen, objectsByKey(t, renderWithHelm(t, "helm3", on.String(), o.values))); diff != "" {
				t.Errorf("Helm 4 and 3 render differently (-4 +3):\n%s", diff)
			}
			if diff := cmp.Diff(seen, objectsByKey(t, renderWithPlugin(t, on.String(), o.values))); diff != "" {
				t.Errorf("Helm and the plugin render differently (-Helm +plugin):\n%s", diff)
			}
			checkPodSecurity(t, kubernetes.NewForConfigOrDie(cp.Config()), objects)
			checkNoWildcardRights(t, objects)
		})
	}
}

// renderWithPlugin renders the chart with the plugin's code, for a version of Kubernetes.
func renderWithPlugin(t *testing.T, version, values string) []*unstructured.Unstructured {
	t.Helper()
	parsed, err := chart.ParseValues([]byte(values))
	if err != nil {
		t.Fatal(err)
	}
	r, err := chart.Render(chart.Release{Namespace: install.Namespace, KubeVersion: version, Service: "Helm"}, parsed)
	if err != nil {
		t.Fatal(err)
	}
	return r.Objects
}

// checkPodSecurity lets the API server check a Pod of each Deployment against the restricted Pod Security level.
func checkPodSecurity(t *testing.T, kube kubernetes.Interface, objects []*unstructured.Unstructured) {
	t.Helper()
	for _, obj := range objects {
		if obj.GetKind() != deploymentKind {
			continue
		}
		template, _, _ := unstructured.NestedMap(obj.Object, "spec", "template", "spec")
		text, err := json.Marshal(template)
		if err != nil {
			t.Fatal(err)
		}
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: "operator-", Namespace: install.Namespace}}
		if err := json.Unmarshal(text, &pod.Spec); err != nil {
			t.Fatal(err)
		}
		// Admission of ServiceAccounts comes before; and only the kube-system namespace may use that class.
		pod.Spec.ServiceAccountName, pod.Spec.PriorityClassName = "default", ""
		if _, err := kube.CoreV1().Pods(install.Namespace).Create(t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}); err != nil {
			t.Errorf("the namespace doesn't let the operator's Pod in: %v", err)
		}
		if c := pod.Spec.Containers[0].SecurityContext; c.ReadOnlyRootFilesystem == nil || !*c.ReadOnlyRootFilesystem || *pod.Spec.SecurityContext.RunAsUser != 65532 {
			t.Errorf("the operator's root is writable, or it isn't user 65532")
		}
	}
}

// checkNoWildcardRights checks that no rule has a wildcard for groups, resources or verbs.
func checkNoWildcardRights(t *testing.T, objects []*unstructured.Unstructured) {
	t.Helper()
	for _, obj := range objects {
		if obj.GroupVersionKind().Group != rbacv1.GroupName {
			continue
		}
		role := &rbacv1.ClusterRole{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(obj.Object, role); err != nil {
			t.Fatal(err)
		}
		for _, rule := range role.Rules {
			if all := slices.Concat(rule.APIGroups, rule.Resources, rule.Verbs, rule.NonResourceURLs); slices.ContainsFunc(all, func(s string) bool { return strings.Contains(s, "*") }) {
				t.Errorf("%s has a right with a wildcard: %v", objectKey(obj), rule)
			}
		}
	}
}

// checkPrometheusTypes checks objects of the Prometheus operator against its types.
func checkPrometheusTypes(t *testing.T, obj *unstructured.Unstructured) {
	t.Helper()
	into := map[string]any{"ServiceMonitor": &monitoringv1.ServiceMonitor{}, "PrometheusRule": &monitoringv1.PrometheusRule{}}[obj.GetKind()]
	if into == nil {
		return
	}
	text, err := yaml.Marshal(obj.Object)
	if err == nil {
		err = yaml.UnmarshalStrict(text, into)
	}
	if err != nil {
		t.Errorf("%s: %v", objectKey(obj), err)
	}
}

// newSchemalessCRD returns a CRD whose objects may have any fields.
func newSchemalessCRD(group, version, kind string) *unstructured.Unstructured {
	plural := strings.ToLower(kind) + "s"
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": map[string]any{"name": plural + "." + group},
		"spec": map[string]any{
			"group": group, "scope": "Namespaced", "names": map[string]any{"kind": kind, "plural": plural},
			"versions": []any{map[string]any{"name": version, "served": true, "storage": true, "schema": map[string]any{
				"openAPIV3Schema": map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true},
			}}},
		},
	}}
}

func TestEveryChartValueIsTested(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(chartDir(t), "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	values, err := chart.ParseValues(text)
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for name, o := range valuesCases {
		given, err := chart.ParseValues([]byte(o.values))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, path := range valuePaths("", given) {
			used[path] = true
		}
	}
	for _, path := range valuePaths("", values) {
		tested := slices.ContainsFunc(slices.Collect(maps.Keys(used)), func(u string) bool {
			return u == path || strings.HasPrefix(u, path+".") || strings.HasPrefix(path, u+".")
		})
		if !tested {
			t.Errorf("no option in this test sets %s", path)
		}
	}
}

// valuePaths returns the dotted names of the values in a map.
func valuePaths(prefix string, values map[string]any) (all []string) {
	for name, value := range values {
		inner, ok := value.(map[string]any)
		if ok && len(inner) > 0 {
			all = append(all, valuePaths(prefix+name+".", inner)...)
			continue
		}
		all = append(all, prefix+name)
	}
	return all
}

func TestInvalidValuesRejectedByHelmAndPlugin(t *testing.T) {
	helm := toolchaintest.ProgramPath(t, "helm")
	for _, values := range []string{
		"{replicas: many}", "{replicas: -1}", "{replicas: 1.5}", "{replica: 1}", "{image: {name: x}}", "{image: {repository: ''}}", "{image: {digest: sha256:short}}",
		"{image: {pullPolicy: Sometimes}}", "{imagePullSecrets: [registry]}", "{imagePullSecrets: [{}]}", "{crds: {keep: maybe}}", "{watchNamespaces: etl}",
		"{watchNamespaces: [Upper]}", "{watchNamespaces: [a, a]}", "{log: {level: loud}}", "{log: {format: xml}}", "{extraArgs: [operator]}", "{extraEnv: [{value: x}]}",
		"{labels: {a: 1}}", "{podLabels: {a: true}}", "{tolerations: {}}", "{topologySpread: {whenUnsatisfiable: Never}}", "{podDisruptionBudget: {maxUnavailable: all}}",
		"{networkPolicy: {apiServerPorts: []}}", "{networkPolicy: {apiServerPorts: [0]}}", "{metrics: {serve: sometimes}}", "{metrics: {port: 80}}",
		"{tracing: {endpoint: collector}}", "{tracing: {endpoint: 'http://collector:4317'}}", "{tracing: {samplingRatePerMillion: 0.5}}", "{tracing: {samplingRatePerMillion: 1000001}}",
		"{metrics: {serviceMonitor: {interval: often}}}", "{metrics: {dashboards: {}}}", "{participantRole: 'yes'}", "{admissionPolicy: 1}", "{resources: {request: {}}}",
		"{flowControl: {enabled: 'yes'}}", "{flowControl: {operatorShares: 0}}", "{flowControl: {shares: 5}}",
	} {
		file := filepath.Join(t.TempDir(), "values.yaml")
		if err := os.WriteFile(file, []byte(values), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.CommandContext(t.Context(), helm, "template", "k", chartDir(t), "--values", file).CombinedOutput(); err == nil || !strings.Contains(string(out), "don't meet the specifications") {
			t.Errorf("Helm renders %s: %v\n%s", values, err, out)
		}
		parsed, err := chart.ParseValues([]byte(values))
		if err != nil {
			t.Fatal(err)
		}
		_, err = chart.Render(chart.Release{Namespace: install.Namespace, KubeVersion: kubeVersion}, parsed)
		if err == nil || !strings.HasPrefix(err.Error(), "value ") {
			t.Errorf("the plugin renders %s: %v", values, err)
		}
	}
}

// TestServiceMonitorRequiresMetrics checks that values which would silently have no effect are rejected, and that the error says
// what to write instead.
func TestServiceMonitorRequiresMetrics(t *testing.T) {
	const want = "set metrics.serve to always"
	for _, values := range []string{"{watchNamespaces: [etl], metrics: {serviceMonitor: {enabled: true}}}", "{metrics: {serve: never, serviceMonitor: {enabled: true}}}"} {
		file := filepath.Join(t.TempDir(), "values.yaml")
		if err := os.WriteFile(file, []byte(values), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), toolchaintest.ProgramPath(t, "helm"), "template", "k", chartDir(t), "--values", file).CombinedOutput()
		if err == nil || !strings.Contains(string(out), want) {
			t.Errorf("Helm renders %s: %v\n%s", values, err, out)
		}
		parsed, err := chart.ParseValues([]byte(values))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := chart.Render(chart.Release{Namespace: install.Namespace, KubeVersion: kubeVersion}, parsed); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the plugin renders %s: %v", values, err)
		}
	}
}

func TestNotesContainThreeCommands(t *testing.T) {
	for _, values := range []string{"{}", "{watchNamespaces: null}", "{watchNamespaces: [etl]}"} {
		parsed, err := chart.ParseValues([]byte(values))
		if err != nil {
			t.Fatal(err)
		}
		r, err := chart.Render(chart.Release{Namespace: install.Namespace, KubeVersion: kubeVersion}, parsed)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(r.Notes, "\n  kubectl "); n != 3 {
			t.Errorf("the notes have %d commands, want 3:\n%s", n, r.Notes)
		}
	}
}

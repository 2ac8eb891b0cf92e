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
	"github.com/LogicIQ/konductor/e2e/manifest"
	"github.com/LogicIQ/konductor/plugins/konductor/chart"
)

const kubeVersion = "v1.36.3"

// option is values of the chart and what they must come to.
type option struct {
	values string
	want   func(r rendering) bool
}

// rendering is what a chart was rendered to, by key.
type rendering map[string]any

// at returns a field, as in at("Deployment", "konductor-operator", "spec", "replicas"); a number is an index. Nothing is nil.
func (r rendering) at(kind, name string, path ...any) any {
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

// has reports whether a field is what YAML says.
func (r rendering) has(want, kind, name string, path ...any) bool {
	var wanted any
	if err := yaml.Unmarshal([]byte(want), &wanted); err != nil {
		return false
	}
	return cmp.Equal(wanted, r.at(kind, name, path...))
}

func (r rendering) pod(want string, path ...any) bool {
	return r.has(want, "Deployment", install.Deployment, append([]any{"spec", "template", "spec"}, path...)...)
}

func (r rendering) container(want string, path ...any) bool {
	return r.pod(want, append([]any{"containers", 0}, path...)...)
}

func (r rendering) arg(want string) bool {
	args, _ := r.at("Deployment", install.Deployment, "spec", "template", "spec", "containers", 0, "args").([]any)
	return slices.Contains(args, any(want))
}

func (r rendering) kinds(kind string) (n int) {
	for k := range r {
		if strings.HasPrefix(k, kind+" ") {
			n++
		}
	}
	return n
}

const deployment, operatorName = "Deployment", install.Deployment

// options are all that the chart can do. A test sees to it that no value is missing here.
var options = map[string]option{
	"nothing asked for": {"{}", func(r rendering) bool {
		return r.has("2", deployment, operatorName, "spec", "replicas") && r.container("logiciq/koncli:dev", "image") &&
			r.kinds("CustomResourceDefinition") == 6 && r.kinds("NetworkPolicy") == 0 && r.kinds("ServiceMonitor") == 0 &&
			r.arg("--metrics-bind-address=:8443") && r.kinds("PodDisruptionBudget") == 1 &&
			r.container("[{name: GOMEMLIMIT, valueFrom: {resourceFieldRef: {resource: limits.memory}}}]", "env") &&
			r.has("null", deployment, operatorName, "spec", "template", "spec", "nodeSelector")
	}},
	"one replica": {"replicas: 1", func(r rendering) bool {
		return r.has("1", deployment, operatorName, "spec", "replicas") && r.kinds("PodDisruptionBudget") == 0
	}},
	"no replica": {"replicas: 0", func(r rendering) bool { return r.has("0", deployment, operatorName, "spec", "replicas") }},
	"an image of one's own": {"image: {repository: registry.example/koncli, tag: v9, pullPolicy: Always}\nimagePullSecrets: [{name: registry}]", func(r rendering) bool {
		return r.container("registry.example/koncli:v9", "image") && r.container("Always", "imagePullPolicy") && r.pod("[{name: registry}]", "imagePullSecrets")
	}},
	"an image by digest": {"image: {digest: 'sha256:" + strings.Repeat("ab", 32) + "'}", func(r rendering) bool {
		return r.container("logiciq/koncli@sha256:"+strings.Repeat("ab", 32), "image")
	}},
	"resource types not kept": {"crds: {keep: false}", func(r rendering) bool {
		return r.at("CustomResourceDefinition", "leases.konductor.io", "metadata", "annotations", "helm.sh/resource-policy") == nil
	}},
	"resource types kept": {"crds: {keep: true}", func(r rendering) bool {
		return r.has("keep", "CustomResourceDefinition", "leases.konductor.io", "metadata", "annotations", "helm.sh/resource-policy")
	}},
	"no resource types": {"crds: {install: false}", func(r rendering) bool { return r.kinds("CustomResourceDefinition") == 0 }},
	"some namespaces": {"watchNamespaces: [etl, reports]", func(r rendering) bool {
		return r.arg("--watch-namespaces=etl,reports") && r.arg("--metrics-bind-address=0") && r.kinds("Service") == 0 &&
			r.at("ClusterRole", operatorName) == nil && r.kinds("ClusterRoleBinding") == 0 && r.kinds("Role") == 3 && r.kinds("RoleBinding") == 3 &&
			r.at("Role", operatorName+"-"+install.Namespace, "rules") != nil
	}},
	"the log": {"log: {level: debug, format: text}", func(r rendering) bool {
		return r.arg("--log-level=debug") && r.arg("--log-format=text")
	}},
	"further arguments": {"extraArgs: ['--pprof-bind-address=127.0.0.1:6060']", func(r rendering) bool {
		return r.arg("--pprof-bind-address=127.0.0.1:6060")
	}},
	"further environment": {"extraEnv: [{name: GOMEMLIMIT, value: 400MiB}, {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}]", func(r rendering) bool {
		return r.container("[{name: GOMEMLIMIT, value: 400MiB}, {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}]", "env")
	}},
	"further environment with the limit": {"extraEnv: [{name: GOGC, value: '50'}]", func(r rendering) bool {
		return r.container("[{name: GOMEMLIMIT, valueFrom: {resourceFieldRef: {resource: limits.memory}}}, {name: GOGC, value: '50'}]", "env")
	}},
	"resources": {"resources: {requests: {cpu: 1, memory: 1Gi}, limits: {memory: 2Gi}}", func(r rendering) bool {
		return r.container("{requests: {cpu: 1, memory: 1Gi}, limits: {memory: 2Gi}}", "resources")
	}},
	"labels and annotations": {
		"labels: {team: batch}\nannotations: {owner: us}\npodLabels: {mesh: 'false'}\npodAnnotations: {scrape: 'no'}\nserviceAccountAnnotations: {role: r}",
		func(r rendering) bool {
			return r.has("batch", deployment, operatorName, "metadata", "labels", "team") && r.has("us", deployment, operatorName, "metadata", "annotations", "owner") &&
				r.has("batch", "ServiceAccount", operatorName, "metadata", "labels", "team") && r.has("{owner: us, role: r}", "ServiceAccount", operatorName, "metadata", "annotations") &&
				r.has("'false'", deployment, operatorName, "spec", "template", "metadata", "labels", "mesh") &&
				r.has("'no'", deployment, operatorName, "spec", "template", "metadata", "annotations", "scrape") &&
				r.has("us", "Service", operatorName+"-metrics", "metadata", "annotations", "owner")
		},
	},
	"the same labels and annotations twice": {
		"labels: {team: all, app.kubernetes.io/instance: another}\npodLabels: {team: pods, app.kubernetes.io/name: another}\npodAnnotations: {kubectl.kubernetes.io/default-container: another}\n" +
			"metrics: {serviceMonitor: {enabled: true, labels: {team: scraped}}, prometheusRule: {enabled: true, labels: {team: rules}}, dashboard: {enabled: true, labels: {team: dashboards}}}",
		func(r rendering) bool {
			return r.has("pods", deployment, operatorName, "spec", "template", "metadata", "labels", "team") && r.has("all", deployment, operatorName, "metadata", "labels", "team") &&
				r.has("konductor", deployment, operatorName, "spec", "template", "metadata", "labels", "app.kubernetes.io/instance") &&
				r.has("konductor", deployment, operatorName, "spec", "template", "metadata", "labels", "app.kubernetes.io/name") &&
				r.has("another", deployment, operatorName, "spec", "template", "metadata", "annotations", "kubectl.kubernetes.io/default-container") &&
				r.has("scraped", "ServiceMonitor", operatorName, "metadata", "labels", "team") && r.has("rules", "PrometheusRule", operatorName, "metadata", "labels", "team") &&
				r.has("dashboards", "ConfigMap", "konductor-dashboard-konductor", "metadata", "labels", "team")
		},
	},
	"nothing where there could be something": {
		"watchNamespaces: null\nlabels: null\nannotations: null\npodLabels: null\npodAnnotations: null\nserviceAccountAnnotations: null\nmetrics: {serviceMonitor: {enabled: true, labels: null}, prometheusRule: {enabled: true, labels: null}, dashboard: {enabled: true, labels: null, annotations: null}}",
		func(r rendering) bool {
			return r.kinds("ServiceMonitor") == 1 && r.has("{kubectl.kubernetes.io/default-container: operator}", deployment, operatorName, "spec", "template", "metadata", "annotations")
		},
	},
	"where it runs": {
		"nodeSelector: {pool: system}\ntolerations: [{key: system, operator: Exists}]\npriorityClassName: system-cluster-critical\naffinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: pool, operator: Exists}]}]}}}",
		func(r rendering) bool {
			return r.pod("{pool: system}", "nodeSelector") && r.pod("[{key: system, operator: Exists}]", "tolerations") && r.pod("system-cluster-critical", "priorityClassName") &&
				r.pod("pool", "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms", 0, "matchExpressions", 0, "key")
		},
	},
	"spread over racks only": {"topologySpread: {topologyKeys: [rack], whenUnsatisfiable: DoNotSchedule}", func(r rendering) bool {
		return r.pod("rack", "topologySpreadConstraints", 0, "topologyKey") && r.pod("DoNotSchedule", "topologySpreadConstraints", 0, "whenUnsatisfiable") &&
			r.pod("null", "topologySpreadConstraints", 1)
	}},
	"not spread": {"topologySpread: {enabled: false}", func(r rendering) bool { return r.pod("null", "topologySpreadConstraints") }},
	"a disruption budget": {"podDisruptionBudget: {maxUnavailable: 50%}", func(r rendering) bool {
		return r.has("50%", "PodDisruptionBudget", operatorName, "spec", "maxUnavailable")
	}},
	"no disruption budget": {"podDisruptionBudget: {enabled: false}", func(r rendering) bool { return r.kinds("PodDisruptionBudget") == 0 }},
	"a network policy":     {"networkPolicy: {enabled: true, apiServerPorts: [8443], metricsFrom: [{namespaceSelector: {matchLabels: {name: monitoring}}}]}", isolated},
	"metrics never": {"metrics: {serve: never}", func(r rendering) bool {
		return r.arg("--metrics-bind-address=0") && r.kinds("Service") == 0 && r.at("ClusterRole", operatorName+"-metrics") == nil
	}},
	"metrics at another port": {"metrics: {port: 9443}", func(r rendering) bool {
		return r.arg("--metrics-bind-address=:9443") && r.has("9443", "Service", operatorName+"-metrics", "spec", "ports", 0, "port")
	}},
	"metrics of some namespaces": {"watchNamespaces: [etl]\nmetrics: {serve: always}", func(r rendering) bool {
		return r.arg("--metrics-bind-address=:8443") && r.at("ClusterRole", operatorName+"-metrics-"+install.Namespace) != nil && r.at("ClusterRole", operatorName) == nil
	}},
	"monitoring": {
		"metrics: {serviceMonitor: {enabled: true, interval: 10s, labels: {release: prometheus}}, prometheusRule: {enabled: true, labels: {release: prometheus}}, dashboard: {enabled: true, labels: {grafana_dashboard: 'yes'}, annotations: {grafana_folder: Batch}}}",
		func(r rendering) bool {
			return r.has("10s", "ServiceMonitor", operatorName, "spec", "endpoints", 0, "interval") && r.has("prometheus", "ServiceMonitor", operatorName, "metadata", "labels", "release") &&
				r.has("prometheus", "PrometheusRule", operatorName, "metadata", "labels", "release") && r.at("PrometheusRule", operatorName, "spec", "groups", 0, "rules", 0, "alert") != nil &&
				r.has("'yes'", "ConfigMap", "konductor-dashboard-konductor", "metadata", "labels", "grafana_dashboard") &&
				r.has("Batch", "ConfigMap", "konductor-dashboard-konductor", "metadata", "annotations", "grafana_folder") &&
				isDashboard(r.at("ConfigMap", "konductor-dashboard-konductor", "data", "konductor.json"))
		},
	},
	"traces": {"tracing: {endpoint: 'otel-collector.monitoring:4317'}\nnetworkPolicy: {enabled: true}", func(r rendering) bool {
		return r.arg("--tracing-endpoint=otel-collector.monitoring:4317") && r.arg("--tracing-sampling-rate=1000000") &&
			r.has("[{protocol: TCP, port: 4317}, {protocol: UDP, port: 53}, {protocol: TCP, port: 53}]", "NetworkPolicy", operatorName, "spec", "egress", 1, "ports")
	}},
	"some traces over TLS": {"tracing: {endpoint: 'https://[2001:db8::1]:443', samplingRatePerMillion: 100}", func(r rendering) bool {
		return r.arg("--tracing-endpoint=https://[2001:db8::1]:443") && r.arg("--tracing-sampling-rate=100")
	}},
	"flow control": {"flowControl: {enabled: true, operatorShares: 30, participantShares: 60}\notherOperators: [batch/konductor-operator]", func(r rendering) bool {
		return r.kinds("PriorityLevelConfiguration") == 2 && r.kinds("FlowSchema") == 3 &&
			r.has("30", "PriorityLevelConfiguration", operatorName, "spec", "limited", "nominalConcurrencyShares") &&
			r.has("60", "PriorityLevelConfiguration", "konductor-participants", "spec", "limited", "nominalConcurrencyShares") &&
			r.has("{kind: ServiceAccount, serviceAccount: {name: konductor-operator, namespace: konductor-system}}", "FlowSchema", operatorName, "spec", "rules", 0, "subjects", 0) &&
			r.has("{kind: ServiceAccount, serviceAccount: {name: konductor-operator, namespace: batch}}", "FlowSchema", operatorName, "spec", "rules", 0, "subjects", 1)
	}},
	"no flow control": {"flowControl: {enabled: false}", func(r rendering) bool {
		return r.kinds("FlowSchema") == 0 && r.kinds("PriorityLevelConfiguration") == 0
	}},
	"no participant role": {"participantRole: false", func(r rendering) bool { return r.at("ClusterRole", "konductor-participant") == nil }},
	"no admission policy": {"admissionPolicy: false", func(r rendering) bool {
		return r.kinds("ValidatingAdmissionPolicy") == 0 && r.kinds("MutatingAdmissionPolicy") == 0
	}},
	"the cluster's own roles left alone": {"aggregatedRoles: false", func(r rendering) bool {
		return r.at("ClusterRole", "konductor-edit") == nil && r.at("ClusterRole", "konductor-participant") != nil
	}},
	"operators of other releases": {"otherOperators: [batch/konductor-operator]", func(r rendering) bool {
		const both = "request.userInfo.username in ['system:serviceaccount:" + install.Namespace + ":" + operatorName + "', 'system:serviceaccount:batch:konductor-operator']"
		policy, _ := json.Marshal(r.at("ValidatingAdmissionPolicy", "konductor-status", "spec"))
		return strings.Contains(string(policy), both)
	}},
	"quotas": {"quotas: {etl: {claims: 1000, arrivals: 10000}, reports: {leases: 5}}", func(r rendering) bool {
		return r.kinds("ResourceQuota") == 2 &&
			r.has("'5'", "ResourceQuota", "reports/konductor", "spec", "hard", "count/leases.konductor.io") &&
			r.has("'1000'", "ResourceQuota", "etl/konductor", "spec", "hard", "count/claims.konductor.io")
	}},
}

func isolated(r rendering) bool {
	return r.has("[{ports: [{protocol: TCP, port: 8443}]}]", "NetworkPolicy", operatorName, "spec", "egress") &&
		r.has("[{namespaceSelector: {matchLabels: {name: monitoring}}}]", "NetworkPolicy", operatorName, "spec", "ingress", 1, "from")
}

func isDashboard(text any) bool {
	var dashboard struct {
		Title  string
		Panels []any
	}
	s, _ := text.(string)
	return json.Unmarshal([]byte(s), &dashboard) == nil && dashboard.Title != "" && len(dashboard.Panels) > 0
}

// rendered renders the chart with one of the Helms.
func rendered(t *testing.T, helm, values string) []*unstructured.Unstructured {
	t.Helper()
	file := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(file, []byte(values), 0o600); err != nil {
		t.Fatal(err)
	}
	out := run(t, nil, helm, "template", "konductor", chartDir(t), "--namespace", install.Namespace, "--kube-version", kubeVersion, "--values", file)
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

func TestEachOptionDoesWhatItSays(t *testing.T) {
	cp := controlPlane(t)
	for _, name := range []string{install.Namespace, "etl", "reports"} {
		restricted(t, cp, name)
	}
	server := newApplier(t, cp.Config())
	for _, kind := range []string{"ServiceMonitor", "PrometheusRule"} {
		if err := server.apply(t.Context(), anyKind("monitoring.coreos.com", "v1", kind), false); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the kinds of the Prometheus operator are served", func() bool {
		server.mapper.Reset()
		_, err := server.mapper.RESTMapping(monitoringv1.SchemeGroupVersion.WithKind("PrometheusRule").GroupKind())
		return err == nil
	})
	for name, o := range options {
		t.Run(name, func(t *testing.T) {
			objects := rendered(t, "helm", o.values)
			seen := byKey(t, objects)
			if !o.want(seen) {
				text, _ := yaml.Marshal(rendering(seen).at(deployment, operatorName))
				t.Errorf("%s is not rendered as it should be; there is %q\n%s", o.values, slices.Sorted(maps.Keys(seen)), text)
			}
			for _, obj := range objects {
				if err := server.apply(t.Context(), obj, true); err != nil {
					t.Errorf("the API server refuses %s: %v", key(obj), err)
				}
				strictly(t, obj)
			}
			if diff := cmp.Diff(seen, byKey(t, rendered(t, "helm3", o.values))); diff != "" {
				t.Errorf("Helm 4 and 3 render differently (-4 +3):\n%s", diff)
			}
			if diff := cmp.Diff(seen, byKey(t, byPlugin(t, o.values))); diff != "" {
				t.Errorf("Helm and the plugin render differently (-Helm +plugin):\n%s", diff)
			}
			checkPods(t, kubernetes.NewForConfigOrDie(cp.Config()), objects)
			checkRoles(t, objects)
		})
	}
}

// byPlugin renders the chart as the plugin does.
func byPlugin(t *testing.T, values string) []*unstructured.Unstructured {
	t.Helper()
	parsed, err := chart.Parse([]byte(values))
	if err != nil {
		t.Fatal(err)
	}
	r, err := chart.Render(chart.Release{Namespace: install.Namespace, KubeVersion: kubeVersion, Service: "Helm"}, parsed)
	if err != nil {
		t.Fatal(err)
	}
	return r.Objects
}

// checkPods lets the API server judge a Pod of each Deployment by the restricted Pod Security level.
func checkPods(t *testing.T, kube kubernetes.Interface, objects []*unstructured.Unstructured) {
	t.Helper()
	for _, obj := range objects {
		if obj.GetKind() != deployment {
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

// checkRoles sees to it that every right is named: none is for all groups, resources or verbs.
func checkRoles(t *testing.T, objects []*unstructured.Unstructured) {
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
				t.Errorf("%s has a right with a wildcard: %v", key(obj), rule)
			}
		}
	}
}

// strictly checks objects of the Prometheus operator against its types.
func strictly(t *testing.T, obj *unstructured.Unstructured) {
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
		t.Errorf("%s: %v", key(obj), err)
	}
}

// anyKind is a resource type whose objects may have any fields.
func anyKind(group, version, kind string) *unstructured.Unstructured {
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

func TestEachValueHasAnOption(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(chartDir(t), "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	values, err := chart.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for name, o := range options {
		given, err := chart.Parse([]byte(o.values))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, path := range paths("", given) {
			used[path] = true
		}
	}
	for _, path := range paths("", values) {
		tested := slices.ContainsFunc(slices.Collect(maps.Keys(used)), func(u string) bool {
			return u == path || strings.HasPrefix(u, path+".") || strings.HasPrefix(path, u+".")
		})
		if !tested {
			t.Errorf("no option in this test sets %s", path)
		}
	}
}

// paths returns the dotted names of the values in a map.
func paths(prefix string, values map[string]any) (all []string) {
	for name, value := range values {
		inner, ok := value.(map[string]any)
		if ok && len(inner) > 0 {
			all = append(all, paths(prefix+name+".", inner)...)
			continue
		}
		all = append(all, prefix+name)
	}
	return all
}

func TestHelmAndThePluginRefuseTheSameValues(t *testing.T) {
	helm := toolchaintest.Path(t, "helm")
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
		parsed, err := chart.Parse([]byte(values))
		if err != nil {
			t.Fatal(err)
		}
		_, err = chart.Render(chart.Release{Namespace: install.Namespace, KubeVersion: kubeVersion}, parsed)
		if err == nil || !strings.HasPrefix(err.Error(), "value ") {
			t.Errorf("the plugin renders %s: %v", values, err)
		}
	}
}

// What would silently be left out is refused, with what to write instead.
func TestAServiceMonitorNeedsMetrics(t *testing.T) {
	const want = "set metrics.serve to always"
	for _, values := range []string{"{watchNamespaces: [etl], metrics: {serviceMonitor: {enabled: true}}}", "{metrics: {serve: never, serviceMonitor: {enabled: true}}}"} {
		file := filepath.Join(t.TempDir(), "values.yaml")
		if err := os.WriteFile(file, []byte(values), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), toolchaintest.Path(t, "helm"), "template", "k", chartDir(t), "--values", file).CombinedOutput()
		if err == nil || !strings.Contains(string(out), want) {
			t.Errorf("Helm renders %s: %v\n%s", values, err, out)
		}
		parsed, err := chart.Parse([]byte(values))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := chart.Render(chart.Release{Namespace: install.Namespace, KubeVersion: kubeVersion}, parsed); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the plugin renders %s: %v", values, err)
		}
	}
}

func TestNotesHaveThreeCommands(t *testing.T) {
	for _, values := range []string{"{}", "{watchNamespaces: null}", "{watchNamespaces: [etl]}"} {
		parsed, err := chart.Parse([]byte(values))
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

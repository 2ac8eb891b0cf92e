package crd

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// minimalManifests returns the smallest manifest of each kind.
func minimalManifests() map[string]string {
	return map[string]string{
		konductorv1.KindBarrier:   barrierYAML(`expected: 1`),
		konductorv1.KindGate:      gateYAML(`{type: Job, name: a}`),
		konductorv1.KindLease:     `{kind: Lease}`,
		konductorv1.KindSemaphore: semaphoreYAML(`permits: 1`),
		konductorv1.KindClaim:     claimYAML(``),
		konductorv1.KindArrival:   arrivalYAML(`barrier: b, participant: me`),
	}
}

// fieldAt returns the value at a path of an object, or nil.
func fieldAt(t *testing.T, obj *unstructured.Unstructured, path ...string) any {
	t.Helper()
	v, _, err := unstructured.NestedFieldNoCopy(obj.Object, path...)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestDefaults(t *testing.T) {
	created := mustCreate(t.Context(), t, claimYAML(``))
	read := created.DeepCopy()
	if err := apiClient.Get(t.Context(), client.ObjectKeyFromObject(created), read); err != nil {
		t.Fatal(err)
	}
	for where, obj := range map[string]*unstructured.Unstructured{"in the answer": created, "when read": read} {
		for path, want := range map[string]any{
			"spec.permits": int64(1), "spec.priority": int64(0), "spec.whenBusy": "Wait", "spec.renewals": int64(0), "status.phase": "Pending",
		} {
			if got := fieldAt(t, obj, strings.Split(path, ".")...); got != want {
				t.Errorf("%s: %s is %v, want %v", where, path, got, want)
			}
		}
	}
}

// TestStatusSubresource checks that a write to an object doesn't change its status, and the other way round.
func TestStatusSubresource(t *testing.T) {
	invented := map[string]string{
		konductorv1.KindBarrier: "Open", konductorv1.KindGate: "Open", konductorv1.KindLease: "Held", konductorv1.KindSemaphore: "Full", konductorv1.KindClaim: "Refused",
	}
	for kind, phase := range invented {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			before := map[string]any{konductorv1.KindClaim: "Pending"}[kind]

			obj := mustCreate(t.Context(), t, strings.TrimSuffix(minimalManifests()[kind], "}")+", status: {phase: "+phase+"}}")
			if got := fieldAt(t, obj, "status", "phase"); got != before {
				t.Errorf("a status in the manifest makes the phase %v, want %v", got, before)
			}
			if err := unstructured.SetNestedField(obj.Object, phase, "status", "phase"); err != nil {
				t.Fatal(err)
			}
			if err := apiClient.Update(t.Context(), obj); err != nil {
				t.Fatal(err)
			}
			if got := fieldAt(t, obj, "status", "phase"); got != before {
				t.Errorf("a status in an update makes the phase %v, want %v", got, before)
			}

			spec, generation := fieldAt(t, obj, "spec"), obj.GetGeneration()
			mustPatch(t.Context(), t, obj, `{spec: {ttl: 9h}, metadata: {labels: {a: b}}, status: {phase: `+phase+`}}`)
			if diff := cmp.Diff(spec, fieldAt(t, obj, "spec")); diff != "" {
				t.Errorf("a write of the status changed the spec (-before +after):\n%s", diff)
			}
			if got := fieldAt(t, obj, "status", "phase"); got != phase {
				t.Errorf("a write of the status makes the phase %v, want %v", got, phase)
			}
			if got := obj.GetGeneration(); got != generation {
				t.Errorf("a write of the status raised the generation from %d to %d", generation, got)
			}
		})
	}
}

// TestStatusUpdateConflict checks what all grants rest on.
func TestStatusUpdateConflict(t *testing.T) {
	one := mustCreate(t.Context(), t, `{kind: Lease}`)
	other := one.DeepCopy()
	for who, obj := range map[string]*unstructured.Unstructured{"one": one, "other": other} {
		status := map[string]any{"waiting": int64(len(who))}
		if err := unstructured.SetNestedMap(obj.Object, status, "status"); err != nil {
			t.Fatal(err)
		}
	}
	if err := apiClient.Status().Update(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	if err := apiClient.Status().Update(t.Context(), other); !apierrors.IsConflict(err) {
		t.Errorf("the second write ended with %v, want a conflict", err)
	}
}

func TestDiscovery(t *testing.T) {
	d, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	_, lists, err := d.ServerGroupsAndResources()
	if err != nil {
		t.Fatal(err)
	}
	type resource struct {
		Short, Category, Status string
		Namespaced              bool
	}
	got := map[string]resource{}
	taken := map[string]string{} // names and short names of all other resources
	for _, list := range lists {
		for _, r := range list.APIResources {
			name, sub, isSub := strings.Cut(r.Name, "/")
			switch {
			case list.GroupVersion != konductorv1.GroupVersion().String():
				for _, n := range append(r.ShortNames, name, r.SingularName) {
					taken[n] = list.GroupVersion + " " + r.Kind
				}
			case isSub:
				known := got[name]
				known.Status = sub
				got[name] = known
			default:
				known := got[name]
				known.Short, known.Category, known.Namespaced = strings.Join(r.ShortNames, " "), strings.Join(r.Categories, " "), r.Namespaced
				got[name] = known
			}
		}
	}
	want := map[string]resource{
		"barriers":   {"kbar", "konductor", "status", true},
		"gates":      {"kgate", "konductor", "status", true},
		"leases":     {"klease", "konductor", "status", true},
		"semaphores": {"ksem", "konductor", "status", true},
		"claims":     {"kclaim", "", "status", true},
		"arrivals":   {"karr", "", "", true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("resources differ (-want +got):\n%s", diff)
	}
	for name, r := range got {
		if owner, ok := taken[r.Short]; ok {
			t.Errorf("the short name %s of %s is also that of %s", r.Short, name, owner)
		}
	}
}

// TestPrinterColumns asks for tables as kubectl does. Without -o wide they fit 80 characters with objects whose names have 30
// characters and holders and participants whose names have 18, and the age is the last column.
func TestPrinterColumns(t *testing.T) {
	const name, who, width = "a-name-of-exactly-30-character", "a-holder-of-18-chr", 80
	tests := map[string]struct {
		fields, status string
		narrow, wide   string
	}{
		"barriers": {`expected: 1000000, quorum: 1000000`, `{phase: Waiting, arrived: 1000000}`,
			"Name Phase Arrived Expected Quorum Age", "Name Phase Arrived Expected Quorum Failed Opened Age"},
		"gates": {`conditions: [{type: Job, name: a}]`, `{phase: Timeout, conditionsMet: 100, conditionsTotal: 100, conditions: [{type: Open, status: "False", reason: Waiting, message: it waits, lastTransitionTime: "2026-03-04T05:06:07Z"}]}`,
			"Name Phase Met Total Age", "Name Phase Met Total Message Age"},
		"leases": {``, `{phase: Available, holder: ` + who + `, fencingToken: 9007199254740993, waiting: 10000}`,
			"Name Phase Holder Waiting Age", "Name Phase Holder Waiting Token Acquired Expires Age"},
		"semaphores": {`permits: 1000000`, `{phase: Ready, inUse: 1000000, waiting: 1000000}`,
			"Name Phase Permits In-Use Waiting Age", "Name Phase Permits In-Use Waiting Available Age"},
		"claims": {`target: {kind: Lease, name: lock}, holder: ` + who, `{phase: Granted, fencingToken: 7}`,
			"Name Phase Holder Age", "Name Phase Holder Kind Target Permits Priority Token Age"},
		"arrivals": {`barrier: ` + name + `, participant: ` + who + `, failed: true, reason: the disk is full`, ``,
			"Name Participant Failed Age", "Name Participant Failed Barrier Reason Age"},
	}
	kinds := map[string]string{"barriers": "Barrier", "gates": "Gate", "leases": "Lease", "semaphores": "Semaphore", "claims": "Claim", "arrivals": "Arrival"}
	for resource, test := range tests {
		t.Run(resource, func(t *testing.T) {
			t.Parallel()
			obj := mustCreate(t.Context(), t, fmt.Sprintf("{kind: %s, metadata: {name: %s}, spec: {%s}}", kinds[resource], name, test.fields))
			if test.status != "" {
				mustPatch(t.Context(), t, obj, "{status: "+test.status+"}")
			}
			table := getTable(t, resource, name)
			var narrow, wide []string
			taken := 0
			for i, c := range table.ColumnDefinitions {
				wide = append(wide, c.Name)
				if c.Description == "" {
					t.Errorf("column %s has no description", c.Name)
				}
				if c.Priority > 0 {
					continue
				}
				narrow = append(narrow, c.Name)
				cell := fmt.Sprint(table.Rows[0].Cells[i])
				if c.Name == "Age" {
					cell = "364d" // the widest within a year
				}
				taken += max(len(cell), len(c.Name)) + len("   ")
			}
			if diff := cmp.Diff(test.narrow, strings.Join(narrow, " ")); diff != "" {
				t.Errorf("columns differ (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.wide, strings.Join(wide, " ")); diff != "" {
				t.Errorf("columns of -o wide differ (-want +got):\n%s", diff)
			}
			if taken -= len("   "); taken > width {
				t.Errorf("the table takes %d characters, want at most %d", taken, width)
			}
		})
	}
}

// getTable reads one object as a table.
func getTable(t *testing.T, resource, name string) *metav1.Table {
	t.Helper()
	table := &metav1.Table{}
	err := newGroupClient(t).Get().Namespace(metav1.NamespaceDefault).Resource(resource).Name(name).
		SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").
		Do(t.Context()).Into(table)
	if err != nil {
		t.Fatal(err)
	}
	if len(table.Rows) != 1 {
		t.Fatalf("the table has %d rows, want 1", len(table.Rows))
	}
	return table
}

// newGroupClient returns a REST client for requests with explicit paths and headers.
func newGroupClient(t *testing.T) *rest.RESTClient {
	t.Helper()
	c := rest.CopyConfig(config)
	gv := konductorv1.GroupVersion()
	c.GroupVersion, c.APIPath = &gv, "/apis"
	c.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	asked, err := rest.RESTClientFor(c)
	if err != nil {
		t.Fatal(err)
	}
	return asked
}

func TestSelectableFields(t *testing.T) {
	tests := map[string]struct{ manifest, status, one, other string }{
		"a barrier by phase":          {barrierYAML(`expected: 1`), `{status: {phase: Open}}`, "status.phase=Open", "status.phase=Failed"},
		"a gate by phase":             {gateYAML(`{type: Job, name: a}`), `{status: {phase: Failed}}`, "status.phase=Failed", "status.phase=Open"},
		"a lease by phase":            {leaseYAML(``), `{status: {phase: Held}}`, "status.phase=Held", "status.phase=Available"},
		"a lease by holder":           {leaseYAML(``), `{status: {holder: selected}}`, "status.holder=selected", "status.holder=select"},
		"a semaphore by phase":        {semaphoreYAML(`permits: 1`), `{status: {phase: Full}}`, "status.phase=Full", "status.phase=Ready"},
		"a claim by kind of target":   {claimYAML(`target: {kind: Semaphore, name: x}`), ``, "spec.target.kind=Semaphore", "spec.target.kind=Lease"},
		"a claim by name of target":   {claimYAML(`target: {kind: Lease, name: selected}`), ``, "spec.target.name=selected", "spec.target.name=x"},
		"a claim by holder":           {claimYAML(`holder: selected`), ``, "spec.holder=selected", "spec.holder=x"},
		"a claim by phase":            {claimYAML(``), `{status: {phase: Refused}}`, "status.phase=Refused", "status.phase=Granted"},
		"a new claim by phase":        {claimYAML(``), ``, "status.phase=Pending", "status.phase=Granted"},
		"a claim by several":          {claimYAML(`holder: both, target: {kind: Lease, name: ours}`), ``, "spec.target.name=ours,spec.holder=both", "spec.target.name=ours,spec.holder=x"},
		"an arrival by barrier":       {arrivalYAML(`barrier: selected, participant: x`), ``, "spec.barrier=selected", "spec.barrier=x"},
		"an arrival by participant":   {arrivalYAML(`barrier: x, participant: selected`), ``, "spec.participant=selected", "spec.participant=x"},
		"a barrier by what it is not": {barrierYAML(`expected: 1`), `{status: {phase: Timeout}}`, "status.phase!=Waiting", "status.phase!=Timeout"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			obj := mustCreate(t.Context(), t, test.manifest)
			if test.status != "" {
				mustPatch(t.Context(), t, obj, test.status)
			}
			if !isSelectedBy(t, obj, test.one) {
				t.Errorf("%s doesn't find it", test.one)
			}
			if isSelectedBy(t, obj, test.other) {
				t.Errorf("%s finds it", test.other)
			}
		})
	}
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(konductorv1.GroupVersion().WithKind("LeaseList"))
	err := apiClient.List(t.Context(), list, &client.ListOptions{FieldSelector: fields.OneTermEqualSelector("status.claim", "x")})
	checkRejected(t, err, "field label not supported: status.claim")
}

// isSelectedBy reports whether a list with that field selector contains the object.
func isSelectedBy(t *testing.T, obj *unstructured.Unstructured, selector string) bool {
	t.Helper()
	parsed, err := fields.ParseSelector(selector)
	if err != nil {
		t.Fatal(err)
	}
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(obj.GroupVersionKind())
	if err := apiClient.List(t.Context(), list, &client.ListOptions{Namespace: obj.GetNamespace(), FieldSelector: parsed}); err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(list.Items, func(u unstructured.Unstructured) bool { return u.GetUID() == obj.GetUID() })
}

// TestEveryFieldHasDescription checks the schemas that kubectl explain shows.
func TestEveryFieldHasDescription(t *testing.T) {
	crds, err := chartCRDs()
	if err != nil {
		t.Fatal(err)
	}
	if len(crds) != 6 {
		t.Errorf("there are %d resource types, want 6", len(crds))
	}
	for _, crd := range crds {
		for _, v := range crd.Spec.Versions {
			walkSchema(crd.Spec.Names.Kind, v.Schema.OpenAPIV3Schema, func(path string, s *apiextensionsv1.JSONSchemaProps) {
				if s.Description == "" {
					t.Errorf("%s has no description", path)
				}
			})
		}
	}
}

// walkSchema calls f with each property of a schema, except metadata, which is not ours.
func walkSchema(path string, s *apiextensionsv1.JSONSchemaProps, f func(string, *apiextensionsv1.JSONSchemaProps)) {
	f(path, s)
	for name, property := range s.Properties {
		if name == "metadata" {
			continue
		}
		walkSchema(path+"."+name, &property, f)
	}
	if s.Items != nil && s.Items.Schema != nil && len(s.Items.Schema.Properties) > 0 {
		walkSchema(path+"[]", s.Items.Schema, f)
	}
}

// TestAPIConventions checks what kubectl wait, server-side apply and kstatus rely on.
func TestAPIConventions(t *testing.T) {
	crds, err := chartCRDs()
	if err != nil {
		t.Fatal(err)
	}
	pascal := regexp.MustCompile(`^"([A-Z][a-z0-9]*)+"$`)
	enums, conditions, observed := 0, 0, 0
	for _, crd := range crds {
		walkSchema(crd.Spec.Names.Kind, crd.Spec.Versions[0].Schema.OpenAPIV3Schema, func(path string, s *apiextensionsv1.JSONSchemaProps) {
			for _, value := range s.Enum {
				enums++
				if inCondition := strings.Contains(path, ".conditions[]") && strings.HasSuffix(path, ".status"); !pascal.Match(value.Raw) && !inCondition {
					t.Errorf("%s may be %s, which is not in PascalCase", path, value.Raw)
				}
			}
			switch {
			case strings.HasSuffix(path, ".status.observedGeneration"):
				observed++
			case strings.HasSuffix(path, ".status.conditions"):
				conditions++
				if s.XListType == nil || *s.XListType != "map" || !slices.Equal(s.XListMapKeys, []string{"type"}) {
					t.Errorf("%s is no list by type", path)
				}
			}
		})
	}
	if enums == 0 || conditions != 5 || observed != 4 {
		t.Errorf("%d values of enums, conditions of %d kinds, want 5, and observedGeneration of %d, want 4", enums, conditions, observed)
	}
}

// TestSchemaBoundsMatchConstants compares values that are defined twice.
func TestSchemaBoundsMatchConstants(t *testing.T) {
	crds, err := chartCRDs()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int64{"Semaphore.status.holders": konductorv1.MaxHolders, "Semaphore.status.overtaken": konductorv1.MaxOvertakenClaims, "Barrier.status.arrivals": konductorv1.MaxListedArrivals}
	got := map[string]int64{}
	for _, crd := range crds {
		walkSchema(crd.Spec.Names.Kind, crd.Spec.Versions[0].Schema.OpenAPIV3Schema, func(path string, s *apiextensionsv1.JSONSchemaProps) {
			if _, ok := want[path]; ok && s.MaxItems != nil {
				got[path] = *s.MaxItems
			}
		})
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("bounds differ (-code +schema):\n%s", diff)
	}
}

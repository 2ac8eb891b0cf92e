package install

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"
)

// configMapRef refers to a ConfigMap in the operator's namespace.
func configMapRef(name string) ObjectRef {
	return ObjectRef{Namespace: "konductor-system", Name: name, GroupVersionKind: corev1.SchemeGroupVersion.WithKind("ConfigMap")}
}

// newFakeCluster returns a cluster with ConfigMaps, given by name with the value of their label managed-by.
func newFakeCluster(managed map[string]string) (*Cluster, *fake.FakeDynamicClient) {
	var objects []runtime.Object
	for name, by := range managed {
		obj := configMapRef(name).Unstructured()
		obj.SetUID(types.UID(name + "-1"))
		obj.SetLabels(map[string]string{managedByLabel: by})
		objects = append(objects, obj)
	}
	scheme := runtime.NewScheme()
	_ = corev1.AddToScheme(scheme)
	client := fake.NewSimpleDynamicClient(scheme, objects...)
	mapper := meta.NewDefaultRESTMapper(nil)
	mapper.Add(corev1.SchemeGroupVersion.WithKind("ConfigMap"), meta.RESTScopeNamespace)
	return &Cluster{Client: client, Mapper: mapper, Notify: func(string) {}}, client
}

func TestPruneSkipsHelmObjects(t *testing.T) {
	c, _ := newFakeCluster(map[string]string{"ours": FieldManager, "chart": managedByHelm, "later": FieldManager})
	obsolete, uids, err := c.filterOwned(t.Context(), []ObjectRef{configMapRef("ours"), configMapRef("chart"), configMapRef("gone"), configMapRef("later")})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]ObjectRef{configMapRef("ours"), configMapRef("later")}, obsolete); diff != "" {
		t.Errorf("what is obsolete (-want +got):\n%s", diff)
	}
	// It is replaced between the plan and its deletion.
	other := configMapRef("later").Unstructured()
	other.SetUID("later-2")
	if _, err := c.Client.Resource(configMapGVR()).Namespace("konductor-system").Update(t.Context(), other, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	var deleted []string
	done := func(r Result) error {
		deleted = append(deleted, r.Object.GetName()+" "+r.Operation)
		return nil
	}
	var replaced *ReplacedError
	if err := c.prune(t.Context(), obsolete, uids, ApplyOptions{OnResult: done}); !errors.As(err, &replaced) {
		t.Errorf("pruning has ended with %v", err)
	}
	if diff := cmp.Diff([]string{"ours deleted"}, deleted); diff != "" {
		t.Errorf("what was deleted (-want +got):\n%s", diff)
	}
	left, err := c.Client.Resource(configMapGVR()).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(left.Items) != 2 {
		t.Errorf("%d are left (%v), want the chart's and the later one", len(left.Items), err)
	}
}

func TestRemoveRetriesTransientErrors(t *testing.T) {
	tests := map[string]struct {
		err     error
		passing bool
	}{
		"nobody listens":     {syscall.ECONNREFUSED, true},
		"it is overloaded":   {apierrors.NewTooManyRequests("later", 1), true},
		"it has trouble":     {apierrors.NewInternalError(errors.New("etcd")), true},
		"a right is missing": {apierrors.NewForbidden(configMapGVR().GroupResource(), "ours", errors.New("no right")), false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c, client := newFakeCluster(map[string]string{"ours": FieldManager})
			asked := 0
			client.PrependReactor("get", "configmaps", func(clienttesting.Action) (bool, runtime.Object, error) {
				// The first request is before the deletion.
				if asked++; asked == 2 {
					return true, nil, test.err
				}
				return false, nil, nil
			})
			r := &RemovalPlan{Objects: []ObjectRef{configMapRef("ours")}, uids: map[ObjectRef]types.UID{configMapRef("ours"): "ours-1"}}
			err := c.Remove(t.Context(), r, false, func(Result) error { return nil })
			if (err == nil) != test.passing || err != nil && !errors.Is(err, test.err) {
				t.Errorf("it has ended with %v", err)
			}
		})
	}
}

func TestRemoveTimeoutNamesLeftovers(t *testing.T) {
	c, client := newFakeCluster(map[string]string{"ours": FieldManager})
	asked := 0
	client.PrependReactor("get", "configmaps", func(clienttesting.Action) (bool, runtime.Object, error) {
		if asked++; asked > 1 {
			return true, &unstructured.Unstructured{}, syscall.ECONNREFUSED
		}
		return false, nil, nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	r := &RemovalPlan{Objects: []ObjectRef{configMapRef("ours")}, uids: map[ObjectRef]types.UID{configMapRef("ours"): "ours-1"}}
	err := c.Remove(ctx, r, false, func(Result) error { return nil })
	var timeout *TimeoutError
	if !errors.As(err, &timeout) || !strings.Contains(err.Error(), "configmap/ours") || !strings.Contains(err.Error(), "refused") {
		t.Errorf("it has ended with %v", err)
	}
}

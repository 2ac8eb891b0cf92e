package operator

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// The operator caches every claim, Pod and Job of the cluster: nothing of them that no rule reads.
func TestCacheTransformsKeepOnlyNeededFields(t *testing.T) {
	const junk = "junk"
	meta := metav1.ObjectMeta{
		Name: "x", Namespace: "etl", UID: "uid", ResourceVersion: "7",
		Labels: map[string]string{"l": junk}, Annotations: map[string]string{"a": junk}, Finalizers: []string{junk},
		ManagedFields:   []metav1.ManagedFieldsEntry{{Manager: junk}},
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "batch/v1", Kind: "Job", Name: "owner", UID: "owner", Controller: ptr(true)}},
	}
	claimed := *meta.DeepCopy()
	claimed.Annotations[konductorv1.BrokenByAnnotation] = "somebody"
	allowing := *meta.DeepCopy()
	allowing.Annotations[konductorv1.AllowGatesAnnotation] = "*"
	spec := corev1.PodSpec{Volumes: []corev1.Volume{{Name: junk}}, NodeName: junk, Containers: []corev1.Container{{Name: junk, Image: junk, Env: []corev1.EnvVar{{Name: junk}}}}}
	job := &batchv1.Job{ObjectMeta: meta, Status: batchv1.JobStatus{Conditions: []batchv1.JobCondition{{Type: batchv1.JobFailed, Reason: "kept", Message: junk}, {Type: junk}}, Succeeded: 3}}
	job.Spec.Template.Spec = spec

	options := cacheOptions(nil)
	transform := func(obj client.Object) any {
		by := options.DefaultTransform
		for kind, o := range options.ByObject {
			if reflect.TypeOf(kind) == reflect.TypeOf(obj) {
				by = o.Transform
			}
		}
		cut, err := by(obj)
		if err != nil {
			t.Fatal(err)
		}
		return cut
	}
	for _, c := range []struct {
		obj  client.Object
		kept []string
	}{
		{&konductorv1.Claim{ObjectMeta: claimed, Spec: konductorv1.ClaimSpec{Holder: "kept", Target: konductorv1.ClaimTarget{Kind: konductorv1.KindLease, UID: "target"}}}, []string{"kept", "somebody", "target"}},
		{&konductorv1.Arrival{ObjectMeta: meta, Spec: konductorv1.ArrivalSpec{Participant: "kept", BarrierUID: "target"}}, []string{"kept", "target"}},
		{&corev1.Pod{ObjectMeta: meta, Spec: spec, Status: corev1.PodStatus{Phase: "kept", Message: junk}}, []string{"kept", "owner"}},
		{job, []string{"kept"}},
		{&corev1.Namespace{ObjectMeta: allowing}, []string{konductorv1.AllowGatesAnnotation}},
	} {
		cut := fmt.Sprintf("%+v", transform(c.obj))
		if strings.Contains(cut, junk) {
			t.Errorf("of a %T is remembered what nobody needs: %s", c.obj, cut)
		}
		for _, want := range append(c.kept, "uid") {
			if !strings.Contains(cut, want) {
				t.Errorf("of a %T %q is forgotten: %s", c.obj, want, cut)
			}
		}
	}
	for _, obj := range []client.Object{&konductorv1.Lease{}, &konductorv1.Semaphore{}, &konductorv1.Gate{}, &konductorv1.Barrier{}} {
		set := reflect.ValueOf(obj).Elem().FieldByName("ObjectMeta")
		set.Set(reflect.ValueOf(*meta.DeepCopy()))
		if cut := fmt.Sprintf("%+v", transform(obj)); strings.Contains(cut, junk) || !strings.Contains(cut, "uid") {
			t.Errorf("of a %T is remembered: %s", obj, cut)
		}
	}
}

package operator

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/costtest"
)

// FuzzCacheTransform strips an object of each watched kind, as a client may have written it.
func FuzzCacheTransform(f *testing.F) {
	long := strings.Repeat("x", 1000)
	for kind, object := range []string{
		`{"metadata":{"name":"c","annotations":{"konductor.io/broken-by":"` + long + `"},"ownerReferences":[{"kind":"Lease","apiVersion":"konductor.io/v1","uid":"` + long + `"}]},"spec":{"target":{"kind":"Lease","name":"l"},"holder":"h"}}`,
		`{"metadata":{"name":"a","labels":{"l":"` + long + `"}},"spec":{"barrier":"b","participant":"p"}}`,
		`{"metadata":{"name":"p","annotations":{"konductor.io/after":"gate/a,gate/b","konductor.io/arrive":"barrier/a","batch.kubernetes.io/job-completion-index":"` + long + `"},"ownerReferences":[{"kind":"Job","name":"` + long + `","controller":true}]},"spec":{"containers":[{"name":"c","command":["koncli","gate","wait","$(A)"],"env":[{"name":"A","value":"g"}]}]}}`,
		`{"metadata":{"name":"j"},"spec":{"completions":2147483647,"completionMode":"Indexed","template":{"spec":{"containers":[{"name":"c","command":["sh","-c","koncli barrier arrive b"]}]}}},"status":{"conditions":[{"type":"Failed","status":"True","reason":"` + long + `"}]}}`,
		`{"metadata":{"name":"n","annotations":{"konductor.io/allow-gates-from":"` + long + `"}}}`,
		`{"metadata":{"name":"g","finalizers":["` + long + `"]},"spec":{"conditions":[{"type":"Job","name":"j"}]}}`,
	} {
		f.Add(byte(kind), []byte(object))
	}
	f.Fuzz(func(t *testing.T, kind byte, object []byte) {
		kinds := []func() client.Object{
			func() client.Object { return &konductorv1.Claim{} }, func() client.Object { return &konductorv1.Arrival{} },
			func() client.Object { return &corev1.Pod{} }, func() client.Object { return &batchv1.Job{} },
			func() client.Object { return &corev1.Namespace{} }, func() client.Object { return &konductorv1.Gate{} },
		}
		obj := kinds[int(kind)%len(kinds)]()
		if json.Unmarshal(object, obj) != nil {
			return // no such object
		}
		cut := transformFor(obj)
		var once any
		costtest.CheckLinear(t, len(object), 1<<10, func() {
			var err error
			if once, err = cut(obj); err != nil {
				t.Error(err)
			}
		})
		kept, err := json.Marshal(once)
		if err != nil {
			t.Fatal(err)
		}
		// The stripped object may be a little longer: its JSON has empty fields.
		if whole := 3*len(object) + 2000; len(kept) > whole {
			t.Errorf("of %d bytes %d are kept", len(object), len(kept))
		}
		before := string(kept)
		twice, err := cut(once)
		if err != nil {
			t.Fatal(err)
		}
		again, err := json.Marshal(twice)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, string(again)); diff != "" {
			t.Errorf("cut again (-once +twice):\n%s", diff)
		}
	})
}

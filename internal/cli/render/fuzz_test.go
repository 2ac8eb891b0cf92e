package render

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/costtest"
	"github.com/LogicIQ/konductor/internal/view"
	"github.com/LogicIQ/konductor/internal/view/viewtest"
)

// FuzzRender renders an object with arbitrary content, and some that belong to it.
func FuzzRender(f *testing.F) {
	long := strings.Repeat("long 語 ", 500)
	for kind, object := range []string{
		`{"metadata":{"name":"x","namespace":"n"},"spec":{"expected":2147483647,"quorum":2147483647},"status":{"phase":"Waiting","arrived":-5,"arrivals":["` + long + `"]}}`,
		`{"metadata":{"name":"x","namespace":"n"},"spec":{"conditions":[{"type":"Job","name":"` + long + `"}]},"status":{"conditionStatuses":[{"message":"` + long + `"}]}}`,
		`{"metadata":{"name":"x","namespace":"n"},"status":{"phase":"Held","holder":"` + long + `","claimUID":"1","acquiredAt":"2000-01-01T00:00:00.000000Z"}}`,
		`{"metadata":{"name":"x","namespace":"n"},"spec":{"permits":-1},"status":{"phase":"Full","holders":[{"holder":"` + long + `","permits":2147483647},{"holder":"b","permits":2147483647}]}}`,
		`{"metadata":{"name":"c","namespace":"n"},"spec":{"target":{"kind":"Lease","name":"x"},"holder":"` + long + `","permits":2147483647}}`,
		`{"metadata":{"name":"a","namespace":"n"},"spec":{"barrier":"x","participant":"job/` + long + `/99999999999999999999"}}`,
		`{"metadata":{"name":"p","namespace":"n"},"spec":{"containers":[{"name":"c","command":["koncli","barrier","wait","x"]}]},"status":{"phase":"Running","reason":"` + long + `"}}`,
		`{"metadata":{"name":"j","namespace":"n"},"spec":{"completions":2147483647,"completionMode":"Indexed","template":{"spec":{"containers":[{"name":"c","command":["koncli","barrier","arrive","x"]}]}}}}`,
		`{"metadata":{"name":"e","namespace":"n"},"involvedObject":{"kind":"Lease","name":"x","namespace":"n"},"message":"` + long + `","count":2147483647}`,
	} {
		f.Add(byte(kind), []byte(object), 80)
	}
	kinds := slices.Concat(view.WatchedKinds()[:6], []string{view.KindPod, view.KindJob, view.KindEvent})
	f.Fuzz(func(t *testing.T, at byte, object []byte, width int) {
		kind := kinds[int(at)%len(kinds)]
		obj := map[string]metav1.Object{
			konductorv1.KindBarrier: &konductorv1.Barrier{}, konductorv1.KindGate: &konductorv1.Gate{}, konductorv1.KindLease: &konductorv1.Lease{},
			konductorv1.KindSemaphore: &konductorv1.Semaphore{}, konductorv1.KindClaim: &konductorv1.Claim{}, konductorv1.KindArrival: &konductorv1.Arrival{},
			view.KindPod: &corev1.Pod{}, view.KindJob: &batchv1.Job{}, view.KindEvent: &corev1.Event{},
		}[kind]
		if json.Unmarshal(object, obj) != nil {
			return // no such object
		}
		width = min(max(width, 1), 200)
		theme := NewPlainTheme(false)
		// Each rendering wraps every word anew, and a line is as wide as the terminal for every few bytes.
		costtest.CheckLinear(t, len(object), 4000, func() {
			w := view.NewStore()
			news := view.Delta{}
			for _, k := range kinds {
				news.Kinds = append(news.Kinds, view.KindDelta{Kind: k, Replace: true})
			}
			w.Apply(news)
			w.Apply(view.Delta{Kinds: []view.KindDelta{
				{Kind: konductorv1.KindBarrier, Upserted: []metav1.Object{viewtest.Barrier("n", "x", 1, 0, 3, 2)}},
				{Kind: konductorv1.KindLease, Upserted: []metav1.Object{viewtest.Lease("n", "x", "h", 0, 1)}},
				{Kind: kind, Upserted: []metav1.Object{obj}},
			}})
			rows := w.Rows()
			tab := NewTable(theme, rows, width, true)
			for _, row := range rows {
				_ = tab.RowLine(row, viewtest.Now(), false)
				if d, ok := w.Detail(row.Ref, viewtest.Now()); ok {
					theme.DetailLines(&d, width, viewtest.Now())
				}
			}
			for _, e := range w.Events(view.Ref{}, 10) {
				_ = theme.EventLine(e, viewtest.Now(), width, true)
			}
		})
	})
}

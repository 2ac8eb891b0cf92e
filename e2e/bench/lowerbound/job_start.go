package lowerbound

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// CompletedJob returns a merge patch of the status of a running Job, as the Job controller writes it when the Job has completed.
func CompletedJob() []byte {
	now := time.Now().UTC().Format(time.RFC3339)
	condition := fmt.Sprintf(`"status":"True","reason":"Bench","lastProbeTime":%[1]q,"lastTransitionTime":%[1]q`, now)
	return fmt.Appendf(nil, `{"status":{"active":0,"ready":0,"succeeded":1,"completionTime":%q,"conditions":[{"type":"SuccessCriteriaMet",%[2]s},{"type":"Complete",%[2]s}]}}`,
		now, condition)
}

// MeasureJobStart measures the writes without which no Job starts after another, one after the other: the Job controller completes
// the first, the status of a lease names the next, and the operator starts that. Admission is that of Jobs with annotations.
func (f *LowerBounds) MeasureJobStart(ctx context.Context) (took time.Duration, err error) {
	jobs := fmt.Sprintf("%s/apis/batch/v1/namespaces/%s/jobs", f.env.Config().Host, f.namespace)
	lease, running, next := f.nextName(), f.nextName(), f.nextName()
	if err := f.requester.create(ctx, lease); err != nil {
		return 0, err
	}
	for _, name := range []string{running, next} {
		// The annotation of one that only arrives: the operator leaves it alone.
		job := fmt.Appendf(nil, `{"apiVersion":"batch/v1","kind":"Job","metadata":{"name":%q,"annotations":{"konductor.io/arrive":"barrier/none"}},`+
			`"spec":{"suspend":%t,"managedBy":"konductor.io/bench","template":{"spec":{"restartPolicy":"Never","containers":[{"name":"main","image":"none"}]}}}}`, name, name == next)
		if err := f.requester.send(ctx, http.MethodPost, jobs, "application/json", job); err != nil {
			return 0, err
		}
	}
	started := fmt.Appendf(nil, `{"status":{"active":1,"startTime":%q}}`, time.Now().UTC().Format(time.RFC3339))
	if err := f.requester.send(ctx, http.MethodPatch, jobs+"/"+running+"/status", mergePatch, started); err != nil {
		return 0, err
	}
	begin := time.Now()
	if err := f.requester.send(ctx, http.MethodPatch, jobs+"/"+running+"/status", mergePatch, CompletedJob()); err != nil {
		return 0, err
	}
	if err := f.requester.markGranted(ctx, lease); err != nil {
		return 0, err
	}
	start := []byte(`{"metadata":{"labels":{"konductor.io/held":"started"}},"spec":{"suspend":false}}`)
	if err := f.operator.send(ctx, http.MethodPatch, jobs+"/"+next, mergePatch, start); err != nil {
		return 0, err
	}
	took = time.Since(begin)
	const background = "?propagationPolicy=Background" // Jobs alone have another default, which is work for the garbage collector
	for _, url := range []string{jobs + "/" + running + background, jobs + "/" + next + background, f.requester.claimsURL + "/" + lease} {
		if err := f.requester.send(ctx, http.MethodDelete, url, "application/json", nil); err != nil {
			return 0, err
		}
	}
	return took, nil
}

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

// MeasureJobStart measures the writes, one after the other, by which a Job completes, a lease and a claim are told who holds
// next, and the next Job is started.
func (f *LowerBounds) MeasureJobStart(ctx context.Context) (took time.Duration, err error) {
	jobs := fmt.Sprintf("%s/apis/batch/v1/namespaces/%s/jobs", f.env.Config().Host, f.namespace)
	lease, claim, running, next := f.nextName(), f.nextName(), f.nextName(), f.nextName()
	for _, name := range []string{lease, claim} {
		if err := f.requester.create(ctx, name); err != nil {
			return 0, err
		}
	}
	for _, name := range []string{running, next} {
		job := fmt.Appendf(nil, `{"apiVersion":"batch/v1","kind":"Job","metadata":{"name":%q},"spec":{"suspend":%t,"managedBy":"konductor.io/bench",`+
			`"template":{"spec":{"restartPolicy":"Never","containers":[{"name":"main","image":"none"}]}}}}`, name, name == next)
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
	for _, name := range []string{lease, claim} {
		if err := f.requester.markGranted(ctx, name); err != nil {
			return 0, err
		}
	}
	if err := f.requester.send(ctx, http.MethodPatch, jobs+"/"+next, mergePatch, []byte(`{"spec":{"suspend":false}}`)); err != nil {
		return 0, err
	}
	took = time.Since(begin)
	const background = "?propagationPolicy=Background" // Jobs alone have another default, which is work for the garbage collector
	for _, url := range []string{jobs + "/" + running + background, jobs + "/" + next + background, f.requester.claimsURL + "/" + lease, f.requester.claimsURL + "/" + claim} {
		if err := f.requester.send(ctx, http.MethodDelete, url, "application/json", nil); err != nil {
			return 0, err
		}
	}
	return took, nil
}

package crd

import (
	"fmt"
	"strings"
	"testing"
)

const durationRule = "must be a duration longer than zero and at most 999999h, for example 30s, 5m or 1h30m"

// claimYAML returns a manifest of a Claim with these fields of its spec, which replace or extend the usual ones.
func claimYAML(fields string) string {
	usual := map[string]string{"target": "{kind: Lease, name: lock}", "holder": "me"}
	var spec []string
	for name, value := range usual {
		if !strings.Contains(fields, name+":") {
			spec = append(spec, name+": "+value)
		}
	}
	if fields != "" {
		spec = append(spec, fields)
	}
	return "{kind: Claim, spec: {" + strings.Join(spec, ", ") + "}}"
}

// gateYAML returns a manifest of a Gate with these conditions.
func gateYAML(conditions ...string) string {
	return "{kind: Gate, spec: {conditions: [" + strings.Join(conditions, ", ") + "]}}"
}

func barrierYAML(fields string) string   { return "{kind: Barrier, spec: {" + fields + "}}" }
func semaphoreYAML(fields string) string { return "{kind: Semaphore, spec: {" + fields + "}}" }
func leaseYAML(fields string) string     { return "{kind: Lease, spec: {" + fields + "}}" }
func arrivalYAML(fields string) string   { return "{kind: Arrival, spec: {" + fields + "}}" }

// TestInvalidManifestsRejected has mistakes that users may make, and the errors that they get: where it is, and what to write
// instead.
func TestInvalidManifestsRejected(t *testing.T) {
	long := strings.Repeat("x", 321)
	const (
		mismatch = `spec.conditions[0]: Invalid value: state does not fit type: use Complete or Failed for a Job; Open, Failed or Timeout for a Barrier or a Gate; Available or Held for a Lease; Available or Full for a Semaphore`
		noValue  = `spec.conditions[0]: Invalid value: value is the number of free permits to wait for and goes with type Semaphore and state Available only: leave it out`
	)
	tests := map[string]struct{ manifest, want string }{
		"a duration that is a word":           {barrierYAML(`expected: 1, timeout: abc`), `spec.timeout: Invalid value: "abc": ` + durationRule},
		"a duration without a unit":           {barrierYAML(`expected: 1, timeout: "30"`), `spec.timeout: Invalid value: "30": ` + durationRule},
		"a duration that is a number":         {barrierYAML(`expected: 1, timeout: 30`), `spec.timeout: Invalid value: "integer": spec.timeout in body must be of type string: "integer"`},
		"a duration that is true":             {barrierYAML(`expected: 1, timeout: true`), `spec.timeout: Invalid value: "boolean": spec.timeout in body must be of type string: "boolean"`},
		"a duration below zero":               {barrierYAML(`expected: 1, timeout: "-5s"`), `spec.timeout: Invalid value: "-5s": ` + durationRule},
		"a duration with a plus":              {barrierYAML(`expected: 1, timeout: "+5s"`), `spec.timeout: Invalid value: "+5s": ` + durationRule},
		"a duration of zero":                  {barrierYAML(`expected: 1, timeout: 0s`), `spec.timeout: Invalid value: "0s": ` + durationRule},
		"a duration of zero in two units":     {barrierYAML(`expected: 1, timeout: 0h0m`), `spec.timeout: Invalid value: "0h0m": ` + durationRule},
		"a duration that rounds to zero":      {barrierYAML(`expected: 1, timeout: 0.1ns`), `spec.timeout: Invalid value: "0.1ns": ` + durationRule},
		"a duration in days":                  {barrierYAML(`expected: 1, timeout: 1d`), `spec.timeout: Invalid value: "1d": ` + durationRule},
		"a duration with a space":             {barrierYAML(`expected: 1, timeout: 5 m`), `spec.timeout: Invalid value: "5 m": ` + durationRule},
		"a duration with half a unit":         {barrierYAML(`expected: 1, timeout: 1h30`), `spec.timeout: Invalid value: "1h30": ` + durationRule},
		"a duration in capitals":              {barrierYAML(`expected: 1, timeout: 5M`), `spec.timeout: Invalid value: "5M": ` + durationRule},
		"a duration with an exponent":         {barrierYAML(`expected: 1, timeout: 1e3s`), `spec.timeout: Invalid value: "1e3s": ` + durationRule},
		"a duration in ISO 8601":              {barrierYAML(`expected: 1, timeout: PT5M`), `spec.timeout: Invalid value: "PT5M": ` + durationRule},
		"an empty duration":                   {barrierYAML(`expected: 1, timeout: ""`), `spec.timeout: Invalid value: "": ` + durationRule},
		"a duration of 1000 years":            {barrierYAML(`expected: 1, timeout: 8766000h`), `spec.timeout: Invalid value: "8766000h": ` + durationRule},
		"a duration of many digits":           {barrierYAML(`expected: 1, timeout: 99999999999999999999h`), `spec.timeout: Invalid value: "99999999999999999999h": ` + durationRule},
		"a duration of just too many hours":   {barrierYAML(`expected: 1, timeout: 1000000h`), `spec.timeout: Invalid value: "1000000h": ` + durationRule},
		"a duration with the hours last":      {barrierYAML(`expected: 1, timeout: 5m1h`), `spec.timeout: Invalid value: "5m1h": ` + durationRule},
		"a duration with a unit twice":        {barrierYAML(`expected: 1, timeout: 999999h999999h`), `spec.timeout: Invalid value: "999999h999999h": ` + durationRule},
		"a duration that is too long to read": {barrierYAML(`expected: 1, timeout: ` + strings.Repeat("1h", 17)), `spec.timeout: Too long: may not be more than 32 bytes`},
		"a bad ttl of a barrier":              {barrierYAML(`expected: 1, ttlAfterFinished: soon`), `spec.ttlAfterFinished: Invalid value: "soon": ` + durationRule},
		"a bad timeout of a gate":             {`{kind: Gate, spec: {timeout: 1d, conditions: [{type: Job, name: a}]}}`, `spec.timeout: Invalid value: "1d": ` + durationRule},
		"a bad ttl of a gate":                 {`{kind: Gate, spec: {ttlAfterFinished: 1d, conditions: [{type: Job, name: a}]}}`, `spec.ttlAfterFinished: Invalid value: "1d": ` + durationRule},
		"a bad ttl of a lease":                {leaseYAML(`ttl: 1d`), `spec.ttl: Invalid value: "1d": ` + durationRule},
		"a bad ttl of a semaphore":            {semaphoreYAML(`permits: 1, ttl: 1d`), `spec.ttl: Invalid value: "1d": ` + durationRule},
		"a bad ttl of a claim":                {claimYAML(`ttl: 1d`), `spec.ttl: Invalid value: "1d": ` + durationRule},

		"a barrier for nobody":                      {barrierYAML(`expected: 0`), `spec.expected: Invalid value: 0: spec.expected in body should be greater than or equal to 1`},
		"a barrier for fewer than nobody":           {barrierYAML(`expected: -1`), `spec.expected: Invalid value: -1: spec.expected in body should be greater than or equal to 1`},
		"a barrier for more than a million":         {barrierYAML(`expected: 1000001`), `spec.expected: Invalid value: 1000001: spec.expected in body should be less than or equal to 1000000`},
		"a barrier that doesn't say for how many":   {barrierYAML(`timeout: 5m`), `spec.expected: Required value`},
		"a barrier for a number of words":           {barrierYAML(`expected: "3"`), `spec.expected: Invalid value: "string": spec.expected in body must be of type integer: "string"`},
		"a barrier for one and a half":              {barrierYAML(`expected: 1.5`), `spec.expected: Invalid value: "float64": spec.expected in body must be of type int32: "float64"`},
		"a barrier without spec":                    {`{kind: Barrier}`, `spec: Required value`},
		"a quorum larger than expected":             {barrierYAML(`expected: 2, quorum: 3`), `spec: Invalid value: quorum must not be larger than expected: set quorum between 1 and expected, or leave it out to wait for all`},
		"a quorum of zero":                          {barrierYAML(`expected: 2, quorum: 0`), `spec.quorum: Invalid value: 0: spec.quorum in body should be greater than or equal to 1`},
		"a misspelt field":                          {barrierYAML(`expected: 2, quorom: 1`), `unknown field "spec.quorom"`},
		"a gate without conditions":                 {gateYAML(), `spec.conditions: Invalid value: 0: spec.conditions in body should have at least 1 items`},
		"a gate that doesn't say what it waits for": {`{kind: Gate, spec: {timeout: 5m}}`, `spec.conditions: Required value`},
		"a gate with 101 conditions":                {gateYAML(strings.Split(strings.Repeat("{type: Job, name: a};", 101), ";")[:101]...), `spec.conditions: Too many: 101: must have at most 100 items`},
		"a condition without a type":                {gateYAML(`{name: a}`), `spec.conditions[0].type: Required value`},
		"a condition without a name":                {gateYAML(`{type: Job}`), `spec.conditions[0].name: Required value`},
		"a condition with an empty name":            {gateYAML(`{type: Job, name: ""}`), `spec.conditions[0].name: Invalid value: "": spec.conditions[0].name in body should be at least 1 chars long`},
		"a condition with a name that is too long":  {gateYAML(`{type: Job, name: ` + long + `}`), `spec.conditions[0].name: Too long: may not be more than 253 bytes`},
		"a condition on an unknown type":            {gateYAML(`{type: Deployment, name: a}`), `spec.conditions[0].type: Unsupported value: "Deployment": supported values: "Job", "Barrier", "Lease", "Semaphore", "Gate"`},
		"a condition on a type in lower case":       {gateYAML(`{type: job, name: a}`), `spec.conditions[0].type: Unsupported value: "job": supported values: "Job", "Barrier", "Lease", "Semaphore", "Gate"`},
		"a condition with an unknown state":         {gateYAML(`{type: Job, name: a, state: Done}`), `spec.conditions[0].state: Unsupported value: "Done": supported values: "Complete", "Failed", "Open", "Timeout", "Available", "Held", "Full"`},
		"a job that is to be open":                  {gateYAML(`{type: Job, name: a, state: Open}`), mismatch},
		"a barrier that is to be complete":          {gateYAML(`{type: Barrier, name: a, state: Complete}`), mismatch},
		"a gate that is to be held":                 {gateYAML(`{type: Gate, name: a, state: Held}`), mismatch},
		"a lease that is to be full":                {gateYAML(`{type: Lease, name: a, state: Full}`), mismatch},
		"a semaphore that is to be held":            {gateYAML(`{type: Semaphore, name: a, state: Held}`), mismatch},
		"a value with a job":                        {gateYAML(`{type: Job, name: a, value: 1}`), noValue},
		"a value with a lease":                      {gateYAML(`{type: Lease, name: a, value: 1}`), noValue},
		"a value with a full semaphore":             {gateYAML(`{type: Semaphore, name: a, state: Full, value: 1}`), noValue},
		"a value of zero":                           {gateYAML(`{type: Semaphore, name: a, value: 0}`), `spec.conditions[0].value: Invalid value: 0: spec.conditions[0].value in body should be greater than or equal to 1`},
		"the second condition is the bad one":       {gateYAML(`{type: Job, name: a}`, `{type: Job, name: b, state: Held}`), strings.Replace(mismatch, "[0]", "[1]", 1)},
		"a condition in an empty namespace":         {gateYAML(`{type: Job, name: a, namespace: ""}`), `spec.conditions[0].namespace: Invalid value: "": spec.conditions[0].namespace in body should be at least 1 chars long`},
		"a gate that waits for itself":              {`{kind: Gate, metadata: {name: self}, spec: {conditions: [{type: Gate, name: self}]}}`, `Invalid value: a gate can't wait for itself: name another gate in spec.conditions`},

		"fewer permits than none":             {semaphoreYAML(`permits: -1`), `spec.permits: Invalid value: -1: spec.permits in body should be greater than or equal to 0`},
		"more permits than a million":         {semaphoreYAML(`permits: 1000001`), `spec.permits: Invalid value: 1000001: spec.permits in body should be less than or equal to 1000000`},
		"a semaphore without permits":         {semaphoreYAML(`ttl: 5m`), `spec.permits: Required value`},
		"more permits than a number can have": {semaphoreYAML(`permits: 3000000000`), `spec.permits: Invalid value: 3000000000: spec.permits in body should be less than or equal to 1000000`},

		"a semaphore whose holds end at once": {semaphoreYAML(`permits: 1, ttl: 999ms`), `spec.ttl: Invalid value: "999ms": must be at least 1s: a shorter hold could expire before its holder learns of it`},
		"a lease whose holds end at once":     {`{kind: Lease, spec: {ttl: 5us}}`, `spec.ttl: Invalid value: "5us": must be at least 1s: a shorter hold could expire before its holder learns of it`},
		"a claim that ends at once":           {claimYAML(`ttl: 1ns`), `spec.ttl: Invalid value: "1ns": must be at least 1s: a shorter hold could expire before its holder learns of it`},

		"a claim on a barrier":                                  {claimYAML(`target: {kind: Barrier, name: a}`), `spec.target.kind: Unsupported value: "Barrier": supported values: "Lease", "Semaphore"`},
		"a claim on something without a name":                   {claimYAML(`target: {kind: Lease}`), `spec.target.name: Required value`},
		"a claim on an empty name":                              {claimYAML(`target: {kind: Lease, name: ""}`), `spec.target.name: Invalid value: "": spec.target.name in body should be at least 1 chars long`},
		"a claim on nothing":                                    {`{kind: Claim, spec: {holder: me}}`, `spec.target: Required value`},
		"a claim of nobody":                                     {`{kind: Claim, spec: {target: {kind: Lease, name: lock}}}`, `spec.holder: Required value`},
		"a claim of an empty holder":                            {claimYAML(`holder: ""`), `spec.holder: Invalid value: "": spec.holder in body should be at least 1 chars long`},
		"a claim of a holder of too many words":                 {claimYAML(`holder: ` + long), `spec.holder: Too long: may not be more than 320 bytes`},
		"a claim of no permits":                                 {claimYAML(`permits: 0`), `spec.permits: Invalid value: 0: spec.permits in body should be greater than or equal to 1`},
		"a claim of two permits of a lease":                     {claimYAML(`permits: 2`), `spec: Invalid value: a lease has one permit: leave permits out`},
		"a claim of more than a million":                        {claimYAML(`target: {kind: Semaphore, name: a}, permits: 1000001`), `spec.permits: Invalid value: 1000001: spec.permits in body should be less than or equal to 1000000`},
		"a lease's highest priority below zero":                 {leaseYAML(`maxPriority: -1`), `spec.maxPriority: Invalid value: -1: spec.maxPriority in body should be greater than or equal to 0`},
		"a semaphore's highest priority that no claim can have": {semaphoreYAML(`permits: 1, maxPriority: 1000001`), `spec.maxPriority: Invalid value: 1000001: spec.maxPriority in body should be less than or equal to 1000000`},
		"a target's uid that is too long":                       {claimYAML(`target: {kind: Lease, name: l, uid: ` + strings.Repeat("u", 65) + `}`), `spec.target.uid: Too long: may not be more than 64 bytes`},
		"a priority that is too high":                           {claimYAML(`priority: 1000001`), `spec.priority: Invalid value: 1000001: spec.priority in body should be less than or equal to 1000000`},
		"a priority that is too low":                            {claimYAML(`priority: -1000001`), `spec.priority: Invalid value: -1000001: spec.priority in body should be greater than or equal to -1000000`},
		"another way to be busy":                                {claimYAML(`whenBusy: Queue`), `spec.whenBusy: Unsupported value: "Queue": supported values: "Wait", "Refuse"`},
		"a claim bound to a cron job":                           {claimYAML(`boundTo: {kind: CronJob, name: a, uid: b}`), `spec.boundTo.kind: Unsupported value: "CronJob": supported values: "Pod", "Job"`},
		"a claim of a job with a ttl":                           {claimYAML(`boundTo: {kind: Job, name: a, uid: b}, ttl: 1m`), `spec: Invalid value: the hold of a Job has no ttl: leave ttl out`},
		"a queue position without a revision":                   {claimYAML(`queuePosition: {createdAt: "2026-01-02T03:04:05Z"}`), `spec.queuePosition.revision: Required value`},
		"a claim bound to a pod without a UID":                  {claimYAML(`boundTo: {kind: Pod, name: a}`), `spec.boundTo.uid: Required value`},
		"a claim bound to a pod without name":                   {claimYAML(`boundTo: {kind: Pod, name: "", uid: b}`), `spec.boundTo.name: Invalid value: "": spec.boundTo.name in body should be at least 1 chars long`},
		"renewals below zero":                                   {claimYAML(`renewals: -1`), `spec.renewals: Invalid value: -1: spec.renewals in body should be greater than or equal to 0`},
		"renewals before there was a grant":                     {claimYAML(`renewals: 1`), `spec.renewals: Invalid value: 1: renewals start at 0: leave them out`},

		"an arrival nowhere":                        {arrivalYAML(`participant: me`), `spec.barrier: Required value`},
		"an arrival of nobody":                      {arrivalYAML(`barrier: b`), `spec.participant: Required value`},
		"an arrival of an empty participant":        {arrivalYAML(`barrier: b, participant: ""`), `spec.participant: Invalid value: "": spec.participant in body should be at least 1 chars long`},
		"an arrival of a participant of many words": {arrivalYAML(`barrier: b, participant: ` + long), `spec.participant: Too long: may not be more than 320 bytes`},
		"a reason without a failure":                {arrivalYAML(`barrier: b, participant: me, reason: why not`), `spec: Invalid value: reason is for failed arrivals only: set failed to true or leave reason out`},
		"a reason for a success":                    {arrivalYAML(`barrier: b, participant: me, failed: false, reason: why not`), `spec: Invalid value: reason is for failed arrivals only: set failed to true or leave reason out`},
		"a reason that is too long":                 {arrivalYAML(`barrier: b, participant: me, failed: true, reason: ` + strings.Repeat("x", 1025)), `spec.reason: Too long: may not be more than 1024 bytes`},
	}
	if least := 70; len(tests) < least {
		t.Errorf("only %d bad manifests, want %d", len(tests), least)
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			obj, err := createFromManifest(t.Context(), t, test.manifest)
			checkRejected(t, err, test.want)
			if err == nil {
				_ = apiClient.Delete(t.Context(), obj)
			}
		})
	}
}

// TestValidManifestsAccepted has values just within the bounds.
func TestValidManifestsAccepted(t *testing.T) {
	tests := map[string]string{
		"a barrier for one":                         barrierYAML(`expected: 1`),
		"a barrier for a million, any of them":      barrierYAML(`expected: 1000000, quorum: 1`),
		"a quorum of all":                           barrierYAML(`expected: 3, quorum: 3`),
		"a duration of one nanosecond":              barrierYAML(`expected: 1, timeout: 1ns`),
		"a duration in microseconds":                barrierYAML(`expected: 1, timeout: 5us, ttlAfterFinished: 5µs`),
		"a duration of several units":               barrierYAML(`expected: 1, timeout: 1h30m5s200ms`),
		"the longest duration of each unit":         barrierYAML(`expected: 1, timeout: 999999h9999999m999999999s, ttlAfterFinished: 999999999999ms`),
		"a duration that is null, as if left out":   barrierYAML(`expected: 1, timeout: null`),
		"a duration with a fraction":                barrierYAML(`expected: 1, timeout: 1.5h`),
		"a duration of 114 years":                   barrierYAML(`expected: 1, timeout: 999999h`),
		"a gate with 100 conditions":                gateYAML(strings.Split(strings.Repeat("{type: Job, name: a};", 100), ";")[:100]...),
		"a gate on a gate of its name elsewhere":    `{kind: Gate, metadata: {name: twin}, spec: {conditions: [{type: Gate, name: twin, namespace: other}]}}`,
		"a gate on a job of its name":               `{kind: Gate, metadata: {name: work}, spec: {conditions: [{type: Job, name: work}]}}`,
		"free permits with the state said":          gateYAML(`{type: Semaphore, name: a, state: Available, value: 3}`),
		"free permits without":                      gateYAML(`{type: Semaphore, name: a, value: 3}`),
		"a lease whose holds last a second":         `{kind: Lease, spec: {ttl: 1000ms}}`,
		"a claim that lasts a second":               claimYAML(`ttl: 1s`),
		"a lease without anything":                  `{kind: Lease}`,
		"a paused semaphore":                        semaphoreYAML(`permits: 0`),
		"a semaphore of a million":                  semaphoreYAML(`permits: 1000000`),
		"a claim of a million":                      claimYAML(`target: {kind: Semaphore, name: a}, permits: 1000000`),
		"a claim of the holder of the longest name": claimYAML(`holder: ` + strings.Repeat("x", 320)),
		"a failed arrival with a reason":            arrivalYAML(`barrier: b, participant: me, failed: true, reason: the disk is full`),
		"a failed arrival without":                  arrivalYAML(`barrier: b, participant: me, failed: true`),
	}
	for _, fits := range []string{
		"Job Complete", "Job Failed", "Barrier Open", "Barrier Failed", "Barrier Timeout", "Gate Open", "Gate Failed", "Gate Timeout",
		"Lease Available", "Lease Held", "Semaphore Available", "Semaphore Full",
	} {
		kind, state, _ := strings.Cut(fits, " ")
		tests["a "+kind+" that is to be "+state] = gateYAML(fmt.Sprintf("{type: %s, name: a, state: %s}", kind, state))
	}
	for name, manifest := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mustCreate(t.Context(), t, manifest)
		})
	}
}

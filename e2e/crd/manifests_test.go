package crd

import (
	"fmt"
	"strings"
	"testing"
)

const goodDuration = "must be a duration longer than zero and at most 999999h, for example 30s, 5m or 1h30m"

// claim is a manifest of a Claim with these fields of its spec, besides or in the place of the usual ones.
func claim(fields string) string {
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

// gate is a manifest of a Gate with these conditions.
func gate(conditions ...string) string {
	return "{kind: Gate, spec: {conditions: [" + strings.Join(conditions, ", ") + "]}}"
}

func barrier(fields string) string   { return "{kind: Barrier, spec: {" + fields + "}}" }
func semaphore(fields string) string { return "{kind: Semaphore, spec: {" + fields + "}}" }
func lease(fields string) string     { return "{kind: Lease, spec: {" + fields + "}}" }
func arrival(fields string) string   { return "{kind: Arrival, spec: {" + fields + "}}" }

// TestBadManifests has what people may get wrong, and what they then read: where it is, and what to write instead.
func TestBadManifests(t *testing.T) {
	long := strings.Repeat("x", 321)
	const (
		mismatch = `spec.conditions[0]: Invalid value: state does not fit type: use Complete or Failed for a Job; Open, Failed or Timeout for a Barrier or a Gate; Available or Held for a Lease; Available or Full for a Semaphore`
		noValue  = `spec.conditions[0]: Invalid value: value is the number of free permits to wait for and goes with type Semaphore and state Available only: leave it out`
	)
	tests := map[string]struct{ manifest, want string }{
		"a duration that is a word":           {barrier(`expected: 1, timeout: abc`), `spec.timeout: Invalid value: "abc": ` + goodDuration},
		"a duration without a unit":           {barrier(`expected: 1, timeout: "30"`), `spec.timeout: Invalid value: "30": ` + goodDuration},
		"a duration that is a number":         {barrier(`expected: 1, timeout: 30`), `spec.timeout: Invalid value: "integer": spec.timeout in body must be of type string: "integer"`},
		"a duration that is true":             {barrier(`expected: 1, timeout: true`), `spec.timeout: Invalid value: "boolean": spec.timeout in body must be of type string: "boolean"`},
		"a duration below zero":               {barrier(`expected: 1, timeout: "-5s"`), `spec.timeout: Invalid value: "-5s": ` + goodDuration},
		"a duration with a plus":              {barrier(`expected: 1, timeout: "+5s"`), `spec.timeout: Invalid value: "+5s": ` + goodDuration},
		"a duration of zero":                  {barrier(`expected: 1, timeout: 0s`), `spec.timeout: Invalid value: "0s": ` + goodDuration},
		"a duration of zero in two units":     {barrier(`expected: 1, timeout: 0h0m`), `spec.timeout: Invalid value: "0h0m": ` + goodDuration},
		"a duration that rounds to zero":      {barrier(`expected: 1, timeout: 0.1ns`), `spec.timeout: Invalid value: "0.1ns": ` + goodDuration},
		"a duration in days":                  {barrier(`expected: 1, timeout: 1d`), `spec.timeout: Invalid value: "1d": ` + goodDuration},
		"a duration with a space":             {barrier(`expected: 1, timeout: 5 m`), `spec.timeout: Invalid value: "5 m": ` + goodDuration},
		"a duration with half a unit":         {barrier(`expected: 1, timeout: 1h30`), `spec.timeout: Invalid value: "1h30": ` + goodDuration},
		"a duration in capitals":              {barrier(`expected: 1, timeout: 5M`), `spec.timeout: Invalid value: "5M": ` + goodDuration},
		"a duration with an exponent":         {barrier(`expected: 1, timeout: 1e3s`), `spec.timeout: Invalid value: "1e3s": ` + goodDuration},
		"a duration in ISO 8601":              {barrier(`expected: 1, timeout: PT5M`), `spec.timeout: Invalid value: "PT5M": ` + goodDuration},
		"an empty duration":                   {barrier(`expected: 1, timeout: ""`), `spec.timeout: Invalid value: "": ` + goodDuration},
		"a duration of 1000 years":            {barrier(`expected: 1, timeout: 8766000h`), `spec.timeout: Invalid value: "8766000h": ` + goodDuration},
		"a duration of many digits":           {barrier(`expected: 1, timeout: 99999999999999999999h`), `spec.timeout: Invalid value: "99999999999999999999h": ` + goodDuration},
		"a duration of just too many hours":   {barrier(`expected: 1, timeout: 1000000h`), `spec.timeout: Invalid value: "1000000h": ` + goodDuration},
		"a duration with the hours last":      {barrier(`expected: 1, timeout: 5m1h`), `spec.timeout: Invalid value: "5m1h": ` + goodDuration},
		"a duration with a unit twice":        {barrier(`expected: 1, timeout: 999999h999999h`), `spec.timeout: Invalid value: "999999h999999h": ` + goodDuration},
		"a duration that is too long to read": {barrier(`expected: 1, timeout: ` + strings.Repeat("1h", 17)), `spec.timeout: Too long: may not be more than 32 bytes`},
		"a bad ttl of a barrier":              {barrier(`expected: 1, ttl: soon`), `spec.ttl: Invalid value: "soon": ` + goodDuration},
		"a bad timeout of a gate":             {`{kind: Gate, spec: {timeout: 1d, conditions: [{type: Job, name: a}]}}`, `spec.timeout: Invalid value: "1d": ` + goodDuration},
		"a bad ttl of a gate":                 {`{kind: Gate, spec: {ttl: 1d, conditions: [{type: Job, name: a}]}}`, `spec.ttl: Invalid value: "1d": ` + goodDuration},
		"a bad ttl of a lease":                {lease(`ttl: 1d`), `spec.ttl: Invalid value: "1d": ` + goodDuration},
		"a bad ttl of a semaphore":            {semaphore(`permits: 1, ttl: 1d`), `spec.ttl: Invalid value: "1d": ` + goodDuration},
		"a bad ttl of a claim":                {claim(`ttl: 1d`), `spec.ttl: Invalid value: "1d": ` + goodDuration},

		"a barrier for nobody":                      {barrier(`expected: 0`), `spec.expected: Invalid value: 0: spec.expected in body should be greater than or equal to 1`},
		"a barrier for fewer than nobody":           {barrier(`expected: -1`), `spec.expected: Invalid value: -1: spec.expected in body should be greater than or equal to 1`},
		"a barrier for more than a million":         {barrier(`expected: 1000001`), `spec.expected: Invalid value: 1000001: spec.expected in body should be less than or equal to 1000000`},
		"a barrier that doesn't say for how many":   {barrier(`timeout: 5m`), `spec.expected: Required value`},
		"a barrier for a number of words":           {barrier(`expected: "3"`), `spec.expected: Invalid value: "string": spec.expected in body must be of type integer: "string"`},
		"a barrier for one and a half":              {barrier(`expected: 1.5`), `spec.expected: Invalid value: "float64": spec.expected in body must be of type int32: "float64"`},
		"a barrier without spec":                    {`{kind: Barrier}`, `spec: Required value`},
		"a quorum larger than expected":             {barrier(`expected: 2, quorum: 3`), `spec: Invalid value: quorum must not be larger than expected: set quorum between 1 and expected, or leave it out to wait for all`},
		"a quorum of zero":                          {barrier(`expected: 2, quorum: 0`), `spec.quorum: Invalid value: 0: spec.quorum in body should be greater than or equal to 1`},
		"a misspelt field":                          {barrier(`expected: 2, quorom: 1`), `unknown field "spec.quorom"`},
		"a gate without conditions":                 {gate(), `spec.conditions: Invalid value: 0: spec.conditions in body should have at least 1 items`},
		"a gate that doesn't say what it waits for": {`{kind: Gate, spec: {timeout: 5m}}`, `spec.conditions: Required value`},
		"a gate with 101 conditions":                {gate(strings.Split(strings.Repeat("{type: Job, name: a};", 101), ";")[:101]...), `spec.conditions: Too many: 101: must have at most 100 items`},
		"a condition without a type":                {gate(`{name: a}`), `spec.conditions[0].type: Required value`},
		"a condition without a name":                {gate(`{type: Job}`), `spec.conditions[0].name: Required value`},
		"a condition with an empty name":            {gate(`{type: Job, name: ""}`), `spec.conditions[0].name: Invalid value: "": spec.conditions[0].name in body should be at least 1 chars long`},
		"a condition with a name that is too long":  {gate(`{type: Job, name: ` + long + `}`), `spec.conditions[0].name: Too long: may not be more than 253 bytes`},
		"a condition on an unknown type":            {gate(`{type: Deployment, name: a}`), `spec.conditions[0].type: Unsupported value: "Deployment": supported values: "Job", "Barrier", "Lease", "Semaphore", "Gate"`},
		"a condition on a type in lower case":       {gate(`{type: job, name: a}`), `spec.conditions[0].type: Unsupported value: "job": supported values: "Job", "Barrier", "Lease", "Semaphore", "Gate"`},
		"a condition with an unknown state":         {gate(`{type: Job, name: a, state: Done}`), `spec.conditions[0].state: Unsupported value: "Done": supported values: "Complete", "Failed", "Open", "Timeout", "Available", "Held", "Full"`},
		"a job that is to be open":                  {gate(`{type: Job, name: a, state: Open}`), mismatch},
		"a barrier that is to be complete":          {gate(`{type: Barrier, name: a, state: Complete}`), mismatch},
		"a gate that is to be held":                 {gate(`{type: Gate, name: a, state: Held}`), mismatch},
		"a lease that is to be full":                {gate(`{type: Lease, name: a, state: Full}`), mismatch},
		"a semaphore that is to be held":            {gate(`{type: Semaphore, name: a, state: Held}`), mismatch},
		"a value with a job":                        {gate(`{type: Job, name: a, value: 1}`), noValue},
		"a value with a lease":                      {gate(`{type: Lease, name: a, value: 1}`), noValue},
		"a value with a full semaphore":             {gate(`{type: Semaphore, name: a, state: Full, value: 1}`), noValue},
		"a value of zero":                           {gate(`{type: Semaphore, name: a, value: 0}`), `spec.conditions[0].value: Invalid value: 0: spec.conditions[0].value in body should be greater than or equal to 1`},
		"the second condition is the bad one":       {gate(`{type: Job, name: a}`, `{type: Job, name: b, state: Held}`), strings.Replace(mismatch, "[0]", "[1]", 1)},
		"a condition in an empty namespace":         {gate(`{type: Job, name: a, namespace: ""}`), `spec.conditions[0].namespace: Invalid value: "": spec.conditions[0].namespace in body should be at least 1 chars long`},
		"a gate that waits for itself":              {`{kind: Gate, metadata: {name: self}, spec: {conditions: [{type: Gate, name: self}]}}`, `Invalid value: a gate can't wait for itself: name another gate in spec.conditions`},

		"fewer permits than none":             {semaphore(`permits: -1`), `spec.permits: Invalid value: -1: spec.permits in body should be greater than or equal to 0`},
		"more permits than a million":         {semaphore(`permits: 1000001`), `spec.permits: Invalid value: 1000001: spec.permits in body should be less than or equal to 1000000`},
		"a semaphore without permits":         {semaphore(`ttl: 5m`), `spec.permits: Required value`},
		"more permits than a number can have": {semaphore(`permits: 3000000000`), `spec.permits: Invalid value: 3000000000: spec.permits in body should be less than or equal to 1000000`},

		"a claim on a barrier":                  {claim(`target: {kind: Barrier, name: a}`), `spec.target.kind: Unsupported value: "Barrier": supported values: "Lease", "Semaphore"`},
		"a claim on something without a name":   {claim(`target: {kind: Lease}`), `spec.target.name: Required value`},
		"a claim on an empty name":              {claim(`target: {kind: Lease, name: ""}`), `spec.target.name: Invalid value: "": spec.target.name in body should be at least 1 chars long`},
		"a claim on nothing":                    {`{kind: Claim, spec: {holder: me}}`, `spec.target: Required value`},
		"a claim of nobody":                     {`{kind: Claim, spec: {target: {kind: Lease, name: lock}}}`, `spec.holder: Required value`},
		"a claim of an empty holder":            {claim(`holder: ""`), `spec.holder: Invalid value: "": spec.holder in body should be at least 1 chars long`},
		"a claim of a holder of too many words": {claim(`holder: ` + long), `spec.holder: Too long: may not be more than 320 bytes`},
		"a claim of no permits":                 {claim(`permits: 0`), `spec.permits: Invalid value: 0: spec.permits in body should be greater than or equal to 1`},
		"a claim of two permits of a lease":     {claim(`permits: 2`), `spec: Invalid value: a lease has one permit: leave permits out`},
		"a claim of more than a million":        {claim(`target: {kind: Semaphore, name: a}, permits: 1000001`), `spec.permits: Invalid value: 1000001: spec.permits in body should be less than or equal to 1000000`},
		"a priority that is too high":           {claim(`priority: 1000001`), `spec.priority: Invalid value: 1000001: spec.priority in body should be less than or equal to 1000000`},
		"a priority that is too low":            {claim(`priority: -1000001`), `spec.priority: Invalid value: -1000001: spec.priority in body should be greater than or equal to -1000000`},
		"another way to be busy":                {claim(`whenBusy: Queue`), `spec.whenBusy: Unsupported value: "Queue": supported values: "Wait", "Refuse"`},
		"a claim bound to a job":                {claim(`boundTo: {kind: Job, name: a, uid: b}`), `spec.boundTo.kind: Unsupported value: "Job": supported values: "Pod"`},
		"a claim bound to a pod without a UID":  {claim(`boundTo: {kind: Pod, name: a}`), `spec.boundTo.uid: Required value`},
		"a claim bound to a pod without name":   {claim(`boundTo: {kind: Pod, name: "", uid: b}`), `spec.boundTo.name: Invalid value: "": spec.boundTo.name in body should be at least 1 chars long`},
		"renewals below zero":                   {claim(`renewals: -1`), `spec.renewals: Invalid value: -1: spec.renewals in body should be greater than or equal to 0`},
		"renewals before there was a grant":     {claim(`renewals: 1`), `spec.renewals: Invalid value: 1: renewals start at 0: leave them out`},

		"an arrival nowhere":                        {arrival(`participant: me`), `spec.barrier: Required value`},
		"an arrival of nobody":                      {arrival(`barrier: b`), `spec.participant: Required value`},
		"an arrival of an empty participant":        {arrival(`barrier: b, participant: ""`), `spec.participant: Invalid value: "": spec.participant in body should be at least 1 chars long`},
		"an arrival of a participant of many words": {arrival(`barrier: b, participant: ` + long), `spec.participant: Too long: may not be more than 320 bytes`},
		"a reason without a failure":                {arrival(`barrier: b, participant: me, reason: why not`), `spec: Invalid value: reason is for failed arrivals only: set failed to true or leave reason out`},
		"a reason for a success":                    {arrival(`barrier: b, participant: me, failed: false, reason: why not`), `spec: Invalid value: reason is for failed arrivals only: set failed to true or leave reason out`},
		"a reason that is too long":                 {arrival(`barrier: b, participant: me, failed: true, reason: ` + strings.Repeat("x", 1025)), `spec.reason: Too long: may not be more than 1024 bytes`},
	}
	if least := 70; len(tests) < least {
		t.Errorf("only %d bad manifests, want %d", len(tests), least)
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			obj, err := create(t.Context(), t, test.manifest)
			refused(t, err, test.want)
			if err == nil {
				_ = api.Delete(t.Context(), obj)
			}
		})
	}
}

// TestGoodManifests has what lies just within the bounds.
func TestGoodManifests(t *testing.T) {
	tests := map[string]string{
		"a barrier for one":                         barrier(`expected: 1`),
		"a barrier for a million, any of them":      barrier(`expected: 1000000, quorum: 1`),
		"a quorum of all":                           barrier(`expected: 3, quorum: 3`),
		"a duration of one nanosecond":              barrier(`expected: 1, timeout: 1ns`),
		"a duration in microseconds":                barrier(`expected: 1, timeout: 5us, ttl: 5µs`),
		"a duration of several units":               barrier(`expected: 1, timeout: 1h30m5s200ms`),
		"the longest duration of each unit":         barrier(`expected: 1, timeout: 999999h9999999m999999999s, ttl: 999999999999ms`),
		"a duration that is null, as if left out":   barrier(`expected: 1, timeout: null`),
		"a duration with a fraction":                barrier(`expected: 1, timeout: 1.5h`),
		"a duration of 114 years":                   barrier(`expected: 1, timeout: 999999h`),
		"a gate with 100 conditions":                gate(strings.Split(strings.Repeat("{type: Job, name: a};", 100), ";")[:100]...),
		"a gate on a gate of its name elsewhere":    `{kind: Gate, metadata: {name: twin}, spec: {conditions: [{type: Gate, name: twin, namespace: other}]}}`,
		"a gate on a job of its name":               `{kind: Gate, metadata: {name: work}, spec: {conditions: [{type: Job, name: work}]}}`,
		"free permits with the state said":          gate(`{type: Semaphore, name: a, state: Available, value: 3}`),
		"free permits without":                      gate(`{type: Semaphore, name: a, value: 3}`),
		"a lease without anything":                  `{kind: Lease}`,
		"a paused semaphore":                        semaphore(`permits: 0`),
		"a semaphore of a million":                  semaphore(`permits: 1000000`),
		"a claim of a million":                      claim(`target: {kind: Semaphore, name: a}, permits: 1000000`),
		"a claim of the holder of the longest name": claim(`holder: ` + strings.Repeat("x", 320)),
		"a failed arrival with a reason":            arrival(`barrier: b, participant: me, failed: true, reason: the disk is full`),
		"a failed arrival without":                  arrival(`barrier: b, participant: me, failed: true`),
	}
	for _, fits := range []string{
		"Job Complete", "Job Failed", "Barrier Open", "Barrier Failed", "Barrier Timeout", "Gate Open", "Gate Failed", "Gate Timeout",
		"Lease Available", "Lease Held", "Semaphore Available", "Semaphore Full",
	} {
		kind, state, _ := strings.Cut(fits, " ")
		tests["a "+kind+" that is to be "+state] = gate(fmt.Sprintf("{type: %s, name: a, state: %s}", kind, state))
	}
	for name, manifest := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mustCreate(t.Context(), t, manifest)
		})
	}
}

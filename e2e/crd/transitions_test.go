package crd

import (
	"fmt"
	"strings"
	"testing"
)

// holderYAML returns an entry of a semaphore's holders.
func holderYAML(name string, permits int, token int) string {
	return fmt.Sprintf(`{holder: %s, claim: %s, claimUID: uid-%s, permits: %d, fencingToken: %d, acquiredAt: "2026-03-04T05:06:07.000000Z"}`, name, name, name, permits, token)
}

// semaphoreStatusYAML returns a status of a semaphore with these holders.
func semaphoreStatusYAML(token int, holders ...string) string {
	return fmt.Sprintf(`{status: {fencingToken: %d, holders: [%s]}}`, token, strings.Join(holders, ", "))
}

// leaseStatusYAML is the status of a lease with that holder and its token.
func leaseStatusYAML(name string, token int) string {
	return fmt.Sprintf(`{status: {phase: Held, holder: %s, claim: %s, claimUID: uid-%s, fencingToken: %d}}`, name, name, name, token)
}

// manyHolders returns n holders of one permit each, with the tokens 1 to n.
func manyHolders(n int) (holders []string) {
	for i := range n {
		holders = append(holders, holderYAML(fmt.Sprintf("h%04d", i), 1, i+1))
	}
	return holders
}

// longestHolders returns holders whose fields all have the maximum length.
func longestHolders(n int) (holders []string) {
	for _, h := range manyHolders(n) {
		h = strings.Replace(h, "holder: h", "holder: "+strings.Repeat("h", 316), 1)
		h = strings.Replace(h, "claim: h", "claim: "+strings.Repeat("c", 249), 1)
		h = strings.Replace(h, "claimUID: uid-h", "claimUID: "+strings.Repeat("u", 60), 1)
		holders = append(holders, h)
	}
	return holders
}

// TestInvalidTransitionsRejected has the changes that no client may make, not even the operator: the API server is the last
// safeguard of the guarantees. given are changes that it accepts.
func TestInvalidTransitionsRejected(t *testing.T) {
	const (
		threePermits  = `{kind: Semaphore, spec: {permits: 3}}`
		tooMany       = `the permits of all holders must add up to at most spec.permits; nothing can be granted while they exceed it`
		onlyRenewals  = `spec: Invalid value: only renewals can change: delete this claim and create another one for other terms`
		onlyForward   = `a claim goes from Pending to Granted or Refused, and from Granted to Expired, never back`
		renewalRaised = `renewals can only be raised, and only while the claim is Granted`
		backwards     = `the fencing token never goes backwards`
		granted       = `{status: {phase: Granted, fencingToken: 7}}`
		fact          = `spec: Invalid value: an Arrival is immutable: delete it to withdraw it`
	)
	leaseHeld := leaseStatusYAML("a", 7)
	ofSemaphore := `{kind: Claim, spec: {target: {kind: Semaphore, name: s}, holder: me, permits: 2, ttl: 60s, boundTo: {kind: Pod, name: p, uid: u}}}`
	comes := arrivalYAML(`barrier: b, participant: me`)
	tests := map[string]struct {
		object string
		given  []string
		write  string
		want   string
	}{
		"one holder too many":                         {threePermits, []string{semaphoreStatusYAML(3, holderYAML("a", 1, 1), holderYAML("b", 1, 2), holderYAML("c", 1, 3))}, semaphoreStatusYAML(4, holderYAML("a", 1, 1), holderYAML("b", 1, 2), holderYAML("c", 1, 3), holderYAML("d", 1, 4)), tooMany},
		"one permit too many":                         {threePermits, []string{semaphoreStatusYAML(1, holderYAML("a", 2, 1))}, semaphoreStatusYAML(2, holderYAML("a", 2, 1), holderYAML("b", 2, 2)), tooMany},
		"more than there is, at once":                 {threePermits, nil, semaphoreStatusYAML(1, holderYAML("a", 4, 1)), tooMany},
		"a holder of a paused semaphore":              {`{kind: Semaphore, spec: {permits: 0}}`, nil, semaphoreStatusYAML(1, holderYAML("a", 1, 1)), tooMany},
		"a new holder while too much is held":         {threePermits, []string{semaphoreStatusYAML(3, holderYAML("a", 1, 1), holderYAML("b", 1, 2), holderYAML("c", 1, 3)), `{spec: {permits: 1}}`}, semaphoreStatusYAML(4, holderYAML("c", 1, 3), holderYAML("d", 1, 4)), tooMany},
		"a hold that grows":                           {threePermits, []string{semaphoreStatusYAML(1, holderYAML("a", 1, 1))}, semaphoreStatusYAML(1, holderYAML("a", 2, 1)), `status.holders[0]: Invalid value: a hold keeps its fencing token and its permits`},
		"a hold that shrinks":                         {threePermits, []string{semaphoreStatusYAML(1, holderYAML("a", 2, 1))}, semaphoreStatusYAML(1, holderYAML("a", 1, 1)), `status.holders[0]: Invalid value: a hold keeps its fencing token and its permits`},
		"a hold with another token":                   {threePermits, []string{semaphoreStatusYAML(1, holderYAML("a", 1, 1))}, semaphoreStatusYAML(2, holderYAML("a", 1, 2)), `status.holders[0]: Invalid value: a hold keeps its fencing token and its permits`},
		"a hold with another token, in another place": {threePermits, []string{semaphoreStatusYAML(2, holderYAML("a", 1, 1), holderYAML("b", 1, 2))}, semaphoreStatusYAML(3, holderYAML("b", 1, 2), holderYAML("a", 1, 3)), `status.holders[1]: Invalid value: a hold keeps its fencing token and its permits`},
		"a holder that holds twice":                   {threePermits, nil, semaphoreStatusYAML(2, holderYAML("a", 1, 1), holderYAML("a", 1, 2)), `status.holders[1]: Duplicate value: {"claimUID":"uid-a"}`},
		"a claim that was passed eleven times":        {threePermits, nil, `{status: {overtaken: [{claim: a, claimUID: uid-a, times: 11}]}}`, `status.overtaken[0].times: Invalid value: 11: overtaken[0].times in body should be less than or equal to 10`},
		"1001 holders":                                {`{kind: Semaphore, spec: {permits: 2000}}`, nil, semaphoreStatusYAML(1001, manyHolders(1001)...), `status.holders: Too many: 1001: must have at most 1000 items`},
		"a token that goes back":                      {threePermits, []string{semaphoreStatusYAML(5, holderYAML("a", 1, 5))}, semaphoreStatusYAML(4), backwards},
		"a token that is taken away":                  {threePermits, []string{semaphoreStatusYAML(5, holderYAML("a", 1, 5))}, `{status: {fencingToken: null, holders: []}}`, backwards},
		"a status without the token of a holder":      {threePermits, nil, `{status: {holders: [` + holderYAML("a", 1, 1) + `]}}`, `status: Invalid value: status.fencingToken must be the largest token of all grants`},
		"a holder with a token above the largest":     {threePermits, nil, semaphoreStatusYAML(1, holderYAML("a", 1, 2)), `status: Invalid value: status.fencingToken must be the largest token of all grants`},
		"a holder of no permits":                      {threePermits, nil, semaphoreStatusYAML(1, holderYAML("a", 0, 1)), `status.holders[0].permits: Invalid value: 0: holders[0].permits in body should be greater than or equal to 1`},
		"a holder without a token":                    {threePermits, nil, semaphoreStatusYAML(1, holderYAML("a", 1, 0)), `status.holders[0].fencingToken: Invalid value: 0: holders[0].fencingToken in body should be greater than or equal to 1`},
		"a holder without a claim":                    {threePermits, nil, `{status: {fencingToken: 1, holders: [{holder: a, claim: a, permits: 1, fencingToken: 1, acquiredAt: "2026-03-04T05:06:07Z"}]}}`, `status.holders[0].claimUID: Required value`},
		"another phase of a semaphore":                {threePermits, nil, `{status: {phase: Busy}}`, `status.phase: Unsupported value: "Busy": supported values: "Ready", "Full"`},
		"permits below zero later on":                 {threePermits, nil, `{spec: {permits: -1}}`, `spec.permits: Invalid value: -1: spec.permits in body should be greater than or equal to 0`},

		"a lease that is held without a token":                       {`{kind: Lease}`, nil, `{status: {phase: Held, claimUID: uid-a}}`, `status: Invalid value: a held lease needs a fencing token`},
		"a lease's token that goes back":                             {`{kind: Lease}`, []string{leaseHeld}, `{status: {fencingToken: 6}}`, backwards},
		"a lease's token that goes back when it is given to another": {`{kind: Lease}`, []string{leaseHeld}, leaseStatusYAML("b", 6), backwards},
		"a lease's token that is taken away":                         {`{kind: Lease}`, []string{leaseHeld, `{status: {claimUID: null}}`}, `{status: {fencingToken: null}}`, backwards},
		"a lease given to another with the same token":               {`{kind: Lease}`, []string{leaseHeld}, leaseStatusYAML("b", 7), `a new holder needs a larger fencing token than any before it`},
		"a lease given again with the token of the last hold":        {`{kind: Lease}`, []string{leaseHeld, `{status: {claimUID: null}}`}, leaseStatusYAML("b", 7), `a new holder needs a larger fencing token than any before it`},
		"a lease given to the same claim again":                      {`{kind: Lease}`, []string{leaseHeld, `{status: {claimUID: null}}`}, leaseStatusYAML("a", 7), `a new holder needs a larger fencing token than any before it`},
		"a hold of a lease with another token":                       {`{kind: Lease}`, []string{leaseHeld}, leaseStatusYAML("a", 8), `a hold keeps its fencing token`},
		"another phase of a lease":                                   {`{kind: Lease}`, nil, `{status: {phase: Free}}`, `status.phase: Unsupported value: "Free": supported values: "Available", "Held"`},

		"an open barrier that closes":            {barrierYAML(`expected: 1`), []string{`{status: {phase: Open}}`}, `{status: {phase: Waiting}}`, `an open barrier stays open: delete it and create it again to start anew`},
		"an open barrier that times out":         {barrierYAML(`expected: 1`), []string{`{status: {phase: Open}}`}, `{status: {phase: Timeout}}`, `an open barrier stays open`},
		"an open barrier that loses its phase":   {barrierYAML(`expected: 1`), []string{`{status: {phase: Open}}`}, `{status: {phase: null}}`, `an open barrier stays open`},
		"an open barrier that loses its status":  {barrierYAML(`expected: 1`), []string{`{status: {phase: Open}}`}, `{status: null}`, `an open barrier stays open`},
		"another phase of a barrier":             {barrierYAML(`expected: 1`), nil, `{status: {phase: Closed}}`, `status.phase: Unsupported value: "Closed": supported values: "Waiting", "Open", "Failed", "Timeout"`},
		"a quorum that comes to exceed expected": {barrierYAML(`expected: 3, quorum: 3`), nil, `{spec: {expected: 2}}`, `spec: Invalid value: quorum must not be larger than expected`},
		"101 names of arrivals":                  {barrierYAML(`expected: 200`), nil, `{status: {arrivals: [` + strings.TrimSuffix(strings.Repeat("a,", 101), ",") + `]}}`, `status.arrivals: Too many: 101: must have at most 100 items`},
		"an open gate that closes":               {gateYAML(`{type: Job, name: a}`), []string{`{status: {phase: Open}}`}, `{status: {phase: Waiting}}`, `an open gate stays open: delete it and create it again to start anew`},
		"an open gate that fails":                {gateYAML(`{type: Job, name: a}`), []string{`{status: {phase: Open}}`}, `{status: {phase: Failed}}`, `an open gate stays open`},
		"a gate that comes to wait for itself":   {`{kind: Gate, metadata: {name: later-self}, spec: {conditions: [{type: Gate, name: a}]}}`, nil, `{spec: {conditions: [{type: Gate, name: later-self}]}}`, `a gate can't wait for itself: name another gate in spec.conditions`},

		"another target of a claim":            {claimYAML(``), nil, `{spec: {target: {name: other}}}`, onlyRenewals},
		"another target of the same name":      {claimYAML(`target: {kind: Lease, name: l, uid: a}`), nil, `{spec: {target: {uid: b}}}`, onlyRenewals},
		"a target's uid that is taken away":    {claimYAML(`target: {kind: Lease, name: l, uid: a}`), nil, `{spec: {target: {uid: null}}}`, onlyRenewals},
		"another barrier of the same name":     {arrivalYAML(`barrier: b, participant: me, barrierUID: a`), nil, `{spec: {barrierUID: b}}`, fact},
		"another kind of target of a claim":    {claimYAML(``), nil, `{spec: {target: {kind: Semaphore}}}`, onlyRenewals},
		"another holder of a claim":            {claimYAML(``), nil, `{spec: {holder: you}}`, onlyRenewals},
		"more permits of a claim":              {ofSemaphore, nil, `{spec: {permits: 3}}`, onlyRenewals},
		"another priority of a claim":          {claimYAML(``), nil, `{spec: {priority: 9}}`, onlyRenewals},
		"another ttl of a claim":               {ofSemaphore, nil, `{spec: {ttl: 61s}}`, onlyRenewals},
		"a ttl for a claim without":            {claimYAML(``), nil, `{spec: {ttl: 60s}}`, onlyRenewals},
		"no ttl for a claim that has one":      {ofSemaphore, nil, `{spec: {ttl: null}}`, onlyRenewals},
		"another pod of a claim":               {ofSemaphore, nil, `{spec: {boundTo: {uid: v}}}`, onlyRenewals},
		"a pod for a claim without":            {claimYAML(``), nil, `{spec: {boundTo: {kind: Pod, name: p, uid: u}}}`, onlyRenewals},
		"no pod for a claim that has one":      {ofSemaphore, nil, `{spec: {boundTo: null}}`, onlyRenewals},
		"another way for a claim to be busy":   {claimYAML(``), nil, `{spec: {whenBusy: Refuse}}`, onlyRenewals},
		"a renewal of a pending claim":         {claimYAML(``), nil, `{spec: {renewals: 1}}`, renewalRaised},
		"a renewal of an expired claim":        {claimYAML(``), []string{granted, `{status: {phase: Expired}}`}, `{spec: {renewals: 1}}`, renewalRaised},
		"a renewal of a refused claim":         {claimYAML(``), []string{`{status: {phase: Refused}}`}, `{spec: {renewals: 1}}`, renewalRaised},
		"a renewal that is taken back":         {claimYAML(``), []string{granted, `{spec: {renewals: 2}}`}, `{spec: {renewals: 1}}`, renewalRaised},
		"renewals that are taken away":         {claimYAML(``), []string{granted, `{spec: {renewals: 2}}`}, `{spec: {renewals: null}}`, renewalRaised},
		"a granted claim without a token":      {claimYAML(``), nil, `{status: {phase: Granted}}`, `status: Invalid value: a granted claim needs a fencing token`},
		"an expired claim that is granted":     {claimYAML(``), []string{granted, `{status: {phase: Expired}}`}, granted, onlyForward},
		"a refused claim that is granted":      {claimYAML(``), []string{`{status: {phase: Refused}}`}, granted, onlyForward},
		"a refused claim that expires":         {claimYAML(``), []string{`{status: {phase: Refused}}`}, `{status: {phase: Expired}}`, onlyForward},
		"a granted claim that waits again":     {claimYAML(``), []string{granted}, `{status: {phase: Pending}}`, onlyForward},
		"a granted claim that is refused":      {claimYAML(``), []string{granted}, `{status: {phase: Refused}}`, onlyForward},
		"an expired claim that waits again":    {claimYAML(``), []string{granted, `{status: {phase: Expired}}`}, `{status: {phase: Pending}}`, onlyForward},
		"a granted claim that loses its phase": {claimYAML(``), []string{granted}, `{status: {phase: null}}`, onlyForward},
		"another token of a granted claim":     {claimYAML(``), []string{granted}, `{status: {fencingToken: 8}}`, `a hold keeps its fencing token`},
		"an expired claim without its token":   {claimYAML(``), []string{granted}, `{status: {phase: Expired, fencingToken: null}}`, `a hold keeps its fencing token`},
		"another phase of a claim":             {claimYAML(``), nil, `{status: {phase: Held}}`, `status.phase: Unsupported value: "Held": supported values: "Pending", "Granted", "Expired", "Refused"`},

		"an arrival of somebody else":     {comes, nil, `{spec: {participant: you}}`, fact},
		"an arrival somewhere else":       {comes, nil, `{spec: {barrier: c}}`, fact},
		"an arrival that fails later":     {comes, nil, `{spec: {failed: true}}`, fact},
		"a failed arrival that is mended": {arrivalYAML(`barrier: b, participant: me, failed: true`), nil, `{spec: {failed: false}}`, fact},
		"a reason that is added":          {arrivalYAML(`barrier: b, participant: me, failed: true`), nil, `{spec: {reason: because}}`, fact},
		"a pod that is added":             {comes, nil, `{spec: {boundTo: {kind: Pod, name: p, uid: u}}}`, fact},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			obj := mustCreate(t.Context(), t, test.object)
			for _, change := range test.given {
				mustPatch(t.Context(), t, obj, change)
			}
			checkRejected(t, patchFromYAML(t.Context(), t, obj, test.write), test.want)
		})
	}
}

// TestValidTransitionsAccepted has changes that are similar and must be possible.
func TestValidTransitionsAccepted(t *testing.T) {
	threeHeld := semaphoreStatusYAML(3, holderYAML("a", 1, 1), holderYAML("b", 1, 2), holderYAML("c", 1, 3))
	tests := map[string]struct {
		object string
		writes []string
	}{
		"permits are lowered below what is in use, and then come back one by one": {semaphoreYAML(`permits: 3`), []string{
			threeHeld, `{spec: {permits: 1}}`, semaphoreStatusYAML(3, holderYAML("b", 1, 2), holderYAML("c", 1, 3)), semaphoreStatusYAML(3, holderYAML("c", 1, 3)), semaphoreStatusYAML(4, holderYAML("d", 1, 4)),
		}},
		"an over-full semaphore is written without a change of its holders": {semaphoreYAML(`permits: 3`), []string{
			threeHeld, `{spec: {permits: 0}}`, `{status: {phase: Full, waiting: 7}}`, strings.Replace(threeHeld, "5:06:07", "5:06:08", 1),
		}},
		"1000 holders, and another in the place of one": {semaphoreYAML(`permits: 1000000`), []string{
			semaphoreStatusYAML(1000, manyHolders(1000)...), semaphoreStatusYAML(1001, append(manyHolders(999), holderYAML("x", 999_001, 1001))...),
		}},
		"1000 holders of the longest names":   {semaphoreYAML(`permits: 1000`), []string{semaphoreStatusYAML(1000, longestHolders(1000)...), semaphoreStatusYAML(1000, longestHolders(999)...)}},
		"holders change places":               {semaphoreYAML(`permits: 3`), []string{threeHeld, semaphoreStatusYAML(3, holderYAML("c", 1, 3), holderYAML("a", 1, 1), holderYAML("b", 1, 2))}},
		"one goes and another comes, at once": {semaphoreYAML(`permits: 1`), []string{semaphoreStatusYAML(1, holderYAML("a", 1, 1)), semaphoreStatusYAML(2, holderYAML("b", 1, 2))}},
		"a lease changes hands with a larger token": {leaseYAML(``), []string{
			leaseStatusYAML("a", 7), leaseStatusYAML("b", 8), `{status: {claimUID: null}}`, leaseStatusYAML("b", 9),
		}},
		"a lease is renewed":                             {leaseYAML(``), []string{leaseStatusYAML("a", 7), `{status: {renewals: 3, waiting: 2}}`}},
		"a claim goes all the way":                       {claimYAML(``), []string{`{status: {phase: Granted, fencingToken: 7}}`, `{spec: {renewals: 1}}`, `{spec: {renewals: 5}}`, `{status: {phase: Expired, message: over}}`}},
		"a claim is ended before it was told of a grant": {claimYAML(``), []string{`{status: {phase: Expired}}`}},
		"a claim's ttl is spelt another way":             {claimYAML(`ttl: 60s`), []string{`{spec: {ttl: 1m0s}}`}},
		"a claim is labelled":                            {claimYAML(``), []string{`{metadata: {labels: {a: b}}}`}},
		"a barrier that timed out waits again":           {barrierYAML(`expected: 1`), []string{`{status: {phase: Timeout}}`, `{status: {phase: Waiting}}`, `{status: {phase: Failed}}`, `{status: {phase: Open}}`, `{status: {arrived: 5}}`}},
		"an open barrier's spec changes":                 {barrierYAML(`expected: 1`), []string{`{status: {phase: Open}}`, `{spec: {expected: 9}}`}},
		"a gate that failed waits again":                 {gateYAML(`{type: Job, name: a}`), []string{`{status: {phase: Failed}}`, `{status: {phase: Waiting}}`, `{status: {phase: Open}}`}},
		"an arrival is labelled":                         {arrivalYAML(`barrier: b, participant: me`), []string{`{metadata: {labels: {a: b}}}`}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			obj := mustCreate(t.Context(), t, test.object)
			for _, change := range test.writes {
				mustPatch(t.Context(), t, obj, change)
			}
		})
	}
}

package crd

import (
	"fmt"
	"strings"
	"testing"
)

// hold is an entry of a semaphore's holders.
func hold(name string, permits int, token int) string {
	return fmt.Sprintf(`{holder: %s, claim: %s, claimUID: uid-%s, permits: %d, fencingToken: %d, acquiredAt: "2026-03-04T05:06:07.000000Z"}`, name, name, name, permits, token)
}

// held is a status of a semaphore with these holders.
func held(token int, holders ...string) string {
	return fmt.Sprintf(`{status: {fencingToken: %d, holders: [%s]}}`, token, strings.Join(holders, ", "))
}

// holds are so many holders of one permit each, whose tokens go from 1 to n.
func holds(n int) (holders []string) {
	for i := range n {
		holders = append(holders, hold(fmt.Sprintf("h%04d", i), 1, i+1))
	}
	return holders
}

// longHolds are holds of which nothing can be longer.
func longHolds(n int) (holders []string) {
	for _, h := range holds(n) {
		h = strings.Replace(h, "holder: h", "holder: "+strings.Repeat("h", 316), 1)
		h = strings.Replace(h, "claim: h", "claim: "+strings.Repeat("c", 249), 1)
		h = strings.Replace(h, "claimUID: uid-h", "claimUID: "+strings.Repeat("u", 60), 1)
		holders = append(holders, h)
	}
	return holders
}

// TestBadWrites has the changes that nobody may make, the operator as little as anybody: the API server is the last to
// guard the promises. given are changes that it accepts.
func TestBadWrites(t *testing.T) {
	const (
		threePermits  = `{kind: Semaphore, spec: {permits: 3}}`
		tooMany       = `the permits of all holders must add up to at most spec.permits, and nothing is granted while they don't`
		onlyRenewals  = `spec: Invalid value: only renewals can change: delete this claim and create another one for other terms`
		onlyForward   = `a claim goes from Pending to Granted or Refused, and from Granted to Expired, never back`
		renewalRaised = `renewals can only be raised, and only while the claim is Granted`
		backwards     = `the fencing token never goes backwards`
		granted       = `{status: {phase: Granted, fencingToken: 7}}`
		leaseHeld     = `{status: {phase: Held, holder: a, claim: a, claimUID: uid-a, fencingToken: 7}}`
		fact          = `spec: Invalid value: an Arrival is a fact and can't be changed: delete it to take it back`
	)
	ofSemaphore := `{kind: Claim, spec: {target: {kind: Semaphore, name: s}, holder: me, permits: 2, ttl: 60s, boundTo: {kind: Pod, name: p, uid: u}}}`
	comes := arrival(`barrier: b, participant: me`)
	tests := map[string]struct {
		object string
		given  []string
		write  string
		want   string
	}{
		"one holder too many":                         {threePermits, []string{held(3, hold("a", 1, 1), hold("b", 1, 2), hold("c", 1, 3))}, held(4, hold("a", 1, 1), hold("b", 1, 2), hold("c", 1, 3), hold("d", 1, 4)), tooMany},
		"one permit too many":                         {threePermits, []string{held(1, hold("a", 2, 1))}, held(2, hold("a", 2, 1), hold("b", 2, 2)), tooMany},
		"more than there is, at once":                 {threePermits, nil, held(1, hold("a", 4, 1)), tooMany},
		"a holder of a paused semaphore":              {`{kind: Semaphore, spec: {permits: 0}}`, nil, held(1, hold("a", 1, 1)), tooMany},
		"a new holder while too much is held":         {threePermits, []string{held(3, hold("a", 1, 1), hold("b", 1, 2), hold("c", 1, 3)), `{spec: {permits: 1}}`}, held(4, hold("c", 1, 3), hold("d", 1, 4)), tooMany},
		"a hold that grows":                           {threePermits, []string{held(1, hold("a", 1, 1))}, held(1, hold("a", 2, 1)), `status.holders[0]: Invalid value: a hold keeps its fencing token and its permits`},
		"a hold that shrinks":                         {threePermits, []string{held(1, hold("a", 2, 1))}, held(1, hold("a", 1, 1)), `status.holders[0]: Invalid value: a hold keeps its fencing token and its permits`},
		"a hold with another token":                   {threePermits, []string{held(1, hold("a", 1, 1))}, held(2, hold("a", 1, 2)), `status.holders[0]: Invalid value: a hold keeps its fencing token and its permits`},
		"a hold with another token, in another place": {threePermits, []string{held(2, hold("a", 1, 1), hold("b", 1, 2))}, held(3, hold("b", 1, 2), hold("a", 1, 3)), `status.holders[1]: Invalid value: a hold keeps its fencing token and its permits`},
		"a holder that holds twice":                   {threePermits, nil, held(2, hold("a", 1, 1), hold("a", 1, 2)), `status.holders[1]: Duplicate value: {"claimUID":"uid-a"}`},
		"1001 holders":                                {`{kind: Semaphore, spec: {permits: 2000}}`, nil, held(1001, holds(1001)...), `status.holders: Too many: 1001: must have at most 1000 items`},
		"a token that goes back":                      {threePermits, []string{held(5, hold("a", 1, 5))}, held(4), backwards},
		"a token that is taken away":                  {threePermits, []string{held(5, hold("a", 1, 5))}, `{status: {fencingToken: null, holders: []}}`, backwards},
		"a status without the token of a holder":      {threePermits, nil, `{status: {holders: [` + hold("a", 1, 1) + `]}}`, `status: Invalid value: status.fencingToken must be the largest token of all grants`},
		"a holder with a token above the largest":     {threePermits, nil, held(1, hold("a", 1, 2)), `status: Invalid value: status.fencingToken must be the largest token of all grants`},
		"a holder of no permits":                      {threePermits, nil, held(1, hold("a", 0, 1)), `status.holders[0].permits: Invalid value: 0: holders[0].permits in body should be greater than or equal to 1`},
		"a holder without a token":                    {threePermits, nil, held(1, hold("a", 1, 0)), `status.holders[0].fencingToken: Invalid value: 0: holders[0].fencingToken in body should be greater than or equal to 1`},
		"a holder without a claim":                    {threePermits, nil, `{status: {fencingToken: 1, holders: [{holder: a, permits: 1, fencingToken: 1, acquiredAt: "2026-03-04T05:06:07Z"}]}}`, `status.holders[0].claimUID: Required value`},
		"another phase of a semaphore":                {threePermits, nil, `{status: {phase: Busy}}`, `status.phase: Unsupported value: "Busy": supported values: "Ready", "Full"`},
		"permits below zero later on":                 {threePermits, nil, `{spec: {permits: -1}}`, `spec.permits: Invalid value: -1: spec.permits in body should be greater than or equal to 0`},

		"a lease that is held without a token":                       {`{kind: Lease}`, nil, `{status: {phase: Held, claimUID: uid-a}}`, `status: Invalid value: a held lease needs a fencing token`},
		"a lease's token that goes back":                             {`{kind: Lease}`, []string{leaseHeld}, `{status: {fencingToken: 6}}`, backwards},
		"a lease's token that goes back when it is given to another": {`{kind: Lease}`, []string{leaseHeld}, `{status: {holder: b, claimUID: uid-b, fencingToken: 6}}`, backwards},
		"a lease's token that is taken away":                         {`{kind: Lease}`, []string{leaseHeld, `{status: {claimUID: null}}`}, `{status: {fencingToken: null}}`, backwards},
		"a lease given to another with the same token":               {`{kind: Lease}`, []string{leaseHeld}, `{status: {holder: b, claim: b, claimUID: uid-b}}`, `a new holder needs a larger fencing token than any before it`},
		"a lease given again with the token of the last hold":        {`{kind: Lease}`, []string{leaseHeld, `{status: {claimUID: null}}`}, `{status: {claimUID: uid-b}}`, `a new holder needs a larger fencing token than any before it`},
		"a lease given to the same claim again":                      {`{kind: Lease}`, []string{leaseHeld, `{status: {claimUID: null}}`}, `{status: {claimUID: uid-a}}`, `a new holder needs a larger fencing token than any before it`},
		"a hold of a lease with another token":                       {`{kind: Lease}`, []string{leaseHeld}, `{status: {fencingToken: 8}}`, `a hold keeps its fencing token`},
		"another phase of a lease":                                   {`{kind: Lease}`, nil, `{status: {phase: Free}}`, `status.phase: Unsupported value: "Free": supported values: "Available", "Held"`},

		"an open barrier that closes":            {barrier(`expected: 1`), []string{`{status: {phase: Open}}`}, `{status: {phase: Waiting}}`, `an open barrier stays open: delete it and create it again to start anew`},
		"an open barrier that times out":         {barrier(`expected: 1`), []string{`{status: {phase: Open}}`}, `{status: {phase: Timeout}}`, `an open barrier stays open`},
		"an open barrier that loses its phase":   {barrier(`expected: 1`), []string{`{status: {phase: Open}}`}, `{status: {phase: null}}`, `an open barrier stays open`},
		"an open barrier that loses its status":  {barrier(`expected: 1`), []string{`{status: {phase: Open}}`}, `{status: null}`, `an open barrier stays open`},
		"another phase of a barrier":             {barrier(`expected: 1`), nil, `{status: {phase: Closed}}`, `status.phase: Unsupported value: "Closed": supported values: "Waiting", "Open", "Failed", "Timeout"`},
		"a quorum that comes to exceed expected": {barrier(`expected: 3, quorum: 3`), nil, `{spec: {expected: 2}}`, `spec: Invalid value: quorum must not be larger than expected`},
		"101 names of arrivals":                  {barrier(`expected: 200`), nil, `{status: {arrivals: [` + strings.TrimSuffix(strings.Repeat("a,", 101), ",") + `]}}`, `status.arrivals: Too many: 101: must have at most 100 items`},
		"an open gate that closes":               {gate(`{type: Job, name: a}`), []string{`{status: {phase: Open}}`}, `{status: {phase: Waiting}}`, `an open gate stays open: delete it and create it again to start anew`},
		"an open gate that fails":                {gate(`{type: Job, name: a}`), []string{`{status: {phase: Open}}`}, `{status: {phase: Failed}}`, `an open gate stays open`},
		"a gate that comes to wait for itself":   {`{kind: Gate, metadata: {name: later-self}, spec: {conditions: [{type: Gate, name: a}]}}`, nil, `{spec: {conditions: [{type: Gate, name: later-self}]}}`, `a gate can't wait for itself: name another gate in spec.conditions`},

		"another target of a claim":            {claim(``), nil, `{spec: {target: {name: other}}}`, onlyRenewals},
		"another kind of target of a claim":    {claim(``), nil, `{spec: {target: {kind: Semaphore}}}`, onlyRenewals},
		"another holder of a claim":            {claim(``), nil, `{spec: {holder: you}}`, onlyRenewals},
		"more permits of a claim":              {ofSemaphore, nil, `{spec: {permits: 3}}`, onlyRenewals},
		"another priority of a claim":          {claim(``), nil, `{spec: {priority: 9}}`, onlyRenewals},
		"another ttl of a claim":               {ofSemaphore, nil, `{spec: {ttl: 61s}}`, onlyRenewals},
		"a ttl for a claim without":            {claim(``), nil, `{spec: {ttl: 60s}}`, onlyRenewals},
		"no ttl for a claim that has one":      {ofSemaphore, nil, `{spec: {ttl: null}}`, onlyRenewals},
		"another pod of a claim":               {ofSemaphore, nil, `{spec: {boundTo: {uid: v}}}`, onlyRenewals},
		"a pod for a claim without":            {claim(``), nil, `{spec: {boundTo: {kind: Pod, name: p, uid: u}}}`, onlyRenewals},
		"no pod for a claim that has one":      {ofSemaphore, nil, `{spec: {boundTo: null}}`, onlyRenewals},
		"another way for a claim to be busy":   {claim(``), nil, `{spec: {whenBusy: Refuse}}`, onlyRenewals},
		"a renewal of a pending claim":         {claim(``), nil, `{spec: {renewals: 1}}`, renewalRaised},
		"a renewal of an expired claim":        {claim(``), []string{granted, `{status: {phase: Expired}}`}, `{spec: {renewals: 1}}`, renewalRaised},
		"a renewal of a refused claim":         {claim(``), []string{`{status: {phase: Refused}}`}, `{spec: {renewals: 1}}`, renewalRaised},
		"a renewal that is taken back":         {claim(``), []string{granted, `{spec: {renewals: 2}}`}, `{spec: {renewals: 1}}`, renewalRaised},
		"renewals that are taken away":         {claim(``), []string{granted, `{spec: {renewals: 2}}`}, `{spec: {renewals: null}}`, renewalRaised},
		"a granted claim without a token":      {claim(``), nil, `{status: {phase: Granted}}`, `status: Invalid value: a granted claim needs a fencing token`},
		"an expired claim that is granted":     {claim(``), []string{granted, `{status: {phase: Expired}}`}, granted, onlyForward},
		"a refused claim that is granted":      {claim(``), []string{`{status: {phase: Refused}}`}, granted, onlyForward},
		"a refused claim that expires":         {claim(``), []string{`{status: {phase: Refused}}`}, `{status: {phase: Expired}}`, onlyForward},
		"a granted claim that waits again":     {claim(``), []string{granted}, `{status: {phase: Pending}}`, onlyForward},
		"a granted claim that is refused":      {claim(``), []string{granted}, `{status: {phase: Refused}}`, onlyForward},
		"an expired claim that waits again":    {claim(``), []string{granted, `{status: {phase: Expired}}`}, `{status: {phase: Pending}}`, onlyForward},
		"a granted claim that loses its phase": {claim(``), []string{granted}, `{status: {phase: null}}`, onlyForward},
		"another token of a granted claim":     {claim(``), []string{granted}, `{status: {fencingToken: 8}}`, `a hold keeps its fencing token`},
		"an expired claim without its token":   {claim(``), []string{granted}, `{status: {phase: Expired, fencingToken: null}}`, `a hold keeps its fencing token`},
		"another phase of a claim":             {claim(``), nil, `{status: {phase: Held}}`, `status.phase: Unsupported value: "Held": supported values: "Pending", "Granted", "Expired", "Refused"`},

		"an arrival of somebody else":     {comes, nil, `{spec: {participant: you}}`, fact},
		"an arrival somewhere else":       {comes, nil, `{spec: {barrier: c}}`, fact},
		"an arrival that fails later":     {comes, nil, `{spec: {failed: true}}`, fact},
		"a failed arrival that is mended": {arrival(`barrier: b, participant: me, failed: true`), nil, `{spec: {failed: false}}`, fact},
		"a reason that is added":          {arrival(`barrier: b, participant: me, failed: true`), nil, `{spec: {reason: because}}`, fact},
		"a pod that is added":             {comes, nil, `{spec: {boundTo: {kind: Pod, name: p, uid: u}}}`, fact},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			obj := mustCreate(t.Context(), t, test.object)
			for _, change := range test.given {
				mustWrite(t.Context(), t, obj, change)
			}
			refused(t, write(t.Context(), t, obj, test.write), test.want)
		})
	}
}

// TestGoodWrites has what looks like the above and must be possible.
func TestGoodWrites(t *testing.T) {
	threeHeld := held(3, hold("a", 1, 1), hold("b", 1, 2), hold("c", 1, 3))
	tests := map[string]struct {
		object string
		writes []string
	}{
		"permits are lowered below what is in use, and then come back one by one": {semaphore(`permits: 3`), []string{
			threeHeld, `{spec: {permits: 1}}`, held(3, hold("b", 1, 2), hold("c", 1, 3)), held(3, hold("c", 1, 3)), held(4, hold("d", 1, 4)),
		}},
		"an over-full semaphore is written without a change of its holders": {semaphore(`permits: 3`), []string{
			threeHeld, `{spec: {permits: 0}}`, `{status: {phase: Full, waiting: 7}}`, strings.Replace(threeHeld, "5:06:07", "5:06:08", 1),
		}},
		"1000 holders, and another in the place of one": {semaphore(`permits: 1000000`), []string{
			held(1000, holds(1000)...), held(1001, append(holds(999), hold("x", 999_001, 1001))...),
		}},
		"1000 holders of the longest names":   {semaphore(`permits: 1000`), []string{held(1000, longHolds(1000)...), held(1000, longHolds(999)...)}},
		"holders change places":               {semaphore(`permits: 3`), []string{threeHeld, held(3, hold("c", 1, 3), hold("a", 1, 1), hold("b", 1, 2))}},
		"one goes and another comes, at once": {semaphore(`permits: 1`), []string{held(1, hold("a", 1, 1)), held(2, hold("b", 1, 2))}},
		"a lease changes hands with a larger token": {lease(``), []string{
			`{status: {claimUID: uid-a, fencingToken: 7}}`, `{status: {claimUID: uid-b, fencingToken: 8}}`, `{status: {claimUID: null}}`, `{status: {claimUID: uid-b, fencingToken: 9}}`,
		}},
		"a lease is renewed":                             {lease(``), []string{`{status: {claimUID: uid-a, fencingToken: 7}}`, `{status: {renewals: 3, waiting: 2}}`}},
		"a claim goes all the way":                       {claim(``), []string{`{status: {phase: Granted, fencingToken: 7}}`, `{spec: {renewals: 1}}`, `{spec: {renewals: 5}}`, `{status: {phase: Expired, message: over}}`}},
		"a claim is ended before it was told of a grant": {claim(``), []string{`{status: {phase: Expired}}`}},
		"a claim's ttl is spelt another way":             {claim(`ttl: 60s`), []string{`{spec: {ttl: 1m0s}}`}},
		"a claim is labelled":                            {claim(``), []string{`{metadata: {labels: {a: b}}}`}},
		"a barrier that timed out waits again":           {barrier(`expected: 1`), []string{`{status: {phase: Timeout}}`, `{status: {phase: Waiting}}`, `{status: {phase: Failed}}`, `{status: {phase: Open}}`, `{status: {arrived: 5}}`}},
		"an open barrier's spec changes":                 {barrier(`expected: 1`), []string{`{status: {phase: Open}}`, `{spec: {expected: 9}}`}},
		"a gate that failed waits again":                 {gate(`{type: Job, name: a}`), []string{`{status: {phase: Failed}}`, `{status: {phase: Waiting}}`, `{status: {phase: Open}}`}},
		"an arrival is labelled":                         {arrival(`barrier: b, participant: me`), []string{`{metadata: {labels: {a: b}}}`}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			obj := mustCreate(t.Context(), t, test.object)
			for _, change := range test.writes {
				mustWrite(t.Context(), t, obj, change)
			}
		})
	}
}

package konductor

import (
	"context"
	"errors"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

func newTestClaim(change func(*konductorv1.Claim)) *konductorv1.Claim {
	c := &konductorv1.Claim{
		Spec:   konductorv1.ClaimSpec{Permits: 1, TTL: konductorv1.NewDuration(time.Minute), WhenBusy: konductorv1.BusyWait},
		Status: konductorv1.ClaimStatus{Phase: konductorv1.ClaimPending},
	}
	change(c)
	return c
}

func TestDescribeTermsDifference(t *testing.T) {
	before := newTestClaim(func(*konductorv1.Claim) {})
	for what, test := range map[string]struct {
		wanted   *konductorv1.Claim
		ttlGiven bool
		want     string
	}{
		"the same":             {before, true, ""},
		"more permits":         {newTestClaim(func(c *konductorv1.Claim) { c.Spec.Permits = 2 }), true, "permits: 1 before, 2 now"},
		"another ttl":          {newTestClaim(func(c *konductorv1.Claim) { c.Spec.TTL = konductorv1.NewDuration(time.Hour) }), true, "ttl: 1m0s before, 1h0m0s now"},
		"another default ttl":  {newTestClaim(func(c *konductorv1.Claim) { c.Spec.TTL = konductorv1.NewDuration(time.Hour) }), false, ""},
		"no ttl where one was": {newTestClaim(func(c *konductorv1.Claim) { c.Spec.TTL = nil }), false, ""},
		"two differences": {newTestClaim(func(c *konductorv1.Claim) { c.Spec.Permits, c.Spec.Priority = 2, 5 }), true,
			"permits: 1 before, 2 now, priority: 0 before, 5 now"},
	} {
		if got := describeTermsDifference(before, test.wanted, test.ttlGiven); got != test.want {
			t.Errorf("%s: %q, want %q", what, got, test.want)
		}
	}
}

func TestIsStaleClaim(t *testing.T) {
	now := metav1.Now()
	in := func(phase konductorv1.ClaimPhase) *konductorv1.Claim {
		return newTestClaim(func(c *konductorv1.Claim) { c.Status.Phase = phase })
	}
	deleting := in(konductorv1.ClaimGranted)
	deleting.DeletionTimestamp = &now
	look := newTestClaim(func(c *konductorv1.Claim) { c.Spec.WhenBusy = konductorv1.BusyRefuse })
	for what, test := range map[string]struct {
		before, wanted *konductorv1.Claim
		want           bool
	}{
		"expired":                              {in(konductorv1.ClaimExpired), in(""), true},
		"refused":                              {in(konductorv1.ClaimRefused), in(""), true},
		"granted":                              {in(konductorv1.ClaimGranted), in(""), false},
		"granted, and somebody just looks":     {in(konductorv1.ClaimGranted), look, false},
		"granted and being deleted":            {deleting, in(""), true},
		"pending":                              {in(konductorv1.ClaimPending), in(""), false},
		"pending, and somebody just looks":     {in(konductorv1.ClaimPending), look, true},
		"just looking, and somebody will wait": {look, in(""), true},
	} {
		if got := isStaleClaim(test.before, test.wanted); got != test.want {
			t.Errorf("%s: %t", what, got)
		}
	}
}

func TestKeyedMutex(t *testing.T) {
	var ts keyedMutex
	leave, err := ts.lock(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := ts.tryLock("a"); ok {
		t.Fatal("two have the same turn")
	}
	other, ok := ts.tryLock("b")
	if !ok {
		t.Fatal("another name is in the way")
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := ts.lock(over, "a"); !errors.Is(err, context.Canceled) {
		t.Fatalf("with a context that is over: %v", err)
	}
	next := make(chan func())
	go func() {
		leave, _ := ts.lock(context.Background(), "a")
		next <- leave
	}()
	leave()
	leave() // unlocking again does nothing
	(<-next)()
	other()
	if len(ts.locks) != 0 {
		t.Errorf("%d names are left", len(ts.locks))
	}
}

func TestWithGracePeriod(t *testing.T) {
	parent, end := context.WithCancelCause(t.Context())
	longer, cancel := withGracePeriod(parent, time.Millisecond)
	defer cancel()
	why := errors.New("why")
	end(why)
	<-longer.Done()
	if !errors.Is(context.Cause(longer), why) {
		t.Errorf("the cause is %v", context.Cause(longer))
	}

	parent, end = context.WithCancelCause(t.Context())
	end(why)
	longer, cancel = withGracePeriod(parent, time.Hour)
	if longer.Err() != nil {
		t.Error("it has ended with the caller's")
	}
	cancel()
	<-longer.Done()
}

func TestWithCallTimeout(t *testing.T) {
	for d, want := range map[time.Duration]struct{ once, limited bool }{
		0: {once: true, limited: true}, -1: {}, time.Second: {limited: true},
	} {
		o := applyOptions([]WaitOption{WithTimeout(d)})
		ctx, cancel := o.withCallTimeout(t.Context())
		_, limited := ctx.Deadline()
		cancel()
		if o.isNonBlocking() != want.once || limited != want.limited {
			t.Errorf("%s: looks once %t, limited %t", d, o.isNonBlocking(), limited)
		}
	}
}

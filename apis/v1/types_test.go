package v1_test

import (
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"pgregory.net/rapid"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// TestLargestSemaphoreFitsSizeLimit uses the longest names, which participants choose. The API server stores no object of
// more than 1.5 MiB: a status that grew beyond it could not be written any more, and nothing would be granted or released.
func TestLargestSemaphoreFitsSizeLimit(t *testing.T) {
	const stored = 1536 << 10
	now := metav1.NewMicroTime(time.Date(2030, 12, 31, 23, 59, 59, 999_999_000, time.UTC))
	s := konductorv1.Semaphore{Spec: konductorv1.SemaphoreSpec{Permits: konductorv1.MaxHolders}}
	for range konductorv1.MaxHolders {
		s.Status.Holders = append(s.Status.Holders, konductorv1.Holder{
			// Of all characters that a holder's name may have, quotes grow most in JSON.
			Name: strings.Repeat(`"`, 320), Claim: strings.Repeat("c", 253), ClaimUID: "01234567-89ab-cdef-0123-456789abcdef",
			Permits: 1, FencingToken: math.MaxInt64, AcquiredAt: now, ExpiresAt: &now, Renewals: math.MaxInt64,
		})
	}
	body, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	if len(body) > stored*9/10 {
		t.Errorf("the largest semaphore has %d bytes, of %d", len(body), stored)
	}
}

func TestDuration(t *testing.T) {
	var none *konductorv1.Duration
	if got := none.Or(time.Minute); got != time.Minute {
		t.Errorf("a duration that is not set is %s, want the other, 1m", got)
	}
	if got := konductorv1.NewDuration(time.Second).Or(time.Minute); got != time.Second {
		t.Errorf("a duration that is set is %s, want 1s", got)
	}
	rapid.Check(t, func(t *rapid.T) {
		want := konductorv1.NewDuration(time.Duration(rapid.Int64Min(1).Draw(t, "nanoseconds")))
		text, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got konductorv1.Duration
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatal(err)
		}
		if got != *want {
			t.Fatalf("%s becomes %s by way of %s", want.Duration.Duration, got.Duration.Duration, text)
		}
		if maxLength := 32; len(text) > maxLength+len(`""`) {
			t.Fatalf("%s is longer than the API server takes", text)
		}
	})
}

func TestWantedState(t *testing.T) {
	for kind, want := range map[konductorv1.GateConditionType]konductorv1.GateState{
		konductorv1.GateOnJob:       konductorv1.StateComplete,
		konductorv1.GateOnBarrier:   konductorv1.StateOpen,
		konductorv1.GateOnGate:      konductorv1.StateOpen,
		konductorv1.GateOnLease:     konductorv1.StateAvailable,
		konductorv1.GateOnSemaphore: konductorv1.StateAvailable,
	} {
		if got := (&konductorv1.GateCondition{Type: kind}).WantedState(); got != want {
			t.Errorf("a %s is waited for until it is %s, want %s", kind, got, want)
		}
		if got := (&konductorv1.GateCondition{Type: kind, State: konductorv1.StateFailed}).WantedState(); got != konductorv1.StateFailed {
			t.Errorf("a %s that is to be Failed is waited for until it is %s", kind, got)
		}
	}
}

func TestQuorum(t *testing.T) {
	b := &konductorv1.Barrier{Spec: konductorv1.BarrierSpec{Expected: 3}}
	if got := b.Quorum(); got != 3 {
		t.Errorf("the quorum is %d when none is given, want all 3", got)
	}
	two := int32(2)
	b.Spec.Quorum = &two
	if got := b.Quorum(); got != 2 {
		t.Errorf("the quorum is %d, want 2", got)
	}
}

// registeredTypes returns all types of the group, lists included, by kind.
func registeredTypes(t *testing.T) map[string]reflect.Type {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := konductorv1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	ours := map[string]reflect.Type{}
	for kind, goType := range scheme.KnownTypes(konductorv1.GroupVersion()) {
		if goType.PkgPath() == reflect.TypeFor[konductorv1.Lease]().PkgPath() {
			ours[kind] = goType
		}
	}
	return ours
}

func TestAddToScheme(t *testing.T) {
	got := registeredTypes(t)
	for _, kind := range []string{
		konductorv1.KindBarrier, konductorv1.KindGate, konductorv1.KindLease, konductorv1.KindSemaphore, konductorv1.KindClaim, konductorv1.KindArrival,
	} {
		for _, k := range []string{kind, kind + "List"} {
			if _, ok := got[k]; !ok {
				t.Errorf("%s is not registered", k)
			}
			delete(got, k)
		}
	}
	if len(got) > 0 {
		t.Errorf("registered as well: %v", got)
	}
}

// TestDeepCopy fills every field of each type, copies it, and changes the whole copy: the original must stay the same.
func TestDeepCopy(t *testing.T) {
	for kind, goType := range registeredTypes(t) {
		t.Run(kind, func(t *testing.T) {
			one, reference := reflect.New(goType), reflect.New(goType)
			fillFields(one.Elem(), 1)
			fillFields(reference.Elem(), 1)
			original := one.Interface().(runtime.Object)
			duplicate := original.DeepCopyObject()
			if diff := cmp.Diff(original, duplicate); diff != "" {
				t.Fatalf("the copy differs (-original +copy):\n%s", diff)
			}
			fillFields(reflect.ValueOf(duplicate).Elem(), 2)
			if diff := cmp.Diff(reference.Interface(), original); diff != "" {
				t.Errorf("the original changed with its copy (-before +after):\n%s", diff)
			}
		})
	}
}

// fillFields writes a value that depends on seed into each field of v, in place where there is one already.
func fillFields(v reflect.Value, seed int64) {
	if at, ok := v.Addr().Interface().(*time.Time); ok {
		*at = time.Unix(seed, 0).UTC()
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		fillFields(v.Elem(), seed)
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fillFields(v.Field(i), seed)
			}
		}
	case reflect.Slice:
		if v.Len() == 0 {
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		}
		for i := range v.Len() {
			fillFields(v.Index(i), seed)
		}
	case reflect.Map:
		if v.IsNil() {
			v.Set(reflect.MakeMap(v.Type()))
		}
		v.SetMapIndex(reflect.ValueOf("key").Convert(v.Type().Key()), reflect.ValueOf(string(rune('a'+seed))).Convert(v.Type().Elem()))
	case reflect.String:
		v.SetString(string(rune('a' + seed)))
	case reflect.Bool:
		v.SetBool(seed == 1)
	case reflect.Int32, reflect.Int64, reflect.Int:
		v.SetInt(seed)
	case reflect.Uint8:
		v.SetUint(uint64(seed))
	default:
		panic("a field of a kind that is new here: " + v.Kind().String())
	}
}

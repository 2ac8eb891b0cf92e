package chart

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/e2e/internal/versions"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// craftedClaimJSON returns a claim of a Pod as the SDK would never create it.
func craftedClaimJSON(name string, in *corev1.Pod, change func(*konductorv1.Claim)) string {
	claim := &konductorv1.Claim{
		TypeMeta:   metav1.TypeMeta{APIVersion: konductorv1.GroupVersion().String(), Kind: konductorv1.KindClaim},
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: konductorv1.ClaimSpec{
			Target: konductorv1.ClaimTarget{Kind: konductorv1.KindLease, Name: "db"}, Holder: "attacker",
			BoundTo: &konductorv1.BoundObject{Kind: konductorv1.KindPod, Name: in.Name, UID: in.UID},
		},
	}
	change(claim)
	body, err := json.Marshal(claim)
	if err != nil {
		panic(err) // all of it can be marshaled
	}
	return string(body)
}

func TestAttacksByParticipants(t *testing.T) {
	w := &testEnv{T: t, controlPlane: startWithChart(t)}
	w.kube = kubernetes.NewForConfigOrDie(w.controlPlane.Config())
	ctx := t.Context()
	w.runOperator()
	allowParticipants(t, w.kube)
	root := w.sdkClient(w.controlPlane.Config())
	boss := w.createServiceAccount("boss", "admin", namespace)
	victim, victimPod := createPodClient(t, w.controlPlane, "victim")
	_, attackerPod := createPodClient(t, w.controlPlane, "attacker")
	attacker := w.newRawClient(podTokenConfig(t, w.controlPlane, attackerPod))
	awaitAdmissionPolicy(t, attacker, victimPod)
	awaitAggregatedRoles(w)
	lease := func(name string) *konductorv1.Lease {
		t.Helper()
		l, err := root.CreateLease(ctx, name)
		w.must(err)
		return l
	}
	on := func(lease string) func(*konductorv1.Claim) {
		return func(c *konductorv1.Claim) { c.Spec.Target.Name = lease }
	}
	held := func(name string) bool {
		l, err := root.GetLease(ctx, name)
		w.must(err)
		return l.Status.Phase == konductorv1.LeaseHeld
	}
	// holds makes the attacker hold a lease by a claim of that name.
	holds := func(name, lease string, change func(*konductorv1.Claim)) {
		t.Helper()
		w.must(attacker.createIn(namespace, "claims", craftedClaimJSON(name, attackerPod, func(c *konductorv1.Claim) {
			on(lease)(c)
			change(c)
		})))
		eventually(t, "the attacker holds "+lease, func() bool { return held(lease) })
	}
	asIs := func(*konductorv1.Claim) {}
	marked := brokenByPatch("system:serviceaccount:default:boss")

	t.Run("a claim under the name of another's is no grant for that one", func(t *testing.T) {
		squatted := lease("squatted")
		lease("decoy")
		name := konductorv1.ClaimName(konductorv1.ClaimTarget{Kind: konductorv1.KindLease, Name: "squatted", UID: squatted.UID}, victimPod.Name, victimPod.UID)
		holds(name, "decoy", func(c *konductorv1.Claim) { c.Spec.Holder = victimPod.Name })
		_, err := victim.AcquireLease(ctx, "squatted", konductor.WithTimeout(20*time.Second))
		if err == nil || !strings.Contains(err.Error(), "on lease/squatted belongs to pod/attacker, not to victim") {
			t.Errorf("the victim acquires a lease under whose claim's name the attacker holds another: %v", err)
		}
	})

	t.Run("an arrival under the name of another's is no arrival of that one", func(t *testing.T) {
		barrier, err := root.CreateBarrier(ctx, "squatted", 2)
		w.must(err)
		name := konductorv1.ArrivalName("squatted", barrier.UID, "pod/victim")
		w.must(attacker.createIn(namespace, "arrivals", arrivalJSON(name, "junk", attackerPod)))
		err = victim.ArriveBarrier(ctx, "squatted")
		if err == nil || !strings.Contains(err.Error(), "at barrier/squatted belongs to pod/attacker, not to pod/victim") {
			t.Errorf("the victim arrives where somebody else has taken the name of its arrival: %v", err)
		}
	})

	t.Run("a finalizer doesn't prolong a hold", func(*testing.T) {
		lease("stubborn")
		stay := func(c *konductorv1.Claim) { c.Finalizers = []string{"example.com/stay"} }
		holds("stays", "stubborn", stay)
		w.must(attacker.createIn(namespace, "claims", craftedClaimJSON("waits", attackerPod, func(c *konductorv1.Claim) {
			on("stubborn")(c)
			stay(c)
		})))
		w.must(attacker.deleteObject("claims", "waits"))
		_, err := w.sdkClient(boss).BreakLease(ctx, "stubborn")
		w.must(err)
		awaitBrokenEvent(w, "Lease", "stubborn", "system:serviceaccount:default:boss broke the hold of attacker")
		hold, err := victim.AcquireLease(ctx, "stubborn", konductor.WithTimeout(time.Minute))
		w.must(err)
		w.must(hold.Release(ctx))
	})

	t.Run("a hold that was broken isn't renewed, also while a finalizer keeps its claim", func(t *testing.T) {
		kept := lease("kept")
		_, err := victim.AcquireLease(ctx, "kept", konductor.Detached(), konductor.WithTTL(time.Hour))
		w.must(err)
		name := konductorv1.ClaimName(konductorv1.ClaimTarget{Kind: konductorv1.KindLease, Name: "kept", UID: kept.UID}, victimPod.Name, victimPod.UID)
		w.must(w.newRawClient(podTokenConfig(t, w.controlPlane, victimPod)).patchObject("claims", name, `{"metadata":{"finalizers":["example.com/stay"]}}`))
		w.must(victim.RenewLease(ctx, "kept"))
		_, err = w.sdkClient(boss).BreakLease(ctx, "kept")
		w.must(err)
		var lost *konductor.LostError
		if err := victim.RenewLease(ctx, "kept"); !errors.As(err, &lost) {
			t.Errorf("the victim renews what was taken from it: %v", err)
		}
	})

	t.Run("whoever holds can't undo the break", func(t *testing.T) {
		lease("broken")
		holds("clings", "broken", asIs)
		bossRaw := w.newRawClient(boss)
		w.must(bossRaw.patchObject("claims", "clings", marked))
		for what, patch := range map[string]string{
			"takes the mark off":    `{"metadata":{"annotations":{"konductor.io/broken-by":null}}}`,
			"takes all off":         `{"metadata":{"annotations":null}}`,
			"puts its own name in":  brokenByPatch("system:serviceaccount:default:default"),
			"puts an empty name in": brokenByPatch(""),
		} {
			if err := attacker.patchObject("claims", "clings", patch); err == nil || !strings.Contains(err.Error(), "is breaking this hold") {
				t.Errorf("the attacker %s: %v", what, err)
			}
		}
		w.must(bossRaw.deleteObject("claims", "clings"))
	})

	t.Run("a break stands in an Event, however many others there were", func(t *testing.T) {
		lease("noisy")
		const many = 30
		for i := range many {
			w.must(attacker.createIn(namespace, "claims", craftedClaimJSON(fmt.Sprintf("noise-%d", i), attackerPod, func(c *konductorv1.Claim) {
				on("noisy")(c)
				c.Spec.TTL = konductorv1.NewDuration(konductorv1.MinTTL)
			})))
		}
		eventually(t, "all of them have expired", func() bool {
			claims, err := root.ListClaims(ctx, konductorv1.KindLease, "noisy")
			w.must(err)
			expired := 0
			for i := range claims.Items {
				if claims.Items[i].Status.Phase == konductorv1.ClaimExpired {
					expired++
				}
			}
			return expired == many && !held("noisy")
		})
		holds("last", "noisy", asIs)
		_, err := w.sdkClient(boss).BreakLease(ctx, "noisy")
		w.must(err)
		awaitBrokenEvent(w, "Lease", "noisy", "system:serviceaccount:default:boss broke the hold of attacker")
	})

	another := func(name string) func(*konductorv1.Claim) {
		return func(c *konductorv1.Claim) { c.Spec.BoundTo.Name = name }
	}
	holder := func(name string) func(*konductorv1.Claim) {
		return func(c *konductorv1.Claim) { c.Spec.Holder = name }
	}
	const noName, noHolder = "must be the name of an object", "without control characters"
	for what, bad := range map[string]struct {
		change func(*konductorv1.Claim)
		says   string
	}{
		"the name of another Pod with its own UID":       {another("victim"), deniedByPolicy},
		"a Pod's name that can't be asked for":           {another("a/b"), noName},
		"an object's name that can't be asked for":       {on("../db"), noName},
		"a holder that clears the screen":                {holder("x\x1b[2J"), noHolder},
		"a holder of two lines":                          {holder("x\ny"), noHolder},
		"a holder that turns the direction of writing":   {holder("x\u202ey"), noHolder},
		"a holder that grows when it is written as JSON": {holder(strings.Repeat("<", 300)), noHolder},
		"a holder of many bytes and not so many letters": {holder(strings.Repeat("語", 107)), "at most 320 bytes"},
		"a ttl that is negative":                         {func(c *konductorv1.Claim) { c.Spec.TTL = konductorv1.NewDuration(-time.Hour) }, "must be a duration longer than zero"},
		"renewals in advance":                            {func(c *konductorv1.Claim) { c.Spec.Renewals = 1 << 62 }, "renewals start at 0"},
		"more priority than there is":                    {func(c *konductorv1.Claim) { c.Spec.Priority = 1_000_001 }, "spec.priority"},
	} {
		t.Run("a claim with "+what, func(t *testing.T) {
			err := attacker.createIn(namespace, "claims", craftedClaimJSON("bad", attackerPod, bad.change))
			if err == nil || !strings.Contains(err.Error(), bad.says) {
				t.Errorf("it was not refused saying %q: %v", bad.says, err)
			}
		})
	}

	t.Run("an arrival with the name of another Pod and its own UID", func(t *testing.T) {
		err := attacker.createIn(namespace, "arrivals", boundArrivalJSON("bad", victimPod.Name, attackerPod.UID))
		if err == nil || !strings.Contains(err.Error(), deniedByPolicy) {
			t.Errorf("it was not refused by the policy: %v", err)
		}
	})

	t.Run("a gate on what can't be asked for", func(t *testing.T) {
		for condition, says := range map[string]string{
			`{"type":"Job","name":"a/b"}`:                        noName,
			`{"type":"Lease","name":"db","namespace":"no/such"}`: "must be the name of a namespace",
		} {
			err := w.newRawClient(boss).createIn(namespace, "gates", `{"apiVersion":"konductor.io/v1","kind":"Gate","metadata":{"name":"odd"},"spec":{"conditions":[`+condition+`]}}`)
			if err == nil || !strings.Contains(err.Error(), says) {
				t.Errorf("a gate on %s was not refused saying %q: %v", condition, says, err)
			}
		}
	})

	t.Run("a claim that is born granted is not", func(t *testing.T) {
		w.must(attacker.createIn(namespace, "claims", craftedClaimJSON("born", attackerPod, func(c *konductorv1.Claim) {
			on("none")(c)
			c.Status = konductorv1.ClaimStatus{Phase: konductorv1.ClaimGranted, FencingToken: 1 << 40}
		})))
		born := &konductorv1.Claim{}
		w.must(attacker.Get().Namespace(namespace).Resource("claims").Name("born").Do(ctx).Into(born))
		if born.Status.Phase != konductorv1.ClaimPending || born.Status.FencingToken != 0 {
			t.Errorf("its status is %+v", born.Status)
		}
	})

	t.Run("a claim without a spec is told what is missing", func(t *testing.T) {
		bossRaw := w.newRawClient(boss)
		// The policy that records the creator of a claim needs the CRD, which the API server may find a little later.
		eventually(t, "it is refused by the type", func() bool {
			err := bossRaw.createIn(namespace, "claims", `{"apiVersion":"konductor.io/v1","kind":"Claim","metadata":{"name":"empty"}}`)
			return err != nil && strings.Contains(err.Error(), "spec: Required value")
		})
	})

	// The attacker's Pod ends here.
	t.Run("claims that are refused, and those of a Pod that has ended, all go, however many", func(t *testing.T) {
		lease("flooded")
		holds("holds", "flooded", asIs)
		const many = 200 // more than the operator notifies at once
		for i := range many {
			w.must(attacker.createIn(namespace, "claims", craftedClaimJSON(fmt.Sprintf("flood-%d", i), attackerPod, func(c *konductorv1.Claim) {
				on("flooded")(c)
				c.Spec.WhenBusy = konductorv1.BusyRefuse
			})))
		}
		eventually(t, "all of them are refused", func() bool {
			claims, err := root.ListClaims(ctx, konductorv1.KindLease, "flooded")
			w.must(err)
			refused := 0
			for i := range claims.Items {
				if claims.Items[i].Status.Phase == konductorv1.ClaimRefused {
					refused++
				}
			}
			return refused == many
		})
		w.must(w.kube.CoreV1().Pods(namespace).Delete(ctx, attackerPod.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64)}))
		hold, err := victim.AcquireLease(ctx, "flooded", konductor.WithTimeout(time.Minute))
		w.must(err)
		w.must(hold.Release(ctx))
		eventually(t, "none is left behind", func() bool {
			claims, err := root.ListClaims(ctx, konductorv1.KindLease, "flooded")
			w.must(err)
			return len(claims.Items) == 0
		})
	})
}

// thirdPartyCRD has the same names as konductor's Lease. thirdPartyMutatingPolicy labels every object, and thirdPartyValidatingPolicy
// rejects objects without another label.
const thirdPartyCRD = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: leases.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: leases, singular: lease, kind: Lease, shortNames: [klease]}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]
`

const thirdPartyMutatingPolicy = `
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: others-mark}
spec:
  failurePolicy: Fail
  reinvocationPolicy: IfNeeded
  matchConstraints: {resourceRules: [{apiGroups: [konductor.io], apiVersions: ["*"], operations: [CREATE, UPDATE], resources: ["*/*"]}]}
  mutations:
    - patchType: ApplyConfiguration
      applyConfiguration: {expression: 'Object{metadata: Object.metadata{labels: {"example.com/marked": "yes"}, annotations: {"example.com/marked": "yes"}}}'}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: others-mark}
spec: {policyName: others-mark}
`

const thirdPartyValidatingPolicy = `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: others-demand}
spec:
  failurePolicy: Fail
  matchConstraints: {resourceRules: [{apiGroups: [konductor.io], apiVersions: ["*"], operations: [CREATE, UPDATE], resources: ["*/*"]}]}
  validations: [{expression: "has(object.metadata.labels) && 'team' in object.metadata.labels", message: every object needs the label team}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: others-demand}
spec: {policyName: others-demand, validationActions: [Deny]}
`

func TestThirdPartyAdmissionPolicies(t *testing.T) {
	w := &testEnv{T: t, controlPlane: startWithChart(t)}
	w.kube = kubernetes.NewForConfigOrDie(w.controlPlane.Config())
	ctx := t.Context()
	apply := func(manifest string) {
		runTool(t, []byte(manifest), "kubectl", "--kubeconfig", w.controlPlane.Kubeconfig(), "apply", "-f", "-")
	}
	apply(thirdPartyCRD)
	// Before MutatingAdmissionPolicies are served, no policy adds the label.
	marks := versions.ForTest(t, w.controlPlane.Config()).HasMutatingAdmissionPolicy()
	if marks {
		apply(thirdPartyMutatingPolicy)
	}
	logs := w.runOperatorWithLog()
	people := w.sdkClient(w.controlPlane.Config())
	raw := w.newRawClient(w.controlPlane.Config())

	n := 0
	eventually(t, "the mark of others is put on", func() bool {
		n++
		l, err := people.CreateLease(ctx, fmt.Sprintf("probe-%d", n))
		w.must(err)
		return l.Labels["example.com/marked"] == "yes" || !marks
	})
	_, err := people.CreateLease(ctx, "db")
	w.must(err)
	hold, err := people.AcquireLease(ctx, "db", konductor.Detached())
	w.must(err)
	w.must(hold.Renew(ctx))
	claims, err := people.ListClaims(ctx, konductorv1.KindLease, "db")
	w.must(err)
	if by := claims.Items[0].Annotations[konductorv1.CreatedByAnnotation]; by == "" || marks != (claims.Items[0].Labels["example.com/marked"] != "") {
		t.Errorf("of a claim that others mark the annotations are %v and the labels %v", claims.Items[0].Annotations, claims.Items[0].Labels)
	}

	apply(thirdPartyValidatingPolicy)
	const says = "every object needs the label team"
	eventually(t, "the demand of others is in force", func() bool {
		err := hold.Renew(ctx)
		return err != nil && strings.Contains(err.Error(), says)
	})
	var lost *konductor.LostError
	if err := hold.Renew(ctx); err == nil || errors.As(err, &lost) {
		t.Errorf("a renewal that a policy of others refuses is %v", err)
	}
	if _, err := people.AcquireLease(ctx, "probe-1"); err == nil || !strings.Contains(err.Error(), says) {
		t.Errorf("a claim that a policy of others refuses is %v", err)
	}
	// The claim is deleted, and the operator can't write that into the status: it logs which policy rejects it, and doesn't report a
	// violation of its own rules.
	w.must(hold.Release(ctx))
	eventually(t, "the operator says who refuses what it writes", func() bool { return strings.Contains(logs(), says) })
	if said := logs(); strings.Contains(said, "violates an invariant") {
		t.Errorf("the operator takes the policy of others for a promise that it breaks:\n%s", said)
	}
	w.must(raw.Patch(types.MergePatchType).Resource("leases").Namespace(namespace).Name("db").Body([]byte(`{"metadata":{"labels":{"team":"a"}}}`)).Do(ctx).Error())
	eventually(t, "the operator goes on where it may", func() bool {
		l, err := people.GetLease(ctx, "db")
		w.must(err)
		return l.Status.Phase == konductorv1.LeaseAvailable
	})
}

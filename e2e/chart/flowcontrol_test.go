package chart

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

const ofOperator, ofParticipants, ofPeople = "konductor-operator", "konductor-participants", "konductor-people"

// lane is by which FlowSchema the API server judged a request, and in which priority level it waited.
type lane struct{ schema, level string }

// lanes are those of the requests of a client, as the API server's answers tell. What they tell are UIDs.
type lanes struct {
	mu   sync.Mutex
	seen map[string]map[lane]bool // by "METHOD resource", with a "/" and the subresource if there is one
}

// watched makes a client tell.
func watched(config *rest.Config) (*rest.Config, *lanes) {
	l := &lanes{seen: map[string]map[lane]bool{}}
	config = rest.CopyConfig(config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(req *http.Request) (*http.Response, error) {
			resp, err := next.RoundTrip(req)
			if err == nil {
				l.add(req, resp.Header)
			}
			return resp, err
		})
	})
	return config, l
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

func (l *lanes) add(req *http.Request, answer http.Header) {
	what := req.Method + " " + resource(req.URL.Path)
	if req.URL.Query().Get("watch") != "" {
		what = "WATCH " + resource(req.URL.Path)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen[what] == nil {
		l.seen[what] = map[lane]bool{}
	}
	l.seen[what][lane{
		answer.Get(flowcontrolv1.ResponseHeaderMatchedFlowSchemaUID), answer.Get(flowcontrolv1.ResponseHeaderMatchedPriorityLevelConfigurationUID),
	}] = true
}

// resource returns what a path is about, such as "leases.konductor.io/status".
func resource(path string) string {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	const inCore, inGroup = 2, 3
	group, at := "", inCore
	if parts[0] == "apis" && len(parts) > inGroup {
		group, at = "."+parts[1], inGroup
	}
	if len(parts) > at && parts[at] == "namespaces" {
		at += 2
	}
	if len(parts) <= at {
		return path
	}
	what := parts[at] + group
	if len(parts) > at+2 {
		what += "/" + parts[at+2]
	}
	return what
}

// all returns the lanes that requests have taken, with the names of the schemas and levels.
func (l *lanes) all(names map[string]string) map[string][]lane {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := map[string][]lane{}
	for what, in := range l.seen {
		for one := range in {
			out[what] = append(out[what], lane{names[one.schema], names[one.level]})
		}
	}
	return out
}

// flowNames returns the names of all FlowSchemas and priority levels by their UIDs.
func flowNames(w *town) map[string]string {
	w.Helper()
	schemas, err := w.kube.FlowcontrolV1().FlowSchemas().List(w.Context(), metav1.ListOptions{})
	w.ok(err)
	levels, err := w.kube.FlowcontrolV1().PriorityLevelConfigurations().List(w.Context(), metav1.ListOptions{})
	w.ok(err)
	names := map[string]string{}
	for i := range schemas.Items {
		names[string(schemas.Items[i].UID)] = schemas.Items[i].Name
	}
	for i := range levels.Items {
		names[string(levels.Items[i].UID)] = levels.Items[i].Name
	}
	return names
}

// as returns how that user reaches the API server.
func (w *town) as(user string, groups ...string) *rest.Config {
	config := rest.CopyConfig(w.plane.Config())
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: groups}
	return config
}

func TestRequestsWaitWhereTheyShould(t *testing.T) {
	w := &town{T: t, plane: installed(t, "flowControl.enabled=true", "flowControl.participantShares=1", "otherOperators={elsewhere/konductor-operator}")}
	w.kube = kubernetes.NewForConfigOrDie(w.plane.Config())
	ctx := t.Context()
	names := flowNames(w)
	allowParticipants(t, w.kube)
	_, workerPod := pod(t, w.plane, "worker")
	// The API server takes up new FlowSchemas some time after they were created.
	for user, want := range map[*rest.Config]lane{
		podConfig(t, w.plane, workerPod): {ofParticipants, ofParticipants},
		w.as("jane"):                     {ofPeople, ofParticipants},
		w.as("system:serviceaccount:konductor-system:konductor-operator", "system:serviceaccounts"): {ofOperator, ofOperator},
	} {
		eventually(t, want.schema+" is in force", func() bool {
			config, seen := watched(user)
			_ = w.raw(config).Get().Namespace(namespace).Resource("claims").Do(ctx).Error() // only how it was judged counts
			return slices.Contains(seen.all(names)["GET claims.konductor.io"], want)
		})
	}

	operatorConfig, ofTheOperator := watched(w.token(systemNamespace, "konductor-operator"))
	w.operateAs(operatorConfig)
	root := w.client(w.plane.Config())
	_, err := root.CreateLease(ctx, "db")
	w.ok(err)

	t.Run("a participant's", func(t *testing.T) {
		config, seen := watched(podConfig(t, w.plane, workerPod))
		worker := w.client(config)
		hold, err := worker.AcquireLease(ctx, "db")
		w.ok(err)
		w.ok(hold.Release(ctx))
		_, _ = kubernetes.NewForConfigOrDie(config).CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{}) // may be forbidden: only how it was judged counts
		all := seen.all(names)
		for what, in := range all {
			want := lane{ofParticipants, ofParticipants}
			if !strings.HasSuffix(what, konductorv1.GroupName) {
				want = lane{"service-accounts", "workload-low"}
			}
			if len(in) != 1 || in[0] != want {
				t.Errorf("%s went by %v, want %v", what, in, want)
			}
		}
		for _, what := range []string{"POST claims.konductor.io", "DELETE claims.konductor.io", "GET pods"} {
			if all[what] == nil {
				t.Errorf("there was no %s, only %q: this test shows little", what, slices.Sorted(maps.Keys(all)))
			}
		}
	})

	t.Run("the operator's", func(t *testing.T) {
		eventually(t, "the operator has told of the hold", func() bool {
			return ofTheOperator.all(names)["POST events"] != nil
		})
		all := ofTheOperator.all(names)
		for what, in := range all {
			if len(in) != 1 || in[0] != (lane{ofOperator, ofOperator}) {
				t.Errorf("%s went by %v", what, in)
			}
		}
		for _, what := range []string{"WATCH claims.konductor.io", "PUT leases.konductor.io/status", "WATCH pods", "POST leases.coordination.k8s.io"} {
			if all[what] == nil {
				t.Errorf("there was no %s, only %q: this test shows little", what, slices.Sorted(maps.Keys(all)))
			}
		}
	})

	t.Run("those of others", func(t *testing.T) {
		for user, want := range map[string]lane{
			"system:serviceaccount:elsewhere:konductor-operator":          {ofOperator, ofOperator},
			"system:serviceaccount:kube-system:generic-garbage-collector": {"kube-system-service-accounts", "workload-high"},
		} {
			parts := strings.Split(user, ":")
			config, seen := watched(w.as(user, "system:serviceaccounts", "system:serviceaccounts:"+parts[2]))
			_ = w.raw(config).Get().Namespace(namespace).Resource("leases").Do(ctx).Error() // may be forbidden: only how it was judged counts
			if in := seen.all(names)["GET leases.konductor.io"]; !slices.Equal(in, []lane{want}) {
				t.Errorf("the request of %s went by %v, want %v", user, in, want)
			}
		}
	})

	t.Run("a flood in one namespace keeps nobody in another from being granted", func(t *testing.T) { flood(w, podConfig(t, w.plane, workerPod)) })
}

// flood lets a Pod ask for more than its level serves, and meanwhile somebody acquire in another namespace.
func flood(w *town, flooder *rest.Config) {
	w.Helper()
	ctx := w.Context()
	flooding, stop := context.WithCancel(ctx)
	defer stop()
	var asked atomic.Int64
	var all sync.WaitGroup
	attacker := w.raw(flooder)
	for i := range 64 {
		all.Go(func() {
			for flooding.Err() == nil {
				// The Pod's own name is not in it, so that the policy refuses it: a flood needs no more than a token. For some seconds
				// after its start the API server has no schema for policies of resource types that are new to it.
				err := attacker.Post().Namespace(namespace).Resource("claims").SetHeader("Content-Type", "application/json").
					Body([]byte(unboundClaim(fmt.Sprintf("junk-%d", i)))).Do(flooding).Error()
				if err != nil && flooding.Err() == nil && !apierrors.IsForbidden(err) && !apierrors.IsTooManyRequests(err) && !apierrors.IsServiceUnavailable(err) {
					w.Errorf("the flood: %v", err)
					return
				}
				asked.Add(1)
			}
		})
	}
	defer all.Wait()
	defer stop()
	waits := func() bool {
		return flowMetric(w, "apiserver_flowcontrol_current_inqueue_requests", ofParticipants) > 0
	}
	eventually(w.T, "the flood is more than its level serves", waits)

	neighbour, err := konductor.New(w.account("neighbour", "konductor-participant", elsewhere), konductor.InNamespace(elsewhere), konductor.NotifyFunc(func(s string) { w.Log(s) }))
	w.ok(err)
	owner, err := konductor.New(w.plane.Config(), konductor.InNamespace(elsewhere))
	w.ok(err)
	_, err = owner.CreateLease(ctx, "db")
	w.ok(err)
	const turns = 5
	for range turns {
		before := asked.Load()
		hold, err := neighbour.AcquireLease(ctx, "db")
		w.ok(err)
		w.ok(hold.Release(ctx))
		eventually(w.T, "the flood goes on", func() bool { return asked.Load() > before && waits() })
	}
	if n := flowMetric(w, "apiserver_flowcontrol_rejected_requests_total", ofOperator); n != 0 {
		w.Errorf("the API server has turned away %v of the operator's requests", n)
	}
}

// flowMetric returns the sum of a metric of the API server over all that is of a priority level.
func flowMetric(w *town, name, level string) (sum float64) {
	w.Helper()
	text, err := w.kube.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(w.Context())
	w.ok(err)
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(string(text)))
	w.ok(err)
	for _, m := range families[name].GetMetric() {
		for _, l := range m.GetLabel() {
			if l.GetName() == "priority_level" && l.GetValue() == level {
				sum += m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

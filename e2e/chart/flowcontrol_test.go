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
	"github.com/LogicIQ/konductor/internal/apiclient"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

const operatorLevel, participantsLevel, peopleSchema = "konductor-operator", "konductor-participants", "konductor-people"

// flow is the FlowSchema that matched a request, and its priority level.
type flow struct{ schema, level string }

// flowRecorder records the flows of a client's requests from the headers of the responses, which contain UIDs.
type flowRecorder struct {
	mu       sync.Mutex
	observed map[string]map[flow]bool // by "METHOD resource", with a "/" and the subresource if there is one
}

// recordFlows returns a copy of config whose flows are recorded.
func recordFlows(config *rest.Config) (*rest.Config, *flowRecorder) {
	l := &flowRecorder{observed: map[string]map[flow]bool{}}
	config = rest.CopyConfig(config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return apiclient.RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
			resp, err := next.RoundTrip(req)
			if err == nil {
				l.record(req, resp.Header)
			}
			return resp, err
		})
	})
	return config, l
}

func (l *flowRecorder) record(req *http.Request, answer http.Header) {
	what := req.Method + " " + resourceOfPath(req.URL.Path)
	if req.URL.Query().Get("watch") != "" {
		what = "WATCH " + resourceOfPath(req.URL.Path)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.observed[what] == nil {
		l.observed[what] = map[flow]bool{}
	}
	l.observed[what][flow{
		answer.Get(flowcontrolv1.ResponseHeaderMatchedFlowSchemaUID), answer.Get(flowcontrolv1.ResponseHeaderMatchedPriorityLevelConfigurationUID),
	}] = true
}

// resourceOfPath returns the resource of a path, such as "leases.konductor.io/status".
func resourceOfPath(path string) string {
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

// observedFlows returns the flows of the requests, with the names of the schemas and levels.
func (l *flowRecorder) observedFlows(names map[string]string) map[string][]flow {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := map[string][]flow{}
	for what, in := range l.observed {
		for one := range in {
			out[what] = append(out[what], flow{names[one.schema], names[one.level]})
		}
	}
	return out
}

// flowControlObjectNames returns the names of all FlowSchemas and priority levels by their UIDs.
func flowControlObjectNames(w *testEnv) map[string]string {
	w.Helper()
	schemas, err := w.kube.FlowcontrolV1().FlowSchemas().List(w.Context(), metav1.ListOptions{})
	w.must(err)
	levels, err := w.kube.FlowcontrolV1().PriorityLevelConfigurations().List(w.Context(), metav1.ListOptions{})
	w.must(err)
	names := map[string]string{}
	for i := range schemas.Items {
		names[string(schemas.Items[i].UID)] = schemas.Items[i].Name
	}
	for i := range levels.Items {
		names[string(levels.Items[i].UID)] = levels.Items[i].Name
	}
	return names
}

// impersonate returns the config of that user.
func (w *testEnv) impersonate(user string, groups ...string) *rest.Config {
	config := rest.CopyConfig(w.controlPlane.Config())
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: groups}
	return config
}

func TestFlowSchemas(t *testing.T) {
	w := &testEnv{T: t, controlPlane: startWithChart(t, "flowControl.enabled=true", "flowControl.participantShares=1", "otherOperators={elsewhere/konductor-operator}")}
	w.kube = kubernetes.NewForConfigOrDie(w.controlPlane.Config())
	ctx := t.Context()
	names := flowControlObjectNames(w)
	allowParticipants(t, w.kube)
	_, workerPod := createPodClient(t, w.controlPlane, "worker")
	// The API server applies new FlowSchemas some time after they were created.
	for user, want := range map[*rest.Config]flow{
		podTokenConfig(t, w.controlPlane, workerPod): {participantsLevel, participantsLevel},
		w.impersonate("jane"):                        {peopleSchema, participantsLevel},
		w.impersonate("system:serviceaccount:konductor-system:konductor-operator", "system:serviceaccounts"): {operatorLevel, operatorLevel},
	} {
		eventually(t, want.schema+" is in force", func() bool {
			config, seen := recordFlows(user)
			_ = w.newRawClient(config).Get().Namespace(namespace).Resource("claims").Do(ctx).Error() // only its flow counts
			return slices.Contains(seen.observedFlows(names)["GET claims.konductor.io"], want)
		})
	}

	operatorConfig, ofTheOperator := recordFlows(w.tokenConfig(systemNamespace, "konductor-operator"))
	w.runOperatorAs(operatorConfig)
	root := w.sdkClient(w.controlPlane.Config())
	_, err := root.CreateLease(ctx, "db")
	w.must(err)

	t.Run("a participant's", func(t *testing.T) {
		config, seen := recordFlows(podTokenConfig(t, w.controlPlane, workerPod))
		worker := w.sdkClient(config)
		hold, err := worker.AcquireLease(ctx, "db")
		w.must(err)
		w.must(hold.Release(ctx))
		_, _ = kubernetes.NewForConfigOrDie(config).CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{}) // may be forbidden: only its flow counts
		all := seen.observedFlows(names)
		for what, in := range all {
			want := flow{participantsLevel, participantsLevel}
			if !strings.HasSuffix(what, konductorv1.GroupName) {
				want = flow{"service-accounts", "workload-low"}
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
			return ofTheOperator.observedFlows(names)["POST events"] != nil
		})
		all := ofTheOperator.observedFlows(names)
		for what, in := range all {
			if len(in) != 1 || in[0] != (flow{operatorLevel, operatorLevel}) {
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
		for user, want := range map[string]flow{
			"system:serviceaccount:elsewhere:konductor-operator":          {operatorLevel, operatorLevel},
			"system:serviceaccount:kube-system:generic-garbage-collector": {"kube-system-service-accounts", "workload-high"},
		} {
			parts := strings.Split(user, ":")
			config, seen := recordFlows(w.impersonate(user, "system:serviceaccounts", "system:serviceaccounts:"+parts[2]))
			_ = w.newRawClient(config).Get().Namespace(namespace).Resource("leases").Do(ctx).Error() // may be forbidden: only its flow counts
			if in := seen.observedFlows(names)["GET leases.konductor.io"]; !slices.Equal(in, []flow{want}) {
				t.Errorf("the request of %s went by %v, want %v", user, in, want)
			}
		}
	})

	t.Run("a flood in one namespace keeps nobody in another from being granted", func(t *testing.T) { testFloodIsolation(w, podTokenConfig(t, w.controlPlane, workerPod)) })
}

// testFloodIsolation lets a Pod send more requests than its level serves, and meanwhile a client in another namespace acquire.
func testFloodIsolation(w *testEnv, flooder *rest.Config) {
	w.Helper()
	ctx := w.Context()
	flooding, stop := context.WithCancel(ctx)
	defer stop()
	var asked atomic.Int64
	var all sync.WaitGroup
	attacker := w.newRawClient(flooder)
	for i := range 64 {
		all.Go(func() {
			for flooding.Err() == nil {
				// The claim lacks the Pod's own name, so that the policy rejects it: a flood needs only a token. For some seconds after its
				// start the API server has no schema for policies of new CRDs.
				err := attacker.Post().Namespace(namespace).Resource("claims").SetHeader("Content-Type", "application/json").
					Body([]byte(unboundClaimJSON(fmt.Sprintf("junk-%d", i)))).Do(flooding).Error()
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
		return priorityLevelMetric(w, "apiserver_flowcontrol_current_inqueue_requests", participantsLevel) > 0
	}
	eventually(w.T, "the flood is more than its level serves", waits)

	neighbour, err := konductor.New(w.createServiceAccount("neighbour", "konductor-participant", otherNamespace), konductor.InNamespace(otherNamespace), konductor.NotifyFunc(func(s string) { w.Log(s) }))
	w.must(err)
	owner, err := konductor.New(w.controlPlane.Config(), konductor.InNamespace(otherNamespace))
	w.must(err)
	_, err = owner.CreateLease(ctx, "db")
	w.must(err)
	const turns = 5
	for range turns {
		before := asked.Load()
		hold, err := neighbour.AcquireLease(ctx, "db")
		w.must(err)
		w.must(hold.Release(ctx))
		eventually(w.T, "the flood goes on", func() bool { return asked.Load() > before && waits() })
	}
	if n := priorityLevelMetric(w, "apiserver_flowcontrol_rejected_requests_total", operatorLevel); n != 0 {
		w.Errorf("the API server has turned away %v of the operator's requests", n)
	}
}

// priorityLevelMetric returns the sum of a metric of the API server over a priority level.
func priorityLevelMetric(w *testEnv, name, level string) (sum float64) {
	w.Helper()
	text, err := w.kube.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(w.Context())
	w.must(err)
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(string(text)))
	w.must(err)
	for _, m := range families[name].GetMetric() {
		for _, l := range m.GetLabel() {
			if l.GetName() == "priority_level" && l.GetValue() == level {
				sum += m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

package kubectlget

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/cli-runtime/pkg/resource"
	"k8s.io/client-go/rest"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/cli/cluster"
)

// leaseAtRevision is a lease of that name at a revision.
func leaseAtRevision(name, revision string) map[string]any {
	return map[string]any{
		"apiVersion": "konductor.io/v1", "kind": "Lease", "metadata": map[string]any{"name": name, "namespace": "etl", "resourceVersion": revision},
	}
}

// leaseList is a list at revision 5.
func leaseList(leases ...any) map[string]any {
	return map[string]any{"apiVersion": "konductor.io/v1", "kind": "LeaseList", "metadata": map[string]any{"resourceVersion": "5"}, "items": leases}
}

// leaseTable is the same list as the server's table. Its rows show an age that differs each time.
func leaseTable(age *int, leases ...any) map[string]any {
	rows := []any{}
	for _, lease := range leases {
		*age++
		rows = append(rows, map[string]any{"cells": []any{fmt.Sprint(*age, "s")}, "object": lease})
	}
	return map[string]any{"apiVersion": "meta.k8s.io/v1", "kind": "Table", "metadata": map[string]any{"resourceVersion": "5"}, "rows": rows}
}

// newScriptedRequests returns the answers in this order: a list, or the events of a watch which then ends.
func newScriptedRequests(t *testing.T, answers ...any) func(metav1.ListOptions) *rest.Request {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(answers) == 0 {
			t.Errorf("there is no answer to %s", r.URL)
			w.WriteHeader(http.StatusForbidden)
			return
		}
		answer := answers[0]
		answers = answers[1:]
		w.Header().Set("Content-Type", "application/json")
		_, watched := answer.([]metav1.WatchEvent)
		status, failed := answer.(metav1.Status)
		if watching := r.URL.Query().Get("watch") != ""; watching != watched && !failed {
			t.Errorf("%s is answered by a %T", r.URL, answer)
		}
		if failed {
			w.WriteHeader(int(status.Code))
		}
		if !watched {
			_ = json.NewEncoder(w).Encode(answer)
			return
		}
		for _, event := range answer.([]metav1.WatchEvent) {
			_ = json.NewEncoder(w).Encode(event)
		}
	}))
	t.Cleanup(server.Close)
	gv := konductorv1.GroupVersion()
	config := &rest.Config{Host: server.URL, APIPath: "/apis"}
	config.ContentConfig = resource.UnstructuredPlusDefaultContentConfig()
	config.GroupVersion = &gv
	client, err := rest.RESTClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	return func(o metav1.ListOptions) *rest.Request {
		return client.Get().Namespace("etl").Resource("leases").VersionedParams(&o, metav1.ParameterCodec)
	}
}

func newWatchEvent(t *testing.T, kind watch.EventType, object any) metav1.WatchEvent {
	t.Helper()
	raw, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	return metav1.WatchEvent{Type: string(kind), Object: runtime.RawExtension{Raw: raw}}
}

func TestListWatcherRelist(t *testing.T) {
	age := 0
	for what, of := range map[string]func(...any) map[string]any{
		"objects": leaseList,
		"a table": func(leases ...any) map[string]any { return leaseTable(&age, leases...) },
	} {
		t.Run(what, func(t *testing.T) {
			one := func(lease any) any { return lease }
			if what == "a table" {
				one = func(lease any) any { return of(lease) }
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			gone := apierrors.NewResourceExpired("too old").Status()
			request := newScriptedRequests(t,
				of(leaseAtRevision("a", "1"), leaseAtRevision("b", "1")),
				[]metav1.WatchEvent{newWatchEvent(t, watch.Bookmark, one(leaseAtRevision("", "2"))), newWatchEvent(t, watch.Modified, one(leaseAtRevision("a", "2")))},
				of(leaseAtRevision("a", "2"), leaseAtRevision("c", "4")),
				gone,
				of(leaseAtRevision("a", "2"), leaseAtRevision("c", "4")),
				[]metav1.WatchEvent{newWatchEvent(t, watch.Deleted, one(leaseAtRevision("c", "6"))), newWatchEvent(t, watch.Error, gone)},
				of(leaseAtRevision("a", "2"), leaseAtRevision("d", "2")),
			)
			now, err := request(metav1.ListOptions{}).Do(ctx).Get()
			if err != nil {
				t.Fatal(err)
			}
			var shown []string
			f := &listWatcher{newRequest: request, printObject: func(obj runtime.Object) error {
				changed, err := objectsByKey(obj)
				for key := range changed {
					shown = append(shown, key)
				}
				if _, last := changed["etl/d"]; last {
					cancel()
				}
				return err
			}}
			if f.displayed, err = objectsByKey(now); err != nil {
				t.Fatal(err)
			}
			if err := f.run(ctx, "1"); err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff([]string{"etl/a", "etl/b", "etl/c", "etl/c", "etl/d"}, shown); diff != "" {
				t.Errorf("what was shown (-want +got):\n%s", diff)
			}
		})
	}
}

func TestListWatcherForbidden(t *testing.T) {
	refused := apierrors.NewForbidden(konductorv1.GroupVersion().WithResource("leases").GroupResource(), "", errors.New("no right")).Status()
	f := &listWatcher{newRequest: newScriptedRequests(t, refused), displayed: map[string]displayedObject{}}
	if err := f.run(t.Context(), "1"); !apierrors.IsForbidden(err) {
		t.Errorf("it has ended with %v", err)
	}
}

// TestListWatchTable runs the command against an API server that restarts once.
func TestListWatchTable(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var mu sync.Mutex
	lists, asked := 0, ""
	age := 0
	api := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		versions := map[string]any{"groupVersion": "konductor.io/v1", "version": "v1"}
		answer := map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": http.StatusNotFound}
		switch {
		case r.URL.Path == "/api":
			answer = map[string]any{"kind": "APIVersions", "versions": []any{}}
		case r.URL.Path == "/apis":
			answer = map[string]any{"kind": "APIGroupList", "apiVersion": "v1", "groups": []any{map[string]any{"name": "konductor.io", "versions": []any{versions}, "preferredVersion": versions}}}
		case r.URL.Path == "/apis/konductor.io/v1":
			answer = map[string]any{"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "konductor.io/v1", "resources": []any{map[string]any{
				"name": "leases", "singularName": "lease", "kind": "Lease", "namespaced": true, "verbs": []string{"get", "list", "watch"},
			}}}
		case r.URL.Query().Get("watch") != "":
			asked = r.URL.Path + " " + r.URL.Query().Get("labelSelector") + " " + strings.Split(r.Header.Get("Accept"), ",")[0]
			return // The watch ends at once.
		case r.URL.Path == "/apis/konductor.io/v1/namespaces/etl/leases":
			leases := []any{leaseAtRevision("a", "1")}
			if lists++; lists > 1 {
				leases = append(leases, leaseAtRevision("b", "2"))
			}
			if lists > 2 {
				cancel()
			}
			answer = leaseTable(&age, leases...)
			answer["columnDefinitions"] = []any{map[string]any{"name": "Age", "type": "string"}}
		default:
			w.WriteHeader(http.StatusNotFound)
		}
		_ = json.NewEncoder(w).Encode(answer)
	}))
	defer api.Close()
	t.Setenv("KUBECACHEDIR", t.TempDir())
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	var out, errOut bytes.Buffer
	connection := cluster.NewConnection("test", &errOut)
	*connection.ConfigFlags.APIServer, *connection.ConfigFlags.Insecure, *connection.ConfigFlags.Namespace = api.URL, true, "etl"
	g := New("koncli", genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &errOut}, connection)
	cmd := &cobra.Command{Use: "list", RunE: func(cmd *cobra.Command, _ []string) error { return g.Show(cmd, konductorv1.KindLease) }}
	g.AddFlags(cmd)
	cmd.SetArgs([]string{"-w", "-l", "app=etl"})
	if err := cmd.ExecuteContext(ctx); err != nil {
		t.Fatalf("%v: %s", err, errOut.String())
	}
	if diff := cmp.Diff("AGE\n1s\n3s\n", out.String()); diff != "" {
		t.Errorf("what was shown (-want +got):\n%s", diff)
	}
	if want := "/apis/konductor.io/v1/namespaces/etl/leases app=etl application/json;as=Table;v=v1;g=meta.k8s.io"; asked != want {
		t.Errorf("it has followed %s, want %s", asked, want)
	}
}

package kubectlget

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/cli-runtime/pkg/printers"
	"k8s.io/cli-runtime/pkg/resource"
	"k8s.io/client-go/rest"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"

	"github.com/LogicIQ/konductor/internal/cli/terminal"
)

// listWatcher prints a list as it changes. After an interruption it lists anew to find what has changed: the last revision
// may be too old for a watch, or from before etcd was restored from a backup.
type listWatcher struct {
	newRequest   func(metav1.ListOptions) *rest.Request
	printObject  func(runtime.Object) error
	displayed    map[string]displayedObject
	watchStarted bool      // a watch has succeeded
	refusedSince time.Time // when watches began to be refused; zero: they are not
}

// displayedObject is an object that is shown: itself, or its row of a table.
type displayedObject struct {
	object runtime.Object
	// content is compared to find a change. The row itself changes with its age.
	content any
}

// watchList prints the objects and then each change, until ctx ends or the output is closed. kubectl's own watch ends the
// process on an interrupt, and when the API server ends the watch, which it does every hour.
func (g *Options) watchList(ctx context.Context, factory cmdutil.Factory, args []string) error {
	ctx, leave := terminal.BrokenPipeContext(ctx, g.Out)
	defer leave()
	found := factory.NewBuilder().
		Unstructured().
		NamespaceParam(g.Namespace).DefaultNamespace().AllNamespaces(g.AllNamespaces).
		LabelSelectorParam(g.LabelSelector).
		FieldSelectorParam(g.FieldSelector).
		RequestChunksOf(g.ChunkSize).
		ResourceTypeOrNameArgs(true, args...).
		SingleResourceType().
		Latest().
		TransformRequests(g.requestTable).
		Do()
	infos, err := found.Infos()
	if apierrors.IsNotFound(err) && g.IgnoreNotFound {
		return nil
	}
	if err != nil {
		return err
	}
	printer, err := g.ToPrinter(infos[0].ResourceMapping(), nil, g.AllNamespaces, false)
	if err != nil {
		return err
	}
	now, err := found.Object()
	if err != nil {
		return err
	}
	revision, err := meta.NewAccessor().ResourceVersion(now)
	if err != nil {
		return err
	}
	if err := g.printObject(printer, now); err != nil {
		return err
	}
	f := &listWatcher{newRequest: g.newRequestFunc(infos[0], args[1:]), printObject: g.newPrintFunc(printer)}
	if f.displayed, err = objectsByKey(now); err != nil {
		return err
	}
	return f.run(ctx, revision)
}

// newRequestFunc returns a function that makes the same request as the first list, or one for the single object named.
func (g *Options) newRequestFunc(first *resource.Info, names []string) func(metav1.ListOptions) *rest.Request {
	mapping, namespace := first.Mapping, g.Namespace
	if g.AllNamespaces {
		namespace = metav1.NamespaceAll
	}
	selected := g.FieldSelector
	if len(names) > 0 {
		selected = fields.OneTermEqualSelector("metadata.name", names[0]).String()
	}
	// This client requests tables if those are printed.
	client := first.Client
	return func(o metav1.ListOptions) *rest.Request {
		o.LabelSelector, o.FieldSelector = g.LabelSelector, selected
		return client.Get().NamespaceIfScoped(namespace, mapping.Scope.Name() == meta.RESTScopeNameNamespace).
			Resource(mapping.Resource.Resource).VersionedParams(&o, metav1.ParameterCodec)
	}
}

func (g *Options) newPrintFunc(printer printers.ResourcePrinterFunc) func(runtime.Object) error {
	return func(obj runtime.Object) error { return g.printObject(printer, obj) }
}

// isCanceled reports whether ctx has ended, whatever error an interrupted request returns.
func isCanceled(ctx context.Context) bool { return ctx.Err() != nil }

// run watches from a revision on.
func (f *listWatcher) run(ctx context.Context, revision string) error {
	const firstPause, longestPause, steady = 100 * time.Millisecond, 5 * time.Second, 10 * time.Second
	pause := firstPause
	for {
		begun := time.Now()
		err := f.watch(ctx, revision)
		if isCanceled(ctx) {
			// An interrupt or a closed output ends it: neither is a failure.
			return nil
		}
		if err != nil {
			return err
		}
		if time.Since(begun) >= steady {
			pause = firstPause
		}
		for revision = ""; revision == ""; pause = min(2*pause, longestPause) {
			timer := time.NewTimer(pause)
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				return nil
			}
			if revision, err = f.relist(ctx); err != nil {
				return err
			}
		}
	}
}

// watch prints each change until the watch ends or can't be started: neither is an error.
func (f *listWatcher) watch(ctx context.Context, revision string) error {
	stream, err := f.newRequest(metav1.ListOptions{Watch: true, ResourceVersion: revision, AllowWatchBookmarks: true}).Watch(ctx)
	if err != nil {
		return f.permanentError(err)
	}
	defer stream.Stop()
	f.watchStarted, f.refusedSince = true, time.Time{}
	for e := range stream.ResultChan() {
		switch e.Type {
		case watch.Bookmark:
			continue
		case watch.Error:
			return f.permanentError(apierrors.FromObject(e.Object))
		default:
		}
		changed, err := objectsByKey(e.Object)
		if err != nil {
			return err
		}
		if err := f.printObject(e.Object); err != nil {
			return err
		}
		if e.Type == watch.Deleted {
			maps.DeleteFunc(f.displayed, func(key string, _ displayedObject) bool { return hasKey(changed, key) })
		} else {
			maps.Copy(f.displayed, changed)
		}
	}
	return nil
}

// relist prints what has changed since it was last displayed, and returns the list's revision; empty if the list failed.
func (f *listWatcher) relist(ctx context.Context) (revision string, err error) {
	now, err := f.newRequest(metav1.ListOptions{}).Do(ctx).Get()
	switch {
	case isCanceled(ctx):
		return "", nil
	case err != nil:
		return "", f.permanentError(err)
	}
	found, err := objectsByKey(now)
	if err != nil {
		return "", err
	}
	for _, key := range slices.Sorted(maps.Keys(f.displayed)) {
		if !hasKey(found, key) {
			if err := f.printObject(f.displayed[key].object); err != nil {
				return "", err
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(found)) {
		if before, known := f.displayed[key]; !known || !reflect.DeepEqual(before.content, found[key].content) {
			if err := f.printObject(found[key].object); err != nil {
				return "", err
			}
		}
	}
	f.displayed = found
	return meta.NewAccessor().ResourceVersion(now)
}

func hasKey(all map[string]displayedObject, key string) bool {
	_, there := all[key]
	return there
}

// permanentError returns err if it is permanent, else nil. A refusal is permanent when it has lasted so long that the API
// server isn't just starting and roles aren't just being replaced.
func (f *listWatcher) permanentError(err error) error {
	const lasts = 30 * time.Second
	var answered apierrors.APIStatus
	if !errors.As(err, &answered) {
		return nil
	}
	switch answered.Status().Code {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
		if f.refusedSince.IsZero() {
			f.refusedSince = time.Now()
		}
		if !f.watchStarted || time.Since(f.refusedSince) >= lasts {
			return err
		}
	case http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusNotAcceptable, http.StatusUnprocessableEntity:
		return err
	}
	return nil
}

// objectsByKey returns the objects of a list or a table, or the object itself, by namespace and name.
func objectsByKey(obj runtime.Object) (map[string]displayedObject, error) {
	found := map[string]displayedObject{}
	return found, addObjectsByKey(found, obj)
}

func addObjectsByKey(to map[string]displayedObject, obj runtime.Object) error {
	if meta.IsListType(obj) {
		return meta.EachListItem(obj, func(item runtime.Object) error { return addObjectsByKey(to, item) })
	}
	one, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return fmt.Errorf("unexpected %T from the API server", obj)
	}
	rows, ok := one.Object["rows"].([]any)
	if !ok || one.GetKind() != "Table" {
		to[one.GetNamespace()+"/"+one.GetName()] = displayedObject{one, one.Object}
		return nil
	}
	for _, row := range rows {
		of, _, err := unstructured.NestedMap(map[string]any{"row": row}, "row", "object")
		if err != nil {
			return fmt.Errorf("reading a table from the API server: %w", err)
		}
		alone := maps.Clone(one.Object)
		alone["rows"] = []any{row}
		object := &unstructured.Unstructured{Object: of}
		to[object.GetNamespace()+"/"+object.GetName()] = displayedObject{&unstructured.Unstructured{Object: alone}, of}
	}
	return nil
}

package live

import (
	"context"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/LogicIQ/konductor/internal/view"
)

// List returns the current objects, without watching them. It returns an error if the API server can't be reached, or if all
// of the four primitives are denied; other denied kinds have a DeniedMessage.
func List(ctx context.Context, config *rest.Config, o Options) (view.Delta, error) {
	if len(o.Kinds) == 0 {
		o.Kinds = view.WatchedKinds()
	}
	api, err := newAPIClient(config, nil)
	if err != nil {
		return view.Delta{}, err
	}
	kinds := make([]view.KindDelta, len(o.Kinds))
	errs := make([]error, len(o.Kinds))
	var all sync.WaitGroup
	for i, kind := range o.Kinds {
		all.Go(func() { kinds[i], errs[i] = listKind(ctx, api.newWatcher(kind, o, o.Namespace), kind) })
	}
	all.Wait()
	refused := map[string]error{}
	for i, err := range errs {
		switch {
		case err == nil:
		case !isDenied(err):
			return view.Delta{}, err
		default:
			refused[o.Kinds[i]] = newDeniedError(err, o.Kinds[i], o.Namespace)
			kinds[i] = view.KindDelta{Kind: o.Kinds[i], DeniedMessage: refused[o.Kinds[i]].Error()}
		}
	}
	return view.Delta{Kinds: kinds, ClockSkew: api.clock.Skew()}, allDeniedError(o.Kinds, refused)
}

// allDeniedError returns why nothing relevant can be seen: the error of a primitive if all primitives among the kinds are
// denied, or, if there are none among them, of any kind if all are. Events alone are not enough. Otherwise it returns nil.
func allDeniedError(kinds []string, refused map[string]error) (why error) {
	isRelevant := func(kind string) bool { return slices.Contains(view.PrimitiveKinds(), kind) }
	if !slices.ContainsFunc(kinds, isRelevant) {
		isRelevant = func(string) bool { return true }
	}
	for _, kind := range kinds {
		switch {
		case !isRelevant(kind):
		case refused[kind] == nil:
			return nil
		case why == nil:
			why = refused[kind]
		}
	}
	return why
}

func listKind(ctx context.Context, w *kindWatcher, kind string) (view.KindDelta, error) {
	news := view.KindDelta{Kind: kind, Replace: true}
	list, err := w.listAll(ctx, metav1.ListOptions{})
	if err != nil {
		return news, err
	}
	items, err := meta.ExtractList(list)
	if err != nil {
		return news, err
	}
	for _, item := range items {
		if obj, ok := item.(metav1.Object); ok {
			news.Upserted = append(news.Upserted, stripUnusedFields(obj))
		}
	}
	return news, nil
}

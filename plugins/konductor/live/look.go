package live

import (
	"context"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/LogicIQ/konductor/plugins/konductor/view"
)

// Look returns how everything stands now, without following it. It returns an error when the API server can't be reached,
// or when nothing that matters may be seen; of a kind that may not, the news says so.
func Look(ctx context.Context, config *rest.Config, o Options) (view.News, error) {
	if len(o.Kinds) == 0 {
		o.Kinds = view.Followed()
	}
	api, err := connect(config)
	if err != nil {
		return view.News{}, err
	}
	kinds := make([]view.KindNews, len(o.Kinds))
	errs := make([]error, len(o.Kinds))
	var all sync.WaitGroup
	for i, kind := range o.Kinds {
		all.Go(func() { kinds[i], errs[i] = look(ctx, api.watcher(kind, o, o.Namespace), kind) })
	}
	all.Wait()
	refused := map[string]error{}
	for i, err := range errs {
		switch {
		case err == nil:
		case !refusal(err):
			return view.News{}, err
		default:
			refused[o.Kinds[i]] = explain(err, o.Kinds[i], o.Namespace)
			kinds[i] = view.KindNews{Kind: o.Kinds[i], Denied: refused[o.Kinds[i]].Error()}
		}
	}
	return view.News{Kinds: kinds, Skew: api.skew.now()}, allRefused(o.Kinds, refused)
}

// allRefused returns why there is nothing to see: why none of the primitives among the kinds may be seen, or, where
// there are none among them, none of the kinds. Events alone are no picture.
func allRefused(kinds []string, refused map[string]error) (why error) {
	matters := func(kind string) bool { return slices.Contains(view.Kinds(), kind) }
	if !slices.ContainsFunc(kinds, matters) {
		matters = func(string) bool { return true }
	}
	for _, kind := range kinds {
		switch {
		case !matters(kind):
		case refused[kind] == nil:
			return nil
		case why == nil:
			why = refused[kind]
		}
	}
	return why
}

func look(ctx context.Context, w *watcher, kind string) (view.KindNews, error) {
	news := view.KindNews{Kind: kind, All: true}
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
			news.Put = append(news.Put, slim(obj))
		}
	}
	return news, nil
}

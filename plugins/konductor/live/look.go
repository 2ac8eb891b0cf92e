package live

import (
	"context"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/LogicIQ/konductor/plugins/konductor/view"
)

// Look returns how everything stands now, without following it. It returns an error when the API server can't be reached,
// or when none of the kinds may be seen; of a kind that may not, the news says so.
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
	var refused error
	seen := false
	for i, err := range errs {
		switch {
		case err == nil:
			seen = true
		case !refusal(err):
			return view.News{}, err
		default:
			why := explain(err, o.Kinds[i], o.Namespace)
			kinds[i] = view.KindNews{Kind: o.Kinds[i], Denied: why.Error()}
			if refused == nil {
				refused = why
			}
		}
	}
	if seen {
		refused = nil
	}
	return view.News{Kinds: kinds, Skew: api.skew.now()}, refused
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

package konductor

import (
	"context"
	"encoding/json"
	"io"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/gentype"
	"k8s.io/client-go/rest"
)

// resource reads and writes objects of one kind.
type resource[T runtime.Object, L runtime.Object] interface {
	Create(ctx context.Context, obj T, opts metav1.CreateOptions) (T, error)
	Delete(ctx context.Context, name string, opts metav1.DeleteOptions) error
	watched[T, L]
	patcher[T]
}

// watched is what follow needs of a resource.
type watched[T runtime.Object, L runtime.Object] interface {
	Get(ctx context.Context, name string, opts metav1.GetOptions) (T, error)
	List(ctx context.Context, opts metav1.ListOptions) (L, error)
	Changes(ctx context.Context, opts metav1.ListOptions) (*changes[T], error)
}

// place is where the objects of a Client are.
type place struct {
	client    rest.Interface
	codec     runtime.ParameterCodec
	namespace string
}

// namedObject is a pointer to one of the API types.
type namedObject interface {
	runtime.Object
	metav1.Object
}

type kindResource[T namedObject, L runtime.Object] struct {
	*gentype.ClientWithList[T, L]
	place
	name  string
	empty func() T
}

func newResource[T namedObject, L runtime.Object](at place, name string, empty func() T, emptyList func() L) resource[T, L] {
	return &kindResource[T, L]{gentype.NewClientWithList(name, at.client, at.codec, at.namespace, empty, emptyList), at, name, empty}
}

// Changes opens a watch. It ends with ctx, or when it is closed.
//
// client-go's own takes four times as long to decode an event, since it doesn't know what will come. Where a thousand wait
// for one barrier, that is most of the time until the last of them goes on.
func (r *kindResource[T, L]) Changes(ctx context.Context, opts metav1.ListOptions) (*changes[T], error) {
	opts.Watch = true
	body, err := r.client.Get().Namespace(r.namespace).Resource(r.name).VersionedParams(&opts, r.codec).Stream(ctx)
	if err != nil {
		return nil, err
	}
	return &changes[T]{body: body, events: json.NewDecoder(body), empty: r.empty}, nil
}

// changes are the events of a watch.
type changes[T any] struct {
	body   io.ReadCloser
	events *json.Decoder
	empty  func() T
}

// next waits for the next event. It returns the API server's error if the event is one, and io.EOF or what broke the
// connection when the watch has ended.
func (c *changes[T]) next() (kind watch.EventType, obj T, err error) {
	var e struct {
		Type   watch.EventType `json:"type"`
		Object json.RawMessage `json:"object"`
	}
	if err := c.events.Decode(&e); err != nil {
		return "", obj, endOfWatch{err}
	}
	if e.Type == watch.Error {
		status := &metav1.Status{}
		if err := json.Unmarshal(e.Object, status); err != nil {
			return e.Type, obj, endOfWatch{err}
		}
		return e.Type, obj, apierrors.FromObject(status)
	}
	obj = c.empty()
	if err := json.Unmarshal(e.Object, obj); err != nil {
		return e.Type, obj, endOfWatch{err}
	}
	return e.Type, obj, nil
}

// endOfWatch says that a watch has ended without the API server's having said why.
type endOfWatch struct{ error }

func (c *changes[T]) close() { _ = c.body.Close() }

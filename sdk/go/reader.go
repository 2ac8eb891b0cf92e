package konductor

import (
	"context"
	"encoding/json"
	"io"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/gentype"
	"k8s.io/client-go/rest"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// namespacedClient is the REST client of a Client, with the namespace of its objects.
type namespacedClient struct {
	client    rest.Interface
	codec     runtime.ParameterCodec
	namespace string
}

// apiObject is a pointer to one of the API types.
type apiObject interface {
	runtime.Object
	metav1.Object
}

// typedClient reads and writes objects of one kind.
type typedClient[T apiObject, L runtime.Object] struct {
	*gentype.ClientWithList[T, L]
	reader[T]
}

func newTypedClient[T apiObject, L runtime.Object](at namespacedClient, name string, empty func() T, emptyList func() L) typedClient[T, L] {
	return typedClient[T, L]{
		gentype.NewClientWithList(name, at.client, at.codec, at.namespace, empty, emptyList),
		reader[T]{at, name, empty},
	}
}

// reader reads objects of one kind, or the part of them that T has, for calls that wait. It decodes responses directly into
// T: client-go, which doesn't know the type beforehand, takes four times as long. With a thousand waiters at one barrier,
// that would be most of the time until the last of them goes on. And a busy semaphore names its holders to every client,
// even one that needs only its TTL.
type reader[T any] struct {
	namespacedClient
	resource  string
	newObject func() T
}

// get returns the object of that name.
func (r *reader[T]) get(ctx context.Context, name string) (obj T, err error) {
	raw, err := responseBody(r.client.Get().Namespace(r.namespace).Resource(r.resource).Name(name).Do(ctx))
	if err != nil {
		return obj, err
	}
	obj = r.newObject()
	return obj, json.Unmarshal(raw, obj)
}

// responseBody returns the body of a response, or the API server's error: Raw alone knows only the code of an error.
func responseBody(result rest.Result) ([]byte, error) {
	if err := result.Error(); err != nil {
		return nil, err
	}
	return result.Raw()
}

// list returns the objects that opts selects, and the revision to watch from.
func (r *reader[T]) list(ctx context.Context, opts metav1.ListOptions) (objects []T, revision string, err error) {
	raw, err := responseBody(r.client.Get().Namespace(r.namespace).Resource(r.resource).VersionedParams(&opts, r.codec).Do(ctx))
	if err != nil {
		return nil, "", err
	}
	var list struct {
		metav1.ListMeta `json:"metadata"`
		Items           []T `json:"items"`
	}
	err = json.Unmarshal(raw, &list)
	return list.Items, list.ResourceVersion, err
}

// watch opens a watch, which ends with ctx or when it is closed.
func (r *reader[T]) watch(ctx context.Context, opts metav1.ListOptions) (*watchStream[T], error) {
	opts.Watch = true
	body, err := r.client.Get().Namespace(r.namespace).Resource(r.resource).VersionedParams(&opts, r.codec).Stream(ctx)
	if err != nil {
		return nil, err
	}
	return &watchStream[T]{body: body, decoder: json.NewDecoder(body), newObject: r.newObject}, nil
}

// watchStream delivers the events of a watch.
type watchStream[T any] struct {
	body      io.ReadCloser
	decoder   *json.Decoder
	newObject func() T
}

// watchEndedError says that a watch has ended, and the API server hasn't said why.
type watchEndedError struct{ error }

// next waits for the next event. It returns the API server's error if the event is one, and a watchEndedError if the watch
// has ended.
func (c *watchStream[T]) next() (kind watch.EventType, obj T, err error) {
	var e struct {
		Type   watch.EventType `json:"type"`
		Object json.RawMessage `json:"object"`
	}
	if err := c.decoder.Decode(&e); err != nil {
		return "", obj, watchEndedError{err}
	}
	if e.Type == watch.Error {
		status := &metav1.Status{}
		if err := json.Unmarshal(e.Object, status); err != nil {
			return e.Type, obj, watchEndedError{err}
		}
		return e.Type, obj, apierrors.FromObject(status)
	}
	obj = c.newObject()
	if err := json.Unmarshal(e.Object, obj); err != nil {
		return e.Type, obj, watchEndedError{err}
	}
	return e.Type, obj, nil
}

func (c *watchStream[T]) close() { _ = c.body.Close() }

// partialMetadata is the metadata that waiters need. The rest, above all managedFields, is larger than the remaining
// object.
type partialMetadata struct {
	Name            string    `json:"name"`
	UID             types.UID `json:"uid"`
	Generation      int64     `json:"generation"`
	ResourceVersion string    `json:"resourceVersion"`

	DeletionTimestamp *metav1.Time `json:"deletionTimestamp"`
}

func (e *partialMetadata) GetName() string            { return e.Name }
func (e *partialMetadata) GetUID() types.UID          { return e.UID }
func (e *partialMetadata) GetResourceVersion() string { return e.ResourceVersion }

func (e *partialMetadata) GetDeletionTimestamp() *metav1.Time { return e.DeletionTimestamp }

// partialTarget is the part of a Lease or Semaphore that an acquire needs.
type partialTarget struct {
	partialMetadata `json:"metadata"`
	Spec            struct {
		TTL *konductorv1.Duration `json:"ttl"`
	} `json:"spec"`
	Status struct {
		Phase              konductorv1.LeasePhase `json:"phase"`
		ObservedGeneration int64                  `json:"observedGeneration"`
		Waiting            int32                  `json:"waiting"`
		ClaimUID           types.UID              `json:"claimUID"` // of the holder of a Lease
		FencingToken       int64                  `json:"fencingToken"`
	} `json:"status"`
}

func newTargetReader(at namespacedClient, name string) reader[*partialTarget] {
	return reader[*partialTarget]{at, name, func() *partialTarget { return &partialTarget{} }}
}

// partialOpenable is the part of a Barrier or Gate that waits and arrivals need. Both kinds have the same phases.
type partialOpenable struct {
	partialMetadata `json:"metadata"`
	Status          struct {
		Phase              konductorv1.GatePhase `json:"phase"`
		ObservedGeneration int64                 `json:"observedGeneration"`
		Conditions         []metav1.Condition    `json:"conditions"`
	} `json:"status"`
}

func newOpenableReader(at namespacedClient, name string) reader[*partialOpenable] {
	return reader[*partialOpenable]{at, name, func() *partialOpenable { return &partialOpenable{} }}
}

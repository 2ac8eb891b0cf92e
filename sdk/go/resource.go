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

// resource reads and writes objects of one kind.
type resource[T namedObject, L runtime.Object] struct {
	*gentype.ClientWithList[T, L]
	reader[T]
}

func newResource[T namedObject, L runtime.Object](at place, name string, empty func() T, emptyList func() L) resource[T, L] {
	return resource[T, L]{
		gentype.NewClientWithList(name, at.client, at.codec, at.namespace, empty, emptyList),
		reader[T]{at, name, empty},
	}
}

// reader reads objects of one kind, or the part of them that T has, for those who wait. Whatever it reads it decodes
// straight into T: client-go, which doesn't know what will come, takes four times as long. Where a thousand wait for one
// barrier, that would be most of the time until the last of them goes on, and a busy semaphore names its holders to each
// who only asks for its ttl.
type reader[T any] struct {
	place
	name  string
	empty func() T
}

// get returns the object of that name.
func (r *reader[T]) get(ctx context.Context, name string) (obj T, err error) {
	raw, err := answer(r.client.Get().Namespace(r.namespace).Resource(r.name).Name(name).Do(ctx))
	if err != nil {
		return obj, err
	}
	obj = r.empty()
	return obj, json.Unmarshal(raw, obj)
}

// answer returns what the API server has sent, or the error that it has sent: of that, Raw alone knows only the code.
func answer(result rest.Result) ([]byte, error) {
	if err := result.Error(); err != nil {
		return nil, err
	}
	return result.Raw()
}

// list returns the objects that opts selects, and the revision to watch from.
func (r *reader[T]) list(ctx context.Context, opts metav1.ListOptions) (objects []T, revision string, err error) {
	raw, err := answer(r.client.Get().Namespace(r.namespace).Resource(r.name).VersionedParams(&opts, r.codec).Do(ctx))
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

// watch opens a watch. It ends with ctx, or when it is closed.
func (r *reader[T]) watch(ctx context.Context, opts metav1.ListOptions) (*changes[T], error) {
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

// endOfWatch says that a watch has ended without the API server's having said why.
type endOfWatch struct{ error }

// next waits for the next event. It returns the API server's error if the event is one, and an endOfWatch when the watch
// has ended.
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

func (c *changes[T]) close() { _ = c.body.Close() }

// essentials are what of the metadata those need to know who wait. What else there is, who manages which field above all, is
// more than the rest of the object.
type essentials struct {
	Name            string    `json:"name"`
	UID             types.UID `json:"uid"`
	Generation      int64     `json:"generation"`
	ResourceVersion string    `json:"resourceVersion"`
}

func (e *essentials) GetName() string            { return e.Name }
func (e *essentials) GetUID() types.UID          { return e.UID }
func (e *essentials) GetResourceVersion() string { return e.ResourceVersion }

// targetObject is what those who acquire need to know of a Lease or Semaphore.
type targetObject struct {
	essentials `json:"metadata"`
	Spec       struct {
		TTL *konductorv1.Duration `json:"ttl"`
	} `json:"spec"`
	Status struct {
		Phase        konductorv1.LeasePhase `json:"phase"`
		Waiting      int32                  `json:"waiting"`
		ClaimUID     types.UID              `json:"claimUID"` // of a Lease
		FencingToken int64                  `json:"fencingToken"`
	} `json:"status"`
}

func newTargetReader(at place, name string) reader[*targetObject] {
	return reader[*targetObject]{at, name, func() *targetObject { return &targetObject{} }}
}

// openable is what those who wait for it need to know of a Barrier or Gate. Both have the same phases.
type openable struct {
	essentials `json:"metadata"`
	Status     struct {
		Phase              konductorv1.GatePhase `json:"phase"`
		ObservedGeneration int64                 `json:"observedGeneration"`
		Conditions         []metav1.Condition    `json:"conditions"`
	} `json:"status"`
}

func newOpenableReader(at place, name string) reader[*openable] {
	return reader[*openable]{at, name, func() *openable { return &openable{} }}
}

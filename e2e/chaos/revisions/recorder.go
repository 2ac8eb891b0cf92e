// Package revisions records every revision of every konductor object, and of Jobs and Pods, straight from etcd and so independently of
// operator, SDK and API server. All kinds come in the one order in which they were written.
package revisions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

const (
	// registryPrefix is the prefix of all keys of the API server.
	registryPrefix = "/registry/"
	// keyPrefix is the prefix of the keys of konductor's objects: PREFIX/RESOURCE/NAMESPACE/NAME.
	keyPrefix = registryPrefix + "konductor.io/"
	// podResource and jobResource are the resources of Pods and Jobs, whose keys are registryPrefix/RESOURCE/NAMESPACE/NAME.
	podResource = "pods"
	jobResource = "jobs"
)

// markerKey is a key that no API server uses. Once a write to it is observed, all earlier writes have been observed.
const markerKey = keyPrefix + "chaos-marker"

// Revision is one state of one object.
type Revision struct {
	// Number is etcd's revision, which is the object's resourceVersion.
	Number int64 `json:"revision"`
	// Version counts the writes to the object since its creation, from 1.
	Version int64 `json:"version"`
	// Created is the revision that created the object.
	Created int64 `json:"created"`
	// ReadAt is when it was read: the write was before that.
	ReadAt time.Duration `json:"seen"`
	// Resource is leases, semaphores, claims, barriers, arrivals, gates, pods or jobs.
	Resource  string `json:"resource"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Deleted says that this revision deleted the object. The object is then its last state.
	Deleted bool `json:"deleted,omitempty"`

	Lease     *konductorv1.Lease     `json:"lease,omitempty"`
	Semaphore *konductorv1.Semaphore `json:"semaphore,omitempty"`
	Claim     *konductorv1.Claim     `json:"claim,omitempty"`
	Barrier   *konductorv1.Barrier   `json:"barrier,omitempty"`
	Arrival   *konductorv1.Arrival   `json:"arrival,omitempty"`
	Pod       *Workload              `json:"pod,omitempty"`
	Job       *Workload              `json:"job,omitempty"`
}

// Recorder records revisions until it is closed.
type Recorder struct {
	client  *clientv3.Client
	elapsed func() time.Duration
	// namespaces are the namespaces to record.
	namespaces []string
	cancel     context.CancelFunc
	done       chan struct{}

	mu           sync.Mutex
	changed      chan struct{} // closed and replaced at each revision
	revisions    []Revision
	current      map[string]Revision // the latest revision of each key
	lastRevision int64
	err          error
}

// StartRecorder starts recording the writes to these namespaces. There must be no objects in them yet. now returns the campaign's
// time.
func StartRecorder(ctx context.Context, etcd string, now func() time.Duration, namespaces ...string) (*Recorder, error) {
	client, err := clientv3.New(clientv3.Config{
		Endpoints: []string{etcd}, DialTimeout: 10 * time.Second, Logger: zap.NewNop(),
		DialKeepAliveTime: time.Second, DialKeepAliveTimeout: 2 * time.Second,
	})
	if err != nil {
		return nil, fmt.Errorf("reaching etcd at %s: %w", etcd, err)
	}
	before, err := client.Get(ctx, keyPrefix, clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	for _, kv := range before.Kvs {
		if parts := strings.Split(strings.TrimPrefix(string(kv.Key), keyPrefix), "/"); len(parts) == 3 && slices.Contains(namespaces, parts[1]) {
			return nil, errors.Join(fmt.Errorf("there is %s already", kv.Key), client.Close())
		}
	}
	watching, cancel := context.WithCancel(context.WithoutCancel(ctx))
	w := &Recorder{
		client: client, elapsed: now, namespaces: namespaces, cancel: cancel, done: make(chan struct{}),
		changed: make(chan struct{}), current: map[string]Revision{}, lastRevision: before.Header.Revision,
	}
	go w.readEvents(watching)
	return w, nil
}

// readEvents reads until ctx is done. After a loss of connection the etcd client continues where it was, and returns an error if
// it can't because etcd has compacted the next revisions.
func (w *Recorder) readEvents(ctx context.Context) {
	defer close(w.done)
	stream := w.client.Watch(ctx, registryPrefix, clientv3.WithPrefix(), clientv3.WithPrevKV(), clientv3.WithRev(w.lastRevision+1))
	for {
		select {
		case <-ctx.Done():
			return
		case response, ok := <-stream:
			if !ok || response.Err() != nil {
				if ctx.Err() != nil {
					return
				}
				w.recordError(response.Err())
				return
			}
			at := w.elapsed()
			for _, event := range response.Events {
				if _, recorded := splitKey(string(event.Kv.Key)); recorded || string(event.Kv.Key) == markerKey {
					w.recordEvent(event, at)
				}
			}
		}
	}
}

func (w *Recorder) recordError(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = errors.Join(w.err, fmt.Errorf("revisions after %d are out of reach: %w", w.lastRevision, err))
	w.notifyChanged()
}

func (w *Recorder) notifyChanged() {
	close(w.changed)
	w.changed = make(chan struct{})
}

// recordEvent records one event, after checking that none of the same key was missed.
func (w *Recorder) recordEvent(event *clientv3.Event, at time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer w.notifyChanged()
	key := string(event.Kv.Key)
	if event.Kv.ModRevision < w.lastRevision {
		w.err = errors.Join(w.err, fmt.Errorf("revision %d came after %d", event.Kv.ModRevision, w.lastRevision))
	}
	w.lastRevision = event.Kv.ModRevision
	if key == markerKey {
		return
	}
	before, known := w.current[key]
	r, err := newRevision(event, at)
	switch {
	case err != nil:
	case !slices.Contains(w.namespaces, r.Namespace):
		return
	case !known && (r.Deleted || r.Version != 1):
		err = fmt.Errorf("%s: the first revision seen, %d, is not the first there was", key, r.Number)
	case known && !r.Deleted && r.Version != before.Version+1:
		err = fmt.Errorf("%s: version %d followed version %d", key, r.Version, before.Version)
	case known && r.Deleted && event.PrevKv != nil && event.PrevKv.ModRevision != before.Number:
		err = fmt.Errorf("%s: revision %d was deleted, and %d was the last seen", key, event.PrevKv.ModRevision, before.Number)
	}
	if err != nil {
		w.err = errors.Join(w.err, err)
		return
	}
	if r.Deleted {
		r.Lease, r.Semaphore, r.Claim, r.Barrier, r.Arrival = before.Lease, before.Semaphore, before.Claim, before.Barrier, before.Arrival
		r.Pod, r.Job, r.Version, r.Created = before.Pod, before.Job, before.Version, before.Created
		delete(w.current, key)
	} else {
		w.current[key] = r
	}
	w.revisions = append(w.revisions, r)
}

// splitKey returns resource, namespace and name of a key, and whether objects of that resource are recorded.
func splitKey(key string) (parts []string, recorded bool) {
	path, isKonductors := strings.CutPrefix(key, keyPrefix)
	if !isKonductors {
		path = strings.TrimPrefix(key, registryPrefix)
	}
	parts = strings.Split(path, "/")
	return parts, len(parts) == 3 && (isKonductors || parts[0] == podResource || parts[0] == jobResource)
}

func newRevision(event *clientv3.Event, at time.Duration) (Revision, error) {
	key := string(event.Kv.Key)
	parts, _ := splitKey(key)
	r := Revision{
		Number: event.Kv.ModRevision, Version: event.Kv.Version, Created: event.Kv.CreateRevision, ReadAt: at,
		Resource: parts[0], Namespace: parts[1], Name: parts[2], Deleted: event.Type == clientv3.EventTypeDelete,
	}
	if r.Deleted {
		return r, nil
	}
	var into any
	switch r.Resource {
	case "leases":
		r.Lease = &konductorv1.Lease{}
		into = r.Lease
	case "semaphores":
		r.Semaphore = &konductorv1.Semaphore{}
		into = r.Semaphore
	case "claims":
		r.Claim = &konductorv1.Claim{}
		into = r.Claim
	case "barriers":
		r.Barrier = &konductorv1.Barrier{}
		into = r.Barrier
	case "arrivals":
		r.Arrival = &konductorv1.Arrival{}
		into = r.Arrival
	case podResource, jobResource:
		obj, _, err := scheme.Codecs.UniversalDeserializer().Decode(event.Kv.Value, nil, nil)
		switch o := obj.(type) {
		case *corev1.Pod:
			r.Pod = newPod(o)
		case *batchv1.Job:
			r.Job = newJob(o)
		default:
			return r, fmt.Errorf("%s at revision %d is a %T: %w", key, r.Number, obj, err)
		}
		return r, err
	default:
		return r, nil
	}
	if err := json.Unmarshal(event.Kv.Value, into); err != nil {
		return r, fmt.Errorf("%s at revision %d: %w", key, r.Number, err)
	}
	return r, nil
}

// AwaitState waits until condition is true for the latest revisions by key, or ctx is done.
func (w *Recorder) AwaitState(ctx context.Context, condition func(present map[string]Revision) bool) error {
	for {
		w.mu.Lock()
		done, changed, err := condition(w.current), w.changed, w.err
		w.mu.Unlock()
		if done || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// WithCurrent calls read with the latest revisions by key. read must neither keep nor change them.
func (w *Recorder) WithCurrent(read func(present map[string]Revision)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	read(w.current)
}

// Close returns every revision so far, in order. It fails if one was missed.
func (w *Recorder) Close(ctx context.Context) ([]Revision, error) {
	put, err := w.client.Put(ctx, markerKey, "")
	if err == nil {
		err = w.AwaitState(ctx, func(map[string]Revision) bool { return w.lastRevision >= put.Header.Revision })
	}
	w.cancel()
	<-w.done
	err = errors.Join(err, w.client.Close())
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.revisions, errors.Join(err, w.err)
}

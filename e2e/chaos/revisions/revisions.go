// Package revisions is the independent witness: it reads every revision of every
// object of konductor's, straight from etcd, with neither operator, SDK nor API
// server in between. All kinds come in the one order in which they were written.
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

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// prefix begins the keys of konductor's objects: PREFIX/RESOURCE/NAMESPACE/NAME.
const prefix = "/registry/konductor.io/"

// marker is a key that no API server looks at. Having seen a write to it shows that all before have been seen.
const marker = prefix + "chaos-marker"

// Revision is one state of one object.
type Revision struct {
	// Number is etcd's revision, which is the object's resourceVersion.
	Number int64 `json:"revision"`
	// Version counts the writes to the object since its creation, from 1.
	Version int64 `json:"version"`
	// Created is the revision that created the object.
	Created int64 `json:"created"`
	// Seen is when it was read: the write was before that.
	Seen time.Duration `json:"seen"`
	// Resource is leases, semaphores, claims, barriers, arrivals or gates.
	Resource  string `json:"resource"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Deleted says that the object went with this revision. The object is then as it was before.
	Deleted bool `json:"deleted,omitempty"`

	Lease     *konductorv1.Lease     `json:"lease,omitempty"`
	Semaphore *konductorv1.Semaphore `json:"semaphore,omitempty"`
	Claim     *konductorv1.Claim     `json:"claim,omitempty"`
	Barrier   *konductorv1.Barrier   `json:"barrier,omitempty"`
	Arrival   *konductorv1.Arrival   `json:"arrival,omitempty"`
}

// Witness reads revisions until it is closed.
type Witness struct {
	client *clientv3.Client
	now    func() time.Duration
	// namespaces are those to read.
	namespaces []string
	cancel     context.CancelFunc
	ended      chan struct{}

	mu      sync.Mutex
	changed chan struct{} // closed and replaced at each revision
	seen    []Revision
	last    map[string]Revision // the present state of each key
	reached int64
	err     error
}

// Watch starts reading what is written to these namespaces from now on. There must be no objects in them yet. now tells
// the campaign's time.
func Watch(ctx context.Context, etcd string, now func() time.Duration, namespaces ...string) (*Witness, error) {
	client, err := clientv3.New(clientv3.Config{
		Endpoints: []string{etcd}, DialTimeout: 10 * time.Second, Logger: zap.NewNop(),
		DialKeepAliveTime: time.Second, DialKeepAliveTimeout: 2 * time.Second,
	})
	if err != nil {
		return nil, fmt.Errorf("reaching etcd at %s: %w", etcd, err)
	}
	before, err := client.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	for _, kv := range before.Kvs {
		if parts := strings.Split(strings.TrimPrefix(string(kv.Key), prefix), "/"); len(parts) == 3 && slices.Contains(namespaces, parts[1]) {
			return nil, errors.Join(fmt.Errorf("there is %s already", kv.Key), client.Close())
		}
	}
	watching, cancel := context.WithCancel(context.WithoutCancel(ctx))
	w := &Witness{
		client: client, now: now, namespaces: namespaces, cancel: cancel, ended: make(chan struct{}),
		changed: make(chan struct{}), last: map[string]Revision{}, reached: before.Header.Revision,
	}
	go w.follow(watching)
	return w, nil
}

// follow reads on until ctx is done. The client goes on where it was after a loss of connection, and says so when it
// can't because etcd has forgotten what came next.
func (w *Witness) follow(ctx context.Context) {
	defer close(w.ended)
	stream := w.client.Watch(ctx, prefix, clientv3.WithPrefix(), clientv3.WithPrevKV(), clientv3.WithRev(w.reached+1))
	for {
		select {
		case <-ctx.Done():
			return
		case response, ok := <-stream:
			if !ok || response.Err() != nil {
				if ctx.Err() != nil {
					return
				}
				w.fail(response.Err())
				return
			}
			at := w.now()
			for _, event := range response.Events {
				w.take(event, at)
			}
		}
	}
}

func (w *Witness) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = errors.Join(w.err, fmt.Errorf("revisions after %d are out of reach: %w", w.reached, err))
	w.wake()
}

func (w *Witness) wake() {
	close(w.changed)
	w.changed = make(chan struct{})
}

// take notes one event, after it has made sure that none of the same key was missed.
func (w *Witness) take(event *clientv3.Event, at time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer w.wake()
	key := string(event.Kv.Key)
	if event.Kv.ModRevision < w.reached {
		w.err = errors.Join(w.err, fmt.Errorf("revision %d came after %d", event.Kv.ModRevision, w.reached))
	}
	w.reached = event.Kv.ModRevision
	if key == marker {
		return
	}
	before, known := w.last[key]
	r, err := revisionOf(event, at)
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
		r.Version, r.Created = before.Version, before.Created
		delete(w.last, key)
	} else {
		w.last[key] = r
	}
	w.seen = append(w.seen, r)
}

func revisionOf(event *clientv3.Event, at time.Duration) (Revision, error) {
	key := string(event.Kv.Key)
	parts := strings.Split(strings.TrimPrefix(key, prefix), "/")
	if len(parts) != 3 {
		return Revision{}, fmt.Errorf("%s is not the key of an object in a namespace", key)
	}
	r := Revision{
		Number: event.Kv.ModRevision, Version: event.Kv.Version, Created: event.Kv.CreateRevision, Seen: at,
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
	default:
		return r, nil
	}
	if err := json.Unmarshal(event.Kv.Value, into); err != nil {
		return r, fmt.Errorf("%s at revision %d: %w", key, r.Number, err)
	}
	return r, nil
}

// Until waits until the present states, by key, are as wanted, or ctx is done.
func (w *Witness) Until(ctx context.Context, wanted func(present map[string]Revision) bool) error {
	for {
		w.mu.Lock()
		done, changed, err := wanted(w.last), w.changed, w.err
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

// Present calls look with the present states, by key. look must neither keep nor change them.
func (w *Witness) Present(look func(present map[string]Revision)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	look(w.last)
}

// Close returns every revision there was up to now, in order. It fails when one was missed.
func (w *Witness) Close(ctx context.Context) ([]Revision, error) {
	put, err := w.client.Put(ctx, marker, "")
	if err == nil {
		err = w.Until(ctx, func(map[string]Revision) bool { return w.reached >= put.Header.Revision })
	}
	w.cancel()
	<-w.ended
	err = errors.Join(err, w.client.Close())
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen, errors.Join(err, w.err)
}

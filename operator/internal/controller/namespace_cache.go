package controller

import (
	"context"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// ttlNamespaceReader reads Namespaces where they can't be watched. It caches an answer for deniedNamespacePollInterval,
// however many gates and conditions ask for it. A namespace that the operator doesn't work in is reported as not found
// without a request: the operator can't read its objects anyway.
type ttlNamespaceReader struct {
	client.Reader
	operatorNamespaces []string

	mu          sync.Mutex
	cachedReads map[string]cachedNamespaceRead
}

type cachedNamespaceRead struct {
	readAt    time.Time
	namespace *corev1.Namespace
	err       error
}

func newTTLNamespaceReader(live client.Reader, namespaces []string) *ttlNamespaceReader {
	return &ttlNamespaceReader{Reader: live, operatorNamespaces: namespaces, cachedReads: map[string]cachedNamespaceRead{}}
}

// Get implements client.Reader for Namespaces.
func (a *ttlNamespaceReader) Get(ctx context.Context, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	to, ok := obj.(*corev1.Namespace)
	if !ok {
		return a.Reader.Get(ctx, key, obj, opts...)
	}
	if !slices.Contains(a.operatorNamespaces, key.Name) {
		return apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, key.Name)
	}
	a.mu.Lock()
	cached, known := a.cachedReads[key.Name]
	a.mu.Unlock()
	if !known || time.Since(cached.readAt) > deniedNamespacePollInterval {
		cached = cachedNamespaceRead{readAt: time.Now(), namespace: &corev1.Namespace{}}
		cached.err = a.Reader.Get(ctx, key, cached.namespace, opts...)
		if cached.err == nil || apierrors.IsNotFound(cached.err) || apierrors.IsForbidden(cached.err) {
			a.mu.Lock()
			a.cachedReads[key.Name] = cached
			a.mu.Unlock()
		}
	}
	cached.namespace.DeepCopyInto(to)
	return cached.err
}

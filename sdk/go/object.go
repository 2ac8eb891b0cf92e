package konductor

import (
	"context"
	"fmt"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

func typeMeta(kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: konductorv1.GroupVersion().String(), Kind: kind}
}

// ownedBy makes a child go when its parent goes, and says for which object of that name it was made.
func ownedBy(kind string, parent object) metav1.OwnerReference {
	return metav1.OwnerReference{
		APIVersion: konductorv1.GroupVersion().String(), Kind: kind, Name: parent.GetName(), UID: parent.GetUID(),
	}
}

// get returns the object of that name. A passing trouble of the API server is waited out.
func get[T any](ctx context.Context, c *Client, r interface {
	Get(ctx context.Context, name string, opts metav1.GetOptions) (T, error)
}, kind, name string) (obj T, err error) {
	if name == "" {
		return obj, errNoName
	}
	err = c.retry(ctx, func() (err error) {
		obj, err = r.Get(ctx, name, metav1.GetOptions{})
		return err
	})
	return obj, c.explain(err, "get", plural(kind), name)
}

// deleter deletes objects of one kind.
type deleter interface {
	Delete(ctx context.Context, name string, opts metav1.DeleteOptions) error
}

func remove(ctx context.Context, c *Client, r deleter, kind, name string, opts []Option) error {
	if name == "" {
		return errNoName
	}
	o := collect(opts)
	err := c.retry(ctx, func() error { return r.Delete(ctx, name, metav1.DeleteOptions{DryRun: o.dryRun}) })
	return c.explain(err, "delete", plural(kind), name)
}

// watchdog tells people when nothing shows that an operator is at work.
type watchdog struct {
	bark  func()
	mu    sync.Mutex
	timer *time.Timer // nil: there has been nothing for an operator to look at
}

// watchOperator returns a watchdog for a wait on object.
func (c *Client) watchOperator(object string) *watchdog {
	return &watchdog{bark: func() {
		c.notify(c.noOperator(fmt.Sprintf("has looked at %s for %s", object, operatorAnswers)))
	}}
}

// noOperator says that no operator has done what it should have, and how to find out why.
func (c *Client) noOperator(has string) string {
	where, flags := "", " --namespace="+c.namespace
	if c.context != "" {
		where, flags = " in the cluster of context "+c.context, " --context="+shellWord(c.context)+flags
	}
	return fmt.Sprintf("no operator%s %s: find out why with 'kubectl konductor doctor%s'", where, has, flags)
}

// see takes note that the object is there, and whether there is a sign of the operator on it.
func (w *watchdog) see(sign bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer == nil {
		w.timer = time.AfterFunc(operatorAnswers, w.bark)
	}
	if sign {
		w.timer.Stop()
	}
}

func (w *watchdog) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer != nil {
		w.timer.Stop()
	}
}

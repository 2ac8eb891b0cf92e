package konductor

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// waitFor watches an object until settled is done or returns an error. It has what all waits of the package share: the
// timeout, objects that don't exist yet, and objects that are deleted. status describes the object for the error of a
// timeout.
func waitFor[T watchable](ctx context.Context, c *Client, r reader[T], kind, name string, o options, settled func(T) (done bool, status string, err error)) error {
	ctx, cancel := o.withCallTimeout(ctx)
	defer cancel()
	var none T
	var observedUID types.UID
	notified := false
	status := ""
	err := watchUntil(ctx, c, r, name, func(obj T) (bool, error) {
		// After a long disconnection, only another UID may show that the object was deleted. An object that is being
		// deleted counts as deleted, whatever keeps it.
		isTerminating := obj != none && obj.GetDeletionTimestamp() != nil
		if obj == none || isTerminating || (observedUID != "" && obj.GetUID() != observedUID) {
			missing := &NotFoundError{Kind: kind, Name: name, Namespace: c.namespace, Deleted: observedUID != "" || isTerminating}
			if isTerminating && observedUID == "" {
				missing.Message = fmt.Sprintf("%s in namespace %s is being deleted", ref(kind, name), c.namespace)
			}
			if isTerminating || observedUID != "" || o.failIfMissing || o.isNonBlocking() {
				return true, missing
			}
			status = "it does not exist"
			if !notified {
				notified = true
				c.notify(fmt.Sprintf("waiting for %s to be created in namespace %s", ref(kind, name), c.namespace))
			}
			return false, nil
		}
		observedUID = obj.GetUID()
		done, now, err := settled(obj)
		status = now
		if !done && err == nil && o.isNonBlocking() {
			return true, &TimeoutError{Object: ref(kind, name), Status: status}
		}
		return done || err != nil, err
	})
	if err != nil && ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
		return o.contextError(ctx, ref(kind, name), status)
	}
	return c.explain(err, "get,list,watch", groupResource(kind), name)
}

// waitOpen waits until a Barrier or Gate is open.
func (c *Client) waitOpen(ctx context.Context, kind, name string, o options) error {
	check := c.newOperatorCheck(ref(kind, name))
	defer check.stop()
	return waitFor(ctx, c, c.clients.openableReaders[kind], kind, name, o, func(obj *partialOpenable) (done bool, status string, err error) {
		now := &obj.Status
		check.observe(now.ObservedGeneration > 0)
		if open := meta.FindStatusCondition(now.Conditions, konductorv1.ConditionOpen); open != nil {
			status = open.Message
		}
		ended := now.Phase == konductorv1.GateFailed || now.Phase == konductorv1.GateTimeout
		// A failure of an earlier generation doesn't count: the timeout may just have been raised.
		if ended && obj.Generation == now.ObservedGeneration {
			return true, status, &FailedError{Object: ref(kind, name), Phase: string(now.Phase), Message: status}
		}
		return now.Phase == konductorv1.GateOpen, status, nil
	})
}

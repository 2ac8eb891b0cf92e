package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/cli/flags"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// deleteOptions deletes objects of a kind. It goes on after errors.
type deleteOptions struct {
	app            *app
	out            *flags.Output
	kind           string
	uid            types.UID // only the object with this UID; empty: any
	unlessHeld     bool
	ignoreNotFound bool
	err            error
}

// confirmAndDelete reads the objects, asks whether to delete them, and deletes exactly those.
func (d *deleteOptions) confirmAndDelete(ctx context.Context, client *konductor.Client, names []string) error {
	if !d.app.canPrompt() {
		// There is nobody to answer, so the holders are only looked up for the message, and not for long.
		const moment = 2 * time.Second
		ctx, cancel := context.WithTimeout(ctx, moment)
		defer cancel()
		var found []primitiveObject
		if isHoldable(d.kind) {
			found, _ = d.getObjects(ctx, client, names)
		}
		return d.app.confirm(false, "delete", d.objectsText(client, names, found))
	}
	found, err := d.getObjects(ctx, client, names)
	d.err = err
	if len(found) == 0 {
		return d.err
	}
	var shown []string
	for _, obj := range found {
		shown = append(shown, obj.GetName())
	}
	if err := d.app.confirm(false, "delete", d.objectsText(client, shown, found)); err != nil {
		return errors.Join(d.err, err)
	}
	for _, obj := range found {
		// A given UID stays in force instead of that of the object read. If the confirmation named no holder, a held object must
		// not be deleted.
		d.deleteObject(ctx, client, obj.GetName(), cmp.Or(d.uid, obj.GetUID()), d.unlessHeld || len(currentHolders(obj)) == 0)
	}
	return d.err
}

// getObjects returns the objects that exist, and the errors of the others.
func (d *deleteOptions) getObjects(ctx context.Context, client *konductor.Client, names []string) (found []primitiveObject, err error) {
	for _, name := range names {
		obj, e := getPrimitive(ctx, client, d.kind, name)
		if e != nil {
			err = errors.Join(err, d.dropNotFound(e))
			continue
		}
		found = append(found, obj)
	}
	return found, err
}

// objectsText lists the objects of those names, and says which of those found are held.
func (d *deleteOptions) objectsText(client *konductor.Client, names []string, found []primitiveObject) string {
	heldBy := map[string]string{}
	for _, obj := range found {
		if by := currentHolders(obj); len(by) > 0 {
			heldBy[obj.GetName()] = fmt.Sprintf(" (held by %s)", firstNames(by))
		}
	}
	var objects []string
	for _, name := range names {
		objects = append(objects, strings.ToLower(d.kind)+"/"+name+heldBy[name])
	}
	return fmt.Sprintf("%s in namespace %s", strings.Join(objects, ", "), client.Namespace())
}

// deleteObject deletes one object and prints that.
func (d *deleteOptions) deleteObject(ctx context.Context, client *konductor.Client, name string, uid types.UID, unlessHeld bool) {
	var err error
	if d.out.IsClientDryRun() {
		_, err = getPrimitive(ctx, client, d.kind, name)
	} else {
		err = d.callDelete(ctx, client, name, uid, unlessHeld)
	}
	if busy, ok := errors.AsType[*konductor.BusyError](err); ok {
		err = fmt.Errorf("%w: it is held now, so it was not deleted", busy)
	}
	if err == nil {
		err = d.out.PrintOperation(d.kind, name, "deleted", d.app.streams.Out)
	}
	d.err = errors.Join(d.err, d.dropNotFound(err))
}

// callDelete deletes the object of that name with the SDK.
func (d *deleteOptions) callDelete(ctx context.Context, client *konductor.Client, name string, uid types.UID, unlessHeld bool) error {
	opts := []konductor.DeleteOption{konductor.OnlyUID(uid)}
	if d.out.IsServerDryRun() {
		opts = append(opts, konductor.DryRun())
	}
	switch d.kind {
	case konductorv1.KindBarrier:
		return client.DeleteBarrier(ctx, name, opts...)
	case konductorv1.KindGate:
		return client.DeleteGate(ctx, name, opts...)
	}
	var targetOpts []konductor.DeleteTargetOption
	for _, o := range opts {
		targetOpts = append(targetOpts, o)
	}
	if unlessHeld {
		targetOpts = append(targetOpts, konductor.UnlessHeld())
	}
	if d.kind == konductorv1.KindLease {
		return client.DeleteLease(ctx, name, targetOpts...)
	}
	return client.DeleteSemaphore(ctx, name, targetOpts...)
}

// dropNotFound returns err, or nil for a missing object with --ignore-not-found.
func (d *deleteOptions) dropNotFound(err error) error {
	if _, missing := errors.AsType[*konductor.NotFoundError](err); missing && d.ignoreNotFound {
		return nil
	}
	return err
}

func isHoldable(kind string) bool {
	return kind == konductorv1.KindLease || kind == konductorv1.KindSemaphore
}

// currentHolders returns the holders of a lease or semaphore.
func currentHolders(obj primitiveObject) (by []string) {
	switch o := obj.(type) {
	case *konductorv1.Lease:
		if o.Status.Holder != "" {
			by = append(by, o.Status.Holder)
		}
	case *konductorv1.Semaphore:
		for i := range o.Status.Holders {
			by = append(by, o.Status.Holders[i].Name)
		}
	}
	return by
}

// firstNames quotes and joins the first few names.
func firstNames(names []string) string {
	const named = 3
	if len(names) > named {
		return fmt.Sprintf("%s and %d more", quoteNames(names[:named]), len(names)-named)
	}
	return quoteNames(names)
}

// quoteNames quotes and joins names.
func quoteNames(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = strconv.Quote(name)
	}
	return strings.Join(quoted, ", ")
}

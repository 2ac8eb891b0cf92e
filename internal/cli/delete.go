package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/types"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// deleteOptions deletes objects of a kind. It goes on after errors.
type deleteOptions struct {
	app            *app
	out            *outputFlags
	kind           string
	deleteFunc     func(*konductor.Client, context.Context, string, ...konductor.Option) error
	ignoreNotFound bool
	err            error
}

// confirmAndDelete reads the objects, asks whether to delete them, and deletes exactly those.
func (d *deleteOptions) confirmAndDelete(ctx context.Context, client *konductor.Client, names []string, opts []konductor.Option) error {
	if !d.app.canPrompt() {
		// There is nobody to answer, so the holders are only looked up for the message, and not for long.
		const moment = 2 * time.Second
		ctx, cancel := context.WithTimeout(ctx, moment)
		defer cancel()
		var found []primitiveObject
		if isHoldable(d.kind) {
			found, _ = d.getObjects(ctx, client, names)
		}
		return d.app.confirm(false, d.confirmQuestion(client, names, found))
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
	if err := d.app.confirm(false, d.confirmQuestion(client, shown, found)); err != nil {
		return errors.Join(d.err, err)
	}
	for _, obj := range found {
		// A given UID stays in force besides that of the object read.
		only := append([]konductor.Option{konductor.OnlyUID(obj.GetUID())}, opts...)
		if len(currentHolders(obj)) == 0 {
			// The confirmation named no holder, so a held object must not be deleted.
			only = append(only, konductor.UnlessHeld())
		}
		d.deleteObject(ctx, client, obj.GetName(), only...)
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

// confirmQuestion asks whether to delete the objects of those names, and says which of those found are held.
func (d *deleteOptions) confirmQuestion(client *konductor.Client, names []string, found []primitiveObject) string {
	question := fmt.Sprintf("delete %s %s in namespace %s", strings.ToLower(d.kind), strings.Join(names, ", "), client.Namespace())
	var held []string
	for _, obj := range found {
		if by := currentHolders(obj); len(by) > 0 {
			held = append(held, fmt.Sprintf("%s is held by %s", obj.GetName(), firstNames(by)))
		}
	}
	if len(held) > 0 {
		question += ", although " + strings.Join(held, " and ")
	}
	return question
}

// deleteObject deletes one object and prints that.
func (d *deleteOptions) deleteObject(ctx context.Context, client *konductor.Client, name string, opts ...konductor.Option) {
	var err error
	if d.out.isClientDryRun() {
		_, err = getPrimitive(ctx, client, d.kind, name)
	} else {
		err = d.deleteFunc(client, ctx, name, opts...)
	}
	if busy, ok := errors.AsType[*konductor.BusyError](err); ok {
		err = fmt.Errorf("%w: somebody holds it by now, so it was not deleted", busy)
	}
	if err == nil {
		err = d.out.printOperation(d.kind, name, "deleted", d.app.streams.Out)
	}
	d.err = errors.Join(d.err, d.dropNotFound(err))
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
			by = append(by, o.Status.Holders[i].Holder)
		}
	}
	return by
}

// firstNames joins the first few names.
func firstNames(names []string) string {
	const named = 3
	if len(names) > named {
		return fmt.Sprintf("%s, %d more", strings.Join(names[:named], ", "), len(names)-named)
	}
	return strings.Join(names, ", ")
}

// addUIDFlag adds --uid, which requires the object to have that UID.
func addUIDFlag(cmd *cobra.Command, uid *string, kind string) {
	cmd.Flags().StringVar(uid, "uid", "", fmt.Sprintf("act only if the %s has this UID, and is not a new one of the same name; otherwise exit with code 2", kind))
}

// uidOption returns the option for --uid.
func uidOption(uid string) []konductor.Option {
	if uid == "" {
		return nil
	}
	return []konductor.Option{konductor.OnlyUID(types.UID(uid))}
}

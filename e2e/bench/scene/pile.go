package scene

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/util/uuid"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// claimsKey is where the API server keeps the claims of a namespace.
func claimsKey(namespace string) string {
	return "/registry/" + konductorv1.GroupVersion().Group + "/claims/" + namespace + "/"
}

// batch is how many objects are written in one transaction, of which etcd takes 128 at most.
const batch = 100

// Pile adds copies of a claim that exists, as a flood would have left them: edit gives each its name, and what else is
// to be different. They are written straight into etcd, since the API server alone takes milliseconds for each, and without
// notes of who manages which field, which would be most of the API server's memory. From etcd they come to the API server
// and to all who watch like any other.
func (s *Scene) Pile(ctx context.Context, namespace, original string, n int, edit func(i int, copied *konductorv1.Claim)) error {
	found, err := s.Etcd.Get(ctx, claimsKey(namespace)+original)
	if err != nil {
		return err
	}
	if len(found.Kvs) != 1 {
		return fmt.Errorf("etcd has no claim %s/%s", namespace, original)
	}
	return Each(ctx, (n+batch-1)/batch, func(ctx context.Context, b int) error {
		var puts []clientv3.Op
		for i := b * batch; i < min(n, (b+1)*batch); i++ {
			claim := &konductorv1.Claim{}
			if err := json.Unmarshal(found.Kvs[0].Value, claim); err != nil {
				return err
			}
			claim.UID, claim.ManagedFields = uuid.NewUUID(), nil
			edit(i, claim)
			text, err := json.Marshal(claim)
			if err != nil {
				return err
			}
			puts = append(puts, clientv3.OpPut(claimsKey(namespace)+claim.Name, string(text)))
		}
		_, err := s.Etcd.Txn(ctx).Then(puts...).Commit()
		return err
	})
}

// ClearPile removes all claims of a namespace as Pile has written them.
func (s *Scene) ClearPile(ctx context.Context, namespace string) error {
	prefix := claimsKey(namespace)
	for {
		found, err := s.Etcd.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly(), clientv3.WithLimit(batch*atOnce))
		if err != nil || len(found.Kvs) == 0 {
			return err
		}
		group, ctx := errgroup.WithContext(ctx)
		for kvs := found.Kvs; len(kvs) > 0; kvs = kvs[min(batch, len(kvs)):] {
			first, last := kvs[0].Key, kvs[min(batch, len(kvs))-1].Key
			group.Go(func() error {
				_, err := s.Etcd.Delete(ctx, string(first), clientv3.WithRange(string(last)+"\x00"))
				return err
			})
		}
		if err := group.Wait(); err != nil {
			return errors.Join(err, context.Cause(ctx))
		}
	}
}

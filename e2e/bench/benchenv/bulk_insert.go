package benchenv

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

// claimsKeyPrefix returns the prefix of the etcd keys of a namespace's claims.
func claimsKeyPrefix(namespace string) string {
	return "/registry/" + konductorv1.GroupVersion().Group + "/claims/" + namespace + "/"
}

// etcdBatchSize is how many objects are written in one transaction. etcd's maximum is 128.
const etcdBatchSize = 100

// InsertClaimCopies adds n copies of an existing claim, as a flood of claims would; edit sets each copy's name and whatever else
// is to differ. They are written straight into etcd, since the API server takes milliseconds for each, and without managed
// fields, which would be most of the API server's memory. The API server and all watches get them from etcd like any others.
func (s *Env) InsertClaimCopies(ctx context.Context, namespace, original string, n int, edit func(i int, copied *konductorv1.Claim)) error {
	found, err := s.Etcd.Get(ctx, claimsKeyPrefix(namespace)+original)
	if err != nil {
		return err
	}
	if len(found.Kvs) != 1 {
		return fmt.Errorf("etcd has no claim %s/%s", namespace, original)
	}
	return ForEachParallel(ctx, (n+etcdBatchSize-1)/etcdBatchSize, func(ctx context.Context, b int) error {
		var puts []clientv3.Op
		for i := b * etcdBatchSize; i < min(n, (b+1)*etcdBatchSize); i++ {
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
			puts = append(puts, clientv3.OpPut(claimsKeyPrefix(namespace)+claim.Name, string(text)))
		}
		_, err := s.Etcd.Txn(ctx).Then(puts...).Commit()
		return err
	})
}

// DeleteInsertedClaims deletes all claims of a namespace that InsertClaimCopies has written.
func (s *Env) DeleteInsertedClaims(ctx context.Context, namespace string) error {
	prefix := claimsKeyPrefix(namespace)
	for {
		found, err := s.Etcd.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly(), clientv3.WithLimit(etcdBatchSize*maxParallel))
		if err != nil || len(found.Kvs) == 0 {
			return err
		}
		group, ctx := errgroup.WithContext(ctx)
		for kvs := found.Kvs; len(kvs) > 0; kvs = kvs[min(etcdBatchSize, len(kvs)):] {
			first, last := kvs[0].Key, kvs[min(etcdBatchSize, len(kvs))-1].Key
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

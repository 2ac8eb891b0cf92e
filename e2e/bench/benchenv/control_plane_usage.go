package benchenv

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// ControlPlaneUsage is the resource usage of the API server and etcd, in bytes.
type ControlPlaneUsage struct {
	// APIServerMemory and EtcdMemory are resident memory.
	APIServerMemory, EtcdMemory int
	// EtcdDatabaseSize is the part of etcd's database that is in use for the latest revisions of all objects.
	EtcdDatabaseSize int
}

// ControlPlaneUsage measures the usage of the API server and etcd. It compacts etcd, so that older revisions don't count.
func (s *Env) ControlPlaneUsage(ctx context.Context) (e ControlPlaneUsage, err error) {
	for component, memory := range map[string]*int{"kube-apiserver": &e.APIServerMemory, "etcd": &e.EtcdMemory} {
		stat, err := readProcStat(s.ComponentPID(component))
		if err != nil {
			return e, err
		}
		*memory = stat.ResidentMemory()
	}
	status, err := s.Etcd.Status(ctx, s.EtcdURL())
	if err != nil {
		return e, err
	}
	if _, err := s.Etcd.Compact(ctx, status.Header.Revision, clientv3.WithCompactPhysical()); err != nil && !errors.Is(err, rpctypes.ErrCompacted) {
		return e, fmt.Errorf("compacting etcd: %w", err)
	}
	if status, err = s.Etcd.Status(ctx, s.EtcdURL()); err != nil {
		return e, err
	}
	e.EtcdDatabaseSize = int(status.DbSizeInUse)
	return e, nil
}

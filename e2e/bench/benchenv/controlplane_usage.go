package benchenv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
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
	if e.APIServerMemory, err = s.apiServerMemory(ctx); err != nil {
		return e, err
	}
	if e.EtcdMemory, err = s.etcdMemory(ctx); err != nil {
		return e, err
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

func (s *Env) apiServerMemory(ctx context.Context) (int, error) {
	text, err := s.Kube.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return 0, err
	}
	return residentMemory(bytes.NewReader(text))
}

func (s *Env) etcdMemory(ctx context.Context) (_ int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.EtcdURL()+"/metrics", http.NoBody)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	return residentMemory(resp.Body)
}

// residentMemory reads a process's resident memory from its metrics.
func residentMemory(metrics io.Reader) (int, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(metrics)
	if err != nil {
		return 0, err
	}
	const name = "process_resident_memory_bytes"
	for _, m := range families[name].GetMetric() {
		return int(m.GetGauge().GetValue()), nil
	}
	return 0, fmt.Errorf("there is no metric %s", name)
}

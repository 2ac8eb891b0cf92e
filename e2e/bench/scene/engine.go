package scene

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

// Engine is what the API server and etcd use, in bytes.
type Engine struct {
	// APIServer and Etcd are resident memory.
	APIServer, Etcd int
	// Database is what etcd's database has in use for the present state of all objects.
	Database int
}

// Engine measures what the API server and etcd use. It compacts etcd, so that former states of objects don't count.
func (s *Scene) Engine(ctx context.Context) (e Engine, err error) {
	if e.APIServer, err = s.apiServerMemory(ctx); err != nil {
		return e, err
	}
	if e.Etcd, err = s.etcdMemory(ctx); err != nil {
		return e, err
	}
	status, err := s.Etcd.Status(ctx, s.ControlPlane.Etcd())
	if err != nil {
		return e, err
	}
	if _, err := s.Etcd.Compact(ctx, status.Header.Revision, clientv3.WithCompactPhysical()); err != nil && !errors.Is(err, rpctypes.ErrCompacted) {
		return e, fmt.Errorf("compacting etcd: %w", err)
	}
	if status, err = s.Etcd.Status(ctx, s.ControlPlane.Etcd()); err != nil {
		return e, err
	}
	e.Database = int(status.DbSizeInUse)
	return e, nil
}

func (s *Scene) apiServerMemory(ctx context.Context) (int, error) {
	text, err := s.Kube.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return 0, err
	}
	return residentMemory(bytes.NewReader(text))
}

func (s *Scene) etcdMemory(ctx context.Context) (_ int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.ControlPlane.Etcd()+"/metrics", http.NoBody)
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

// residentMemory reads a process's memory from its metrics.
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

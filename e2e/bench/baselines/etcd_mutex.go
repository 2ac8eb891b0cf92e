// Package baselines measures the usual alternatives to konductor, on the same machine and the same etcd and API server: etcd's
// own mutex, and client-go's leader election.
package baselines

import (
	"context"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/LogicIQ/konductor/e2e/bench/measures"
	"github.com/LogicIQ/konductor/e2e/bench/report"
	"github.com/LogicIQ/konductor/e2e/bench/stats"
)

// MeasureEtcdMutex measures the mutex of etcd's client/v3/concurrency, directly on etcd: without API server, authorization, or
// objects that others could see. Each contender has a session and a connection of its own.
func MeasureEtcdMutex(ctx context.Context, r *measures.Runner) ([]report.Row, error) {
	cycle, err := measureUncontendedLock(ctx, r)
	if err != nil {
		return nil, err
	}
	rows := []report.Row{
		report.NewRow("etcd mutex: uncontended lock and unlock, p50", cycle.P50(), "ms").WithNote(fmt.Sprintf("N=%d", cycle.N())),
	}
	for _, waiting := range []int{1, r.SmallCount} {
		handover, err := measureMutexHandover(ctx, r, waiting)
		if err != nil {
			return nil, err
		}
		rows = append(rows, report.NewRow(fmt.Sprintf("etcd mutex: handover with %d waiting, p50", waiting), handover.P50(), "ms").
			WithNote(fmt.Sprintf("N=%d", handover.N())))
	}
	return rows, nil
}

func measureUncontendedLock(ctx context.Context, r *measures.Runner) (cycle stats.Sample, err error) {
	c, err := newContender(r, "/bench/uncontended")
	if err != nil {
		return cycle, err
	}
	defer c.close()
	for i := range r.Warmup + r.FastRepetitions {
		begin := time.Now()
		if err := c.mutex.Lock(ctx); err != nil {
			return cycle, err
		}
		if err := c.mutex.Unlock(ctx); err != nil {
			return cycle, err
		}
		if i >= r.Warmup {
			cycle.Add(time.Since(begin))
		}
	}
	return cycle, nil
}

// contender locks and unlocks one mutex, in a session and over a connection of its own.
type contender struct {
	client  *clientv3.Client
	session *concurrency.Session
	mutex   *concurrency.Mutex
}

func newContender(r *measures.Runner, prefix string) (*contender, error) {
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{r.EtcdURL()}, DialTimeout: 10 * time.Second})
	if err != nil {
		return nil, err
	}
	session, err := concurrency.NewSession(client)
	if err != nil {
		_ = client.Close()
		return nil, err
	}
	return &contender{client, session, concurrency.NewMutex(session, prefix)}, nil
}

func (c *contender) close() {
	_ = c.session.Close() // otherwise the etcd lease expires by itself
	_ = c.client.Close()
}

type lockResult struct {
	contender *contender
	lockedAt  time.Time
	err       error
}

// measureMutexHandover measures handovers of a mutex as those of konductor's lease are measured: a contender that unlocks it
// joins the queue again.
func measureMutexHandover(ctx context.Context, r *measures.Runner, waiting int) (handover stats.Sample, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	prefix := fmt.Sprintf("/bench/handover-%d", waiting)
	locks := make(chan lockResult, waiting+1)
	lock := func(c *contender) {
		go func() {
			err := c.mutex.Lock(ctx)
			locks <- lockResult{c, time.Now(), err}
		}()
	}
	for range waiting + 1 {
		c, err := newContender(r, prefix)
		if err != nil {
			return handover, err
		}
		defer c.close()
		lock(c)
	}
	holder := <-locks
	for i := range r.Warmup + r.FastRepetitions {
		if holder.err != nil {
			return handover, holder.err
		}
		if err := awaitQueueLength(ctx, r, prefix, waiting+1); err != nil {
			return handover, err
		}
		before := holder
		begin := time.Now()
		if err := before.contender.mutex.Unlock(ctx); err != nil {
			return handover, err
		}
		holder = <-locks
		if i >= r.Warmup {
			handover.Add(holder.lockedAt.Sub(begin))
		}
		lock(before.contender)
	}
	return handover, nil
}

// awaitQueueLength waits until all contenders have joined the queue.
func awaitQueueLength(ctx context.Context, r *measures.Runner, prefix string, n int) error {
	for {
		found, err := r.Etcd.Get(ctx, prefix+"/", clientv3.WithPrefix(), clientv3.WithCountOnly())
		if err != nil || found.Count == int64(n) {
			return err
		}
	}
}

// Package rivals measures what one would pick instead of konductor, on the same
// machine and the same etcd and API server: etcd's own mutex, and client-go's
// leader election.
package rivals

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

// Mutex measures the mutex of etcd's client/v3/concurrency, straight to etcd: no API server, no authorization, no
// objects that anybody else could see. Each contender has a session of its own, on the two connections that take turns.
func Mutex(ctx context.Context, r *measures.Run) ([]report.Row, error) {
	cycle, err := uncontended(ctx, r)
	if err != nil {
		return nil, err
	}
	rows := []report.Row{
		report.Of("etcd mutex: uncontended lock and unlock, p50", cycle.P50(), "ms").Note(fmt.Sprintf("N=%d", cycle.N())),
	}
	for _, waiting := range []int{1, r.Some} {
		handover, err := mutexHandover(ctx, r, waiting)
		if err != nil {
			return nil, err
		}
		rows = append(rows, report.Of(fmt.Sprintf("etcd mutex: handover with %d waiting, p50", waiting), handover.P50(), "ms").
			Note(fmt.Sprintf("N=%d", handover.N())))
	}
	return rows, nil
}

func uncontended(ctx context.Context, r *measures.Run) (cycle stats.Sample, err error) {
	c, err := newContender(r, "/bench/uncontended")
	if err != nil {
		return cycle, err
	}
	defer c.close()
	for i := range r.Warmup + r.Repeat {
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

// contender wants one mutex, in a session and over a connection of its own.
type contender struct {
	client  *clientv3.Client
	session *concurrency.Session
	mutex   *concurrency.Mutex
}

func newContender(r *measures.Run, prefix string) (*contender, error) {
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{r.ControlPlane.Etcd()}, DialTimeout: 10 * time.Second})
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
	_ = c.session.Close() // the lease ends by itself otherwise
	_ = c.client.Close()
}

type locked struct {
	by  *contender
	at  time.Time
	err error
}

// mutexHandover lets a mutex go from hand to hand, as konductor's lease does: whoever unlocks it queues up again.
func mutexHandover(ctx context.Context, r *measures.Run, waiting int) (handover stats.Sample, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	prefix := fmt.Sprintf("/bench/handover-%d", waiting)
	locks := make(chan locked, waiting+1)
	lock := func(c *contender) {
		go func() {
			err := c.mutex.Lock(ctx)
			locks <- locked{c, time.Now(), err}
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
	for i := range r.Warmup + r.Repeat {
		if holder.err != nil {
			return handover, holder.err
		}
		if err := awaitKeys(ctx, r, prefix, waiting+1); err != nil {
			return handover, err
		}
		before := holder
		begin := time.Now()
		if err := before.by.mutex.Unlock(ctx); err != nil {
			return handover, err
		}
		holder = <-locks
		if i >= r.Warmup {
			handover.Add(holder.at.Sub(begin))
		}
		lock(before.by)
	}
	return handover, nil
}

// awaitKeys waits until all contenders have joined the queue.
func awaitKeys(ctx context.Context, r *measures.Run, prefix string, n int) error {
	for {
		found, err := r.Etcd.Get(ctx, prefix+"/", clientv3.WithPrefix(), clientv3.WithCountOnly())
		if err != nil || found.Count == int64(n) {
			return err
		}
	}
}

// Package operators runs operators as processes of their own, each behind a
// proxy of its own, and starts them again when they end, as a cluster would.
package operators

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"k8s.io/client-go/rest"

	"github.com/LogicIQ/konductor/e2e/chaos/proxy"
	"github.com/LogicIQ/konductor/e2e/install"
	"github.com/LogicIQ/konductor/e2e/internal/process"
)

// Options says how to run an operator.
type Options struct {
	Name string
	// Binary is koncli.
	Binary string
	// Config is how an operator reaches the API server.
	Config *rest.Config
	// Namespace is the one to work in, and where its operators agree on a leader.
	Namespace string
	// Elect makes operators agree on one that acts.
	Elect bool
	// Skews are wall clocks to start with, as seconds off; one is chosen at each start.
	Skews []int
	// Env is added to the environment.
	Env []string
	// Dir takes the kubeconfig and the log.
	Dir string
	// Rng chooses what befalls it.
	Rng *rand.Rand
}

// Operator is an operator that is kept running.
type Operator struct {
	Name  string
	Elect bool
	// Proxy is what it reaches the API server through.
	Proxy *proxy.Proxy

	options Options
	group   *process.Group
	cancel  context.CancelFunc
	ended   chan struct{}

	mu      sync.Mutex
	current *process.Process
	pause   time.Duration // before the next start
	starts  int
	skewed  int
	err     error
}

// Start starts an operator and keeps it running until it is closed.
func Start(group *process.Group, o Options) (*Operator, error) {
	p, err := proxy.New(o.Config, rand.New(rand.NewPCG(o.Rng.Uint64(), o.Rng.Uint64())))
	if err != nil {
		return nil, err
	}
	if err := install.WriteKubeconfig(p.Config(o.Config), o.Namespace, o.kubeconfig()); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	ctx, cancel := context.WithCancel(context.Background())
	op := &Operator{Name: o.Name, Elect: o.Elect, Proxy: p, options: o, group: group, cancel: cancel, ended: make(chan struct{})}
	go op.keep(ctx)
	return op, nil
}

func (o Options) kubeconfig() string { return filepath.Join(o.Dir, o.Name+".kubeconfig") }

// Log is the file that it logs to.
func (o *Operator) Log() string { return filepath.Join(o.options.Dir, o.Name+".log") }

// keep starts the operator again whenever it has ended.
func (o *Operator) keep(ctx context.Context) {
	defer close(o.ended)
	for ctx.Err() == nil {
		p, err := o.start()
		if err != nil {
			o.mu.Lock()
			o.err = err
			o.mu.Unlock()
			return
		}
		select {
		case <-p.Done():
		case <-ctx.Done():
			// A stopped process doesn't hear SIGTERM.
			_ = p.Signal(syscall.SIGCONT)
			if err := p.Stop(context.WithoutCancel(ctx), syscall.SIGTERM, 15*time.Second); err != nil {
				o.mu.Lock()
				o.err = err
				o.mu.Unlock()
			}
			return
		}
		o.mu.Lock()
		const backoff = 200 * time.Millisecond
		pause := o.pause + backoff
		o.pause = 0
		o.mu.Unlock()
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

func (o *Operator) start() (*process.Process, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	skew := 0
	if len(o.options.Skews) > 0 {
		skew = o.options.Skews[o.options.Rng.IntN(len(o.options.Skews))]
	}
	p, err := o.group.Start(process.Spec{
		Name: o.Name, Path: o.options.Binary, Log: o.Log(),
		Args: []string{
			"operator", "--kubeconfig=" + o.options.kubeconfig(), "--watch-namespaces=" + o.options.Namespace,
			"--leader-election-namespace=" + o.options.Namespace, fmt.Sprintf("--leader-elect=%t", o.Elect),
			"--metrics-bind-address=0", "--health-probe-bind-address=0", "--log-level=info", "--log-format=text",
		},
		Env: append([]string{fmt.Sprintf("%s=%d", SkewVariable, skew), "HOME=" + o.options.Dir}, o.options.Env...),
	})
	if err != nil {
		return nil, err
	}
	o.current = p
	o.starts++
	if skew != 0 {
		o.skewed++
	}
	return p, nil
}

// Kill kills it as a crash would. It is started again after pause.
func (o *Operator) Kill(pause time.Duration) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pause = pause
	return o.signal(syscall.SIGKILL)
}

// Stop freezes it in the middle of whatever it does.
func (o *Operator) Stop() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.signal(syscall.SIGSTOP)
}

// Continue lets it go on as if nothing had happened.
func (o *Operator) Continue() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.signal(syscall.SIGCONT)
}

func (o *Operator) signal(sig os.Signal) error {
	if o.current == nil {
		return nil
	}
	return o.current.Signal(sig)
}

// Starts returns how often it was started, and how often of these with a wrong wall clock.
func (o *Operator) Starts() (all, skewed int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.starts, o.skewed
}

// Close ends it for good.
func (o *Operator) Close() error {
	o.cancel()
	<-o.ended
	o.mu.Lock()
	defer o.mu.Unlock()
	return errors.Join(o.err, o.Proxy.Close())
}

// Package operators runs operators as processes of their own, each behind a proxy of its own, and restarts them when they end, as
// a cluster would.
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
	"github.com/LogicIQ/konductor/e2e/internal/credentials"
	"github.com/LogicIQ/konductor/e2e/internal/process"
)

// Options configures an operator.
type Options struct {
	Name string
	// Binary is the path of koncli.
	Binary string
	// Config is the config for the API server. OtherHosts are the URLs of further API servers: requests are spread over all.
	Config     *rest.Config
	OtherHosts []string
	// Namespace is the namespace that the operator watches, and in which it elects a leader.
	Namespace string
	// LeaderElection turns leader election on.
	LeaderElection bool
	// ClockSkews are wall-clock offsets in seconds; one is chosen at each start.
	ClockSkews []int
	// Env is added to the environment.
	Env []string
	// Dir is the directory for the kubeconfig and the log.
	Dir string
	// Rng is the random source for its faults.
	Rng *rand.Rand
}

// Operator is an operator process that is restarted when it ends.
type Operator struct {
	Name           string
	LeaderElection bool
	// Proxy is between the operator and the API server.
	Proxy *proxy.Proxy

	options Options
	group   *process.Group
	cancel  context.CancelFunc
	done    chan struct{}

	mu           sync.Mutex
	process      *process.Process
	restartDelay time.Duration // before the next start
	starts       int
	skewedStarts int
	err          error
}

// Start starts an operator, which is restarted whenever it ends, until Close.
func Start(group *process.Group, o Options) (*Operator, error) {
	p, err := proxy.New(o.Config, rand.New(rand.NewPCG(o.Rng.Uint64(), o.Rng.Uint64())), o.OtherHosts...)
	if err != nil {
		return nil, err
	}
	if err := credentials.WriteKubeconfig(p.Config(o.Config), o.Namespace, o.kubeconfigFile()); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	ctx, cancel := context.WithCancel(context.Background())
	op := &Operator{Name: o.Name, LeaderElection: o.LeaderElection, Proxy: p, options: o, group: group, cancel: cancel, done: make(chan struct{})}
	go op.supervise(ctx)
	return op, nil
}

func (o Options) kubeconfigFile() string { return filepath.Join(o.Dir, o.Name+".kubeconfig") }

// LogFile returns the path of its log file.
func (o *Operator) LogFile() string { return filepath.Join(o.options.Dir, o.Name+".log") }

// supervise restarts the operator whenever it has ended.
func (o *Operator) supervise(ctx context.Context) {
	defer close(o.done)
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
			// A paused process doesn't handle SIGTERM.
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
		pause := o.restartDelay + backoff
		o.restartDelay = 0
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
	if len(o.options.ClockSkews) > 0 {
		skew = o.options.ClockSkews[o.options.Rng.IntN(len(o.options.ClockSkews))]
	}
	p, err := o.group.Start(process.Spec{
		Name: o.Name, Path: o.options.Binary, Log: o.LogFile(),
		Args: []string{
			"operator", "--kubeconfig=" + o.options.kubeconfigFile(), "--watch-namespaces=" + o.options.Namespace,
			"--leader-election-namespace=" + o.options.Namespace, fmt.Sprintf("--leader-elect=%t", o.LeaderElection),
			"--hold-workloads", "--metrics-bind-address=0", "--health-probe-bind-address=0", "--log-level=info", "--log-format=text",
		},
		Env: append([]string{fmt.Sprintf("%s=%d", ClockSkewEnv, skew), "HOME=" + o.options.Dir}, o.options.Env...),
	})
	if err != nil {
		return nil, err
	}
	o.process = p
	o.starts++
	if skew != 0 {
		o.skewedStarts++
	}
	return p, nil
}

// Kill kills the operator with SIGKILL, as a crash would. It is restarted after pause.
func (o *Operator) Kill(pause time.Duration) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.restartDelay = pause
	return o.signal(syscall.SIGKILL)
}

// Pause stops the process with SIGSTOP.
func (o *Operator) Pause() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.signal(syscall.SIGSTOP)
}

// Resume continues the process after Pause.
func (o *Operator) Resume() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.signal(syscall.SIGCONT)
}

func (o *Operator) signal(sig os.Signal) error {
	if o.process == nil {
		return nil
	}
	return o.process.Signal(sig)
}

// Starts returns the number of starts, and how many of these had a wrong wall clock.
func (o *Operator) Starts() (all, skewed int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.starts, o.skewedStarts
}

// Close stops the operator for good.
func (o *Operator) Close() error {
	o.cancel()
	<-o.done
	o.mu.Lock()
	defer o.mu.Unlock()
	return errors.Join(o.err, o.Proxy.Close())
}

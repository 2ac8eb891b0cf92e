// Package supervise keeps the components of a cluster running, and stops and
// starts single ones on request.
package supervise

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/LogicIQ/konductor/e2e/cluster/internal/component"
	"github.com/LogicIQ/konductor/e2e/internal/process"
)

// How long a component may take to end after a signal before it is killed.
const stopGrace = 20 * time.Second

// Back-off of restarts: doubled after each early death, reset by a run that
// lasted longer than the longest back-off.
const (
	minBackoff = 200 * time.Millisecond
	maxBackoff = 10 * time.Second
)

// probeInterval is how often a component that isn't well yet is asked again.
// None of them can announce it.
const probeInterval = 25 * time.Millisecond

// Options of a Set.
type Options struct {
	// Restart a component that ended without having been told to.
	Restart bool
	// Log gets a line about each unexpected end.
	Log func(format string, args ...any)
}

// Set is the components of one cluster, in the order in which they were added,
// which is also the order to start them in.
type Set struct {
	group   *process.Group
	options Options
	closing chan struct{}

	mu      sync.Mutex
	closed  bool
	members []*member
}

type member struct {
	component.Component
	op sync.Mutex // serialises start and stop

	// Guarded by Set.mu.
	process  *process.Process
	wanted   bool
	restarts int
}

// NewSet makes a set that runs its components in group.
func NewSet(group *process.Group, options Options) *Set {
	return &Set{group: group, options: options, closing: make(chan struct{})}
}

// Add makes a component known without starting it.
func (s *Set) Add(c component.Component) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.members = append(s.members, &member{Component: c})
}

// Launch starts a component without waiting for it to be well.
func (s *Set) Launch(name string) error {
	m, err := s.find(name)
	if err != nil {
		return err
	}
	m.op.Lock()
	defer m.op.Unlock()
	return s.launch(m)
}

// Start starts a component unless it runs, and waits until it is well.
func (s *Set) Start(ctx context.Context, name string) error {
	if err := s.Launch(name); err != nil {
		return err
	}
	return s.WaitHealthy(ctx, name)
}

// Stop sends sig, waits until the process is gone, and leaves it stopped.
func (s *Set) Stop(ctx context.Context, name string, sig os.Signal) error {
	m, err := s.find(name)
	if err != nil {
		return err
	}
	m.op.Lock()
	defer m.op.Unlock()
	s.mu.Lock()
	m.wanted = false
	p := m.process
	s.mu.Unlock()
	if p == nil {
		return nil
	}
	return p.Stop(ctx, sig, stopGrace)
}

// maxDeaths is how often a component may end while its start is waited for.
const maxDeaths = 4

// WaitHealthy waits until a component is well. It fails, with the end of the log,
// if the component ended and won't be restarted, or ends again and again.
func (s *Set) WaitHealthy(ctx context.Context, name string) error {
	m, err := s.find(name)
	if err != nil {
		return err
	}
	tick := time.NewTicker(probeInterval)
	defer tick.Stop()
	restartsBefore := s.restarts(m)
	for {
		probeErr := m.Probe(ctx)
		if probeErr == nil {
			return nil
		}
		p := s.running(m)
		if p == nil && (!s.options.Restart || s.restarts(m)-restartsBefore >= maxDeaths) {
			return fmt.Errorf("%s ended before it was ready; the end of its log:\n%s", name, tail(m.Log))
		}
		select {
		case <-tick.C:
		case <-doneOf(p):
		case <-ctx.Done():
			return fmt.Errorf("%s isn't ready: %w; the end of its log:\n%s", name, errors.Join(ctx.Err(), probeErr), tail(m.Log))
		}
	}
}

// State is what can be said about a component at one time.
type State struct {
	Name     string    `json:"name"`
	PID      int       `json:"pid,omitempty"` // as the supervisor sees it
	Started  time.Time `json:"started,omitzero"`
	Restarts int       `json:"restarts"`
	Stopped  bool      `json:"stopped"`           // on request
	Problem  string    `json:"problem,omitempty"` // empty: running and well
}

// States asks every component how it is.
func (s *Set) States(ctx context.Context) []State {
	s.mu.Lock()
	members := slices.Clone(s.members)
	s.mu.Unlock()
	states := make([]State, len(members))
	var wg sync.WaitGroup
	for i, m := range members {
		wg.Go(func() { states[i] = s.state(ctx, m) })
	}
	wg.Wait()
	return states
}

func (s *Set) state(ctx context.Context, m *member) State {
	s.mu.Lock()
	state := State{Name: m.Name, Restarts: m.restarts, Stopped: !m.wanted}
	s.mu.Unlock()
	p := s.running(m)
	if p == nil {
		state.Problem = "not running"
		return state
	}
	state.PID, state.Started = p.PID(), p.Started()
	if err := m.Probe(ctx); err != nil {
		state.Problem = err.Error()
	}
	return state
}

// Close stops all components, the last one first, and doesn't start any again.
func (s *Set) Close(ctx context.Context) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	members := slices.Clone(s.members)
	s.mu.Unlock()
	close(s.closing)
	slices.Reverse(members)
	var errs []error
	for _, m := range members {
		errs = append(errs, s.Stop(ctx, m.Name, os.Kill))
	}
	return errors.Join(errs...)
}

func (s *Set) find(name string) (*member, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := make([]string, 0, len(s.members))
	for _, m := range s.members {
		if m.Name == name {
			return m, nil
		}
		names = append(names, m.Name)
	}
	return nil, fmt.Errorf("no component %q here; there are: %s", name, strings.Join(names, ", "))
}

// launch needs m.op.
func (s *Set) launch(m *member) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("start %s: the cluster is being shut down", m.Name)
	}
	m.wanted = true
	if m.process != nil && !ended(m.process) {
		return nil
	}
	p, err := s.group.Start(m.Spec)
	if err != nil {
		return err
	}
	m.process = p
	go s.watch(m, p)
	return nil
}

// watch waits for the end of p and, where that was not asked for, says so and
// starts the component again.
func (s *Set) watch(m *member, p *process.Process) {
	<-p.Done()
	backoff := minBackoff
	for {
		s.mu.Lock()
		unexpected := m.wanted && m.process == p && !s.closed
		if unexpected {
			backoff = min(minBackoff<<min(m.restarts, 16), maxBackoff)
			if time.Since(p.Started()) > 2*maxBackoff {
				m.restarts, backoff = 0, minBackoff
			}
		}
		s.mu.Unlock()
		if !unexpected {
			return
		}
		s.logf("%s ended by itself (%v)", m.Name, exitReason(p))
		if !s.options.Restart {
			return
		}
		timer := time.NewTimer(backoff)
		select {
		case <-timer.C:
		case <-s.closing:
			timer.Stop()
			return
		}
		if s.restart(m, p) {
			return
		}
	}
}

// restart reports whether there is nothing left for the watcher of p to do:
// the component runs again, or isn't wanted any more.
func (s *Set) restart(m *member, p *process.Process) bool {
	m.op.Lock()
	defer m.op.Unlock()
	s.mu.Lock()
	due := m.wanted && m.process == p && !s.closed
	if due {
		m.restarts++
	}
	s.mu.Unlock()
	if !due {
		return true
	}
	if err := s.launch(m); err != nil {
		s.logf("%v", err)
		return false
	}
	return true
}

func (s *Set) restarts(m *member) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return m.restarts
}

func (s *Set) running(m *member) *process.Process {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m.process == nil || ended(m.process) {
		return nil
	}
	return m.process
}

func (s *Set) logf(format string, args ...any) {
	if s.options.Log != nil {
		s.options.Log(format, args...)
	}
}

func ended(p *process.Process) bool {
	select {
	case <-p.Done():
		return true
	default:
		return false
	}
}

// doneOf never fires for a component that isn't running: its restart is noticed
// by the next probe.
func doneOf(p *process.Process) <-chan struct{} {
	if p == nil {
		return nil
	}
	return p.Done()
}

func exitReason(p *process.Process) string {
	if err := p.Err(); err != nil {
		return err.Error()
	}
	return "exit status 0"
}

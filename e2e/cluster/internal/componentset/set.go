// Package componentset keeps the components of a cluster running, and stops and starts single ones on request.
package componentset

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

// stopGrace is how long a component may take to end after a signal before it is killed.
const stopGrace = 20 * time.Second

// Back-off of restarts: doubled after each early death, reset by a run that
// lasted longer than the longest back-off.
const (
	minBackoff = 200 * time.Millisecond
	maxBackoff = 10 * time.Second
)

// probeInterval is the interval of probes of a component that isn't healthy yet. None of them can announce it.
const probeInterval = 25 * time.Millisecond

// Options of a Set.
type Options struct {
	// Restart restarts components that end by themselves.
	Restart bool
	// Log gets a line about each unexpected end.
	Log func(format string, args ...any)
}

// Set is the components of one cluster, in the order in which they were added and are started.
type Set struct {
	processes *process.Group
	options   Options
	closing   chan struct{}

	mu      sync.Mutex
	closed  bool
	members []*member
}

type member struct {
	component.Component
	startStopMu sync.Mutex // serialises start and stop

	// Guarded by Set.mu.
	process   *process.Process
	shouldRun bool
	restarts  int
}

// NewSet returns a set that runs its components in group.
func NewSet(group *process.Group, options Options) *Set {
	return &Set{processes: group, options: options, closing: make(chan struct{})}
}

// Add adds a component without starting it.
func (s *Set) Add(c component.Component) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.members = append(s.members, &member{Component: c})
}

// Launch starts a component without waiting until it is healthy.
func (s *Set) Launch(name string) error {
	m, err := s.findMember(name)
	if err != nil {
		return err
	}
	m.startStopMu.Lock()
	defer m.startStopMu.Unlock()
	return s.launchLocked(m)
}

// Start starts a component unless it runs, and waits until it is healthy.
func (s *Set) Start(ctx context.Context, name string) error {
	if err := s.Launch(name); err != nil {
		return err
	}
	return s.WaitHealthy(ctx, name)
}

// Stop sends sig, waits until the process has ended, and leaves it stopped.
func (s *Set) Stop(ctx context.Context, name string, sig os.Signal) error {
	m, err := s.findMember(name)
	if err != nil {
		return err
	}
	m.startStopMu.Lock()
	defer m.startStopMu.Unlock()
	s.mu.Lock()
	m.shouldRun = false
	p := m.process
	s.mu.Unlock()
	if p == nil {
		return nil
	}
	return p.Stop(ctx, sig, stopGrace)
}

// maxStartFailures is how often a component may end while WaitHealthy waits for it.
const maxStartFailures = 4

// WaitHealthy waits until a component is healthy. It fails, with the end of the log, if the component ended and won't be
// restarted, or ends again and again.
func (s *Set) WaitHealthy(ctx context.Context, name string) error {
	m, err := s.findMember(name)
	if err != nil {
		return err
	}
	tick := time.NewTicker(probeInterval)
	defer tick.Stop()
	restartsBefore := s.restartCount(m)
	for {
		probeErr := m.Probe(ctx)
		if probeErr == nil {
			return nil
		}
		p := s.runningProcess(m)
		if p == nil && (!s.options.Restart || s.restartCount(m)-restartsBefore >= maxStartFailures) {
			return fmt.Errorf("%s ended before it was ready; the end of its log:\n%s", name, logTail(m.Log))
		}
		select {
		case <-tick.C:
		case <-doneOrNil(p):
		case <-ctx.Done():
			return fmt.Errorf("%s isn't ready: %w; the end of its log:\n%s", name, errors.Join(ctx.Err(), probeErr), logTail(m.Log))
		}
	}
}

// ComponentState is the state of a component at one time.
type ComponentState struct {
	Name     string    `json:"name"`
	PID      int       `json:"pid,omitempty"` // as the supervisor sees it
	Started  time.Time `json:"started,omitzero"`
	Restarts int       `json:"restarts"`
	Stopped  bool      `json:"stopped"`           // on request
	Problem  string    `json:"problem,omitempty"` // empty: running and healthy
}

// PID returns the process id of a component; 0: it isn't running.
func (s *Set) PID(name string) int {
	m, err := s.findMember(name)
	if err != nil {
		return 0
	}
	if p := s.runningProcess(m); p != nil {
		return p.PID()
	}
	return 0
}

// States returns the state of every component.
func (s *Set) States(ctx context.Context) []ComponentState {
	s.mu.Lock()
	members := slices.Clone(s.members)
	s.mu.Unlock()
	states := make([]ComponentState, len(members))
	var wg sync.WaitGroup
	for i, m := range members {
		wg.Go(func() { states[i] = s.stateOf(ctx, m) })
	}
	wg.Wait()
	return states
}

func (s *Set) stateOf(ctx context.Context, m *member) ComponentState {
	s.mu.Lock()
	state := ComponentState{Name: m.Name, Restarts: m.restarts, Stopped: !m.shouldRun}
	s.mu.Unlock()
	p := s.runningProcess(m)
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

// Close stops all components, the last one first, and prevents further starts.
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

func (s *Set) findMember(name string) (*member, error) {
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

// launchLocked starts the component. The caller holds m.startStopMu.
func (s *Set) launchLocked(m *member) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("start %s: the cluster is being shut down", m.Name)
	}
	m.shouldRun = true
	if m.process != nil && !hasEnded(m.process) {
		return nil
	}
	p, err := s.processes.Start(m.Spec)
	if err != nil {
		return err
	}
	m.process = p
	go s.watchExit(m, p)
	return nil
}

// watchExit waits for the end of p. If no stop was requested, it logs that and restarts the component.
func (s *Set) watchExit(m *member, p *process.Process) {
	<-p.Done()
	backoff := minBackoff
	for {
		s.mu.Lock()
		unexpected := m.shouldRun && m.process == p && !s.closed
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

// restart reports whether the watcher of p is done: the component runs again, or is stopped on request.
func (s *Set) restart(m *member, p *process.Process) bool {
	m.startStopMu.Lock()
	defer m.startStopMu.Unlock()
	s.mu.Lock()
	due := m.shouldRun && m.process == p && !s.closed
	if due {
		m.restarts++
	}
	s.mu.Unlock()
	if !due {
		return true
	}
	if err := s.launchLocked(m); err != nil {
		s.logf("%v", err)
		return false
	}
	return true
}

func (s *Set) restartCount(m *member) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return m.restarts
}

func (s *Set) runningProcess(m *member) *process.Process {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m.process == nil || hasEnded(m.process) {
		return nil
	}
	return m.process
}

func (s *Set) logf(format string, args ...any) {
	if s.options.Log != nil {
		s.options.Log(format, args...)
	}
}

func hasEnded(p *process.Process) bool {
	select {
	case <-p.Done():
		return true
	default:
		return false
	}
}

// doneOrNil returns nil, which blocks, for a component that isn't running: the next probe notices its restart.
func doneOrNil(p *process.Process) <-chan struct{} {
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

// logTail returns the last lines of a log, for an error message.
func logTail(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	const maxBytes, maxLines = 8 << 10, 12
	lines := strings.Split(strings.TrimRight(string(data[max(0, len(data)-maxBytes):]), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-maxLines):], "\n")
}

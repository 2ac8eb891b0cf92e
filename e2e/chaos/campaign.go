package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/LogicIQ/konductor/e2e/chaos/checks"
	"github.com/LogicIQ/konductor/e2e/chaos/faults"
	"github.com/LogicIQ/konductor/e2e/chaos/history"
	"github.com/LogicIQ/konductor/e2e/chaos/revisions"
	"github.com/LogicIQ/konductor/e2e/install"
	"github.com/LogicIQ/konductor/e2e/internal/process"
)

// Options configures a campaign.
type Options struct {
	// FaultDuration is how long faults are injected. The campaign then goes on until it is quiescent.
	FaultDuration time.Duration
	// Seed is the source of all randomness. It determines what clients and faults decide, but not how they interleave: that depends
	// on the machine.
	Seed uint64
	// Koncli is the binary of operators and clients, built by operators.Build.
	Koncli string
	// Dir is the existing directory for the history, logs and other output.
	Dir string
	// SDKClients and CommandClients are the numbers of clients of each sort in each namespace.
	SDKClients, CommandClients int
	// JobClients is the number of clients in each namespace that create Jobs which the operator holds, and of those that create such
	// Pods.
	JobClients int
	// OperatorModes are the modes to run, each in a namespace of its own; empty: all.
	OperatorModes []OperatorMode
	// SingleSemaphore creates only one semaphore and no lease, so that there is always a queue.
	SingleSemaphore bool
	// NoControlPlaneFaults leaves out the faults of API server, etcd and controller manager.
	NoControlPlaneFaults bool
	// QuiesceTimeout is the maximum time from the end of the faults to quiescence. A leader that has crashed is replaced after 15 s.
	QuiesceTimeout time.Duration
	// OperatorEnv is added to the environment of operators.
	OperatorEnv []string
	// Log gets a line per step.
	Log func(format string, args ...any)
}

// OperatorMode is how the operators of one of the campaign's namespaces run.
type OperatorMode string

const (
	// LeaderElected runs two operators that elect a leader.
	LeaderElected OperatorMode = "one-acts"
	// BothActive runs two operators that act at the same time.
	BothActive OperatorMode = "both-act"
)

// campaign is a running campaign.
type campaign struct {
	Options
	testCluster      *TestCluster
	rng              *rand.Rand
	opRecorder       *history.Recorder
	faultLog         *faults.FaultLog
	revisionRecorder *revisions.Recorder
	startTime        time.Time
	processes        *process.Group
	workloads        []*workload
}

// Run runs a campaign on testCluster and returns its report. An error means that the campaign could not be run or evaluated.
func Run(ctx context.Context, testCluster *TestCluster, o Options) (report *Report, err error) {
	if len(o.OperatorModes) == 0 {
		o.OperatorModes = []OperatorMode{LeaderElected, BothActive}
	}
	c := &campaign{Options: o, testCluster: testCluster, rng: rand.New(rand.NewPCG(o.Seed, o.Seed)), processes: process.NewGroup()}
	defer c.processes.Close()
	var result campaignResult
	if err := c.setUp(ctx); err != nil {
		return nil, errors.Join(err, c.abort(ctx, &result))
	}
	for _, step := range []func(context.Context, *campaignResult) error{c.runFaults, c.awaitQuiescence, c.closeOperators, c.collectData} {
		err = errors.Join(err, step(ctx, &result))
	}
	if err = errors.Join(err, c.opRecorder.Close(), c.faultLog.Close()); err != nil {
		return nil, err
	}
	c.Log("checking %d operations and %d revisions", len(result.data.Ops), len(result.data.Revisions))
	report = c.buildReport(&result)
	return report, report.write(o.Dir, &result.data)
}

// campaignResult is what the steps of a campaign collect for its report.
type campaignResult struct {
	data            checks.CampaignData
	clients         errgroup.Group
	clientCtx       context.Context
	cancelClients   context.CancelFunc
	faultsOver      chan struct{}
	quiesceDuration time.Duration
	unfinished      []string
	proxyCounts     map[string]int
	operatorStarts  int
	skewedStarts    int
	faultCounts     map[string]int
}

// setUp creates the namespaces, starts the recorders and operators, and creates the objects.
func (c *campaign) setUp(ctx context.Context) (err error) {
	if c.opRecorder, err = history.NewRecorder(filepath.Join(c.Dir, historyFile)); err != nil {
		return err
	}
	c.startTime = time.Now()
	if c.faultLog, err = faults.NewFaultLog(filepath.Join(c.Dir, faultsFile), c.opRecorder.Elapsed); err != nil {
		return err
	}
	c.testCluster.campaignCount++
	var namespaces []string
	for _, place := range c.OperatorModes {
		a, err := c.newWorkload(place)
		if err != nil {
			return err
		}
		namespaces = append(namespaces, a.env.Namespace)
		c.workloads = append(c.workloads, a)
		if err := install.CreateNamespace(ctx, c.testCluster.controlPlane.Config(), a.env.Namespace, c.testCluster.podRole); err != nil {
			return err
		}
	}
	if c.revisionRecorder, err = revisions.StartRecorder(ctx, c.testCluster.controlPlane.EtcdURL(), c.opRecorder.Elapsed, namespaces...); err != nil {
		return err
	}
	for _, a := range c.workloads {
		if err := errors.Join(c.startOperators(a), faults.CreateObjects(ctx, a.env)); err != nil {
			return err
		}
	}
	return nil
}

// runFaults starts the clients and injects faults for FaultDuration.
func (c *campaign) runFaults(ctx context.Context, e *campaignResult) error {
	e.clientCtx, e.cancelClients = context.WithCancel(context.WithoutCancel(ctx))
	e.faultsOver = make(chan struct{})
	for _, a := range c.workloads {
		if err := c.startClients(a, e); err != nil {
			return err
		}
	}
	c.Log("%d clients, %d operators; faults for %s", len(c.workloads)*(c.SDKClients+c.CommandClients+2*c.JobClients), 2*len(c.workloads), c.FaultDuration)
	faultCtx, cancelFaults := context.WithTimeout(ctx, c.FaultDuration)
	defer cancelFaults()
	var faultLoops errgroup.Group
	start := func(f func(rng *rand.Rand) error) {
		rng := c.newChildRNG()
		faultLoops.Go(func() error { return f(rng) })
	}
	for _, a := range c.workloads {
		start(func(rng *rand.Rand) error { return faults.DisturbOperators(faultCtx, rng, c.faultLog, a.operators) })
		start(func(rng *rand.Rand) error { return faults.DisturbObjects(faultCtx, rng, c.faultLog, a.env) })
		start(func(rng *rand.Rand) error { return faults.ChurnBarriers(faultCtx, rng, c.faultLog, a.env) })
		start(func(rng *rand.Rand) error {
			return faults.DisturbClientConnections(faultCtx, rng, c.faultLog, a.env.Namespace, a.proxy)
		})
		for _, op := range a.operators {
			start(func(rng *rand.Rand) error { return faults.DisturbOperatorConnection(faultCtx, rng, c.faultLog, op) })
		}
	}
	if !c.NoControlPlaneFaults {
		least := min(max(c.FaultDuration/10, 2*time.Second), 10*time.Second)
		start(func(rng *rand.Rand) error {
			return faults.DisturbControlPlane(faultCtx, rng, c.faultLog, c.testCluster.controlPlane, least, 3*least)
		})
	}
	err := faultLoops.Wait()
	if ctx.Err() != nil {
		err = errors.Join(err, context.Cause(ctx))
	}
	return err
}

// awaitQuiescence waits until every client was served, nothing is held, and no barrier has to change.
func (c *campaign) awaitQuiescence(ctx context.Context, e *campaignResult) error {
	c.Log("faults have stopped, waiting until all is quiet")
	faultsEnded := time.Now()
	close(e.faultsOver)
	bounded, cancel := context.WithTimeout(ctx, c.QuiesceTimeout)
	defer cancel()
	stop := context.AfterFunc(bounded, e.cancelClients) // a client that isn't served by then never will be
	err := e.clients.Wait()
	stop()
	e.cancelClients()
	if c.revisionRecorder.AwaitState(bounded, func(present map[string]revisions.Revision) bool {
		return len(checks.UnfinishedWork(present, time.Now())) == 0
	}) != nil {
		c.revisionRecorder.WithCurrent(func(present map[string]revisions.Revision) { e.unfinished = checks.UnfinishedWork(present, time.Now()) })
	}
	e.quiesceDuration = time.Since(faultsEnded)
	if ctx.Err() != nil {
		// A client that was not served by now might still have been: that is no violation.
		err = errors.Join(err, fmt.Errorf("the campaign was interrupted before all was quiet: %w", context.Cause(ctx)))
	}
	return err
}

func (c *campaign) closeOperators(_ context.Context, e *campaignResult) (err error) {
	e.proxyCounts = map[string]int{}
	for _, a := range c.workloads {
		err = errors.Join(err, a.proxy.Close())
		for what, n := range a.proxy.Counts() {
			e.proxyCounts["clients: "+what] += n
		}
		for _, op := range a.operators {
			err = errors.Join(err, op.Close())
			for what, n := range op.Proxy.Counts() {
				e.proxyCounts[what] += n
			}
			starts, skewed := op.Starts()
			e.operatorStarts += starts
			e.skewedStarts += skewed
			e.data.RejectedStatusWrites = append(e.data.RejectedStatusWrites, op.Proxy.RejectedStatusWrites()...)
			crashes, logErr := findCrashes(op)
			e.data.CrashLogLines = append(e.data.CrashLogLines, crashes...)
			err = errors.Join(err, logErr)
		}
	}
	return err
}

// collectData collects the input of the checks.
func (c *campaign) collectData(ctx context.Context, e *campaignResult) (err error) {
	e.faultCounts = c.faultLog.Counts()
	e.data.StartTime, e.data.OutputDir = c.startTime, c.Dir
	e.data.Ops = c.opRecorder.Ops()
	for _, a := range c.workloads {
		for _, name := range a.env.Leases {
			value, accepted := a.env.Registers[name].Totals()
			e.data.Registers = append(e.data.Registers, checks.Register{Name: a.env.Namespace + "/" + name, Value: value, AcceptedWrites: accepted})
		}
	}
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	if e.data.Revisions, err = c.revisionRecorder.Close(bounded); err != nil {
		return fmt.Errorf("the recorder has missed revisions: %w", err)
	}
	return nil
}

// abort closes what setUp has opened before it failed.
func (c *campaign) abort(ctx context.Context, e *campaignResult) (err error) {
	err = c.closeOperators(ctx, e)
	if c.revisionRecorder != nil {
		_, recorderErr := c.revisionRecorder.Close(ctx)
		err = errors.Join(err, recorderErr)
	}
	return err
}

// newChildRNG returns a random source for one part of the campaign.
func (c *campaign) newChildRNG() *rand.Rand {
	return rand.New(rand.NewPCG(c.rng.Uint64(), c.rng.Uint64()))
}

// PrepareDir creates dir as an empty directory, deleting what was in it.
func PrepareDir(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.MkdirAll(dir, 0o755)
}

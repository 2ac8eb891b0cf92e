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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/LogicIQ/konductor/e2e/chaos/checks"
	"github.com/LogicIQ/konductor/e2e/chaos/faults"
	"github.com/LogicIQ/konductor/e2e/chaos/history"
	"github.com/LogicIQ/konductor/e2e/chaos/revisions"
	"github.com/LogicIQ/konductor/e2e/install"
	"github.com/LogicIQ/konductor/e2e/internal/process"
)

// Options says which campaign to run.
type Options struct {
	// Lasts is for how long there are faults. Afterwards it takes as long as it takes until all is quiet.
	Lasts time.Duration
	// Seed is where all chance comes from. What clients and faults decide follows from it; how they meet does not, since
	// the machine has a say in that.
	Seed uint64
	// Koncli is the binary of operators and clients, as operators.Build builds it.
	Koncli string
	// Dir takes the history and all else that tells what happened. It must exist.
	Dir string
	// SDK and Commands are how many clients of each sort there are in each place.
	SDK, Commands int
	// Places are where it happens; everywhere when empty.
	Places []Place
	// OnePool leaves one semaphore to contend for and no lease, so that there is always a queue.
	OnePool bool
	// SpareControlPlane leaves out the faults of API server, etcd and controller manager.
	SpareControlPlane bool
	// Patience is how long it may take at most until all is quiet. A leader that has crashed is replaced after 15 s.
	Patience time.Duration
	// Env is added to the environment of operators.
	Env []string
	// Log gets a line per step.
	Log func(format string, args ...any)
}

// Place is one of the namespaces in which a campaign happens.
type Place string

const (
	// OneActs has two operators that elect a leader.
	OneActs Place = "one-acts"
	// BothAct has two operators that act at the same time.
	BothAct Place = "both-act"
)

// campaign is a campaign that is running.
type campaign struct {
	Options
	site     *Site
	rng      *rand.Rand
	recorder *history.Recorder
	diary    *faults.Diary
	witness  *revisions.Witness
	began    time.Time
	group    *process.Group
	arenas   []*arena
}

// Run runs a campaign on the site and says what came of it. An error means that there was no campaign to speak of.
func Run(ctx context.Context, site *Site, o Options) (report *Report, err error) {
	if len(o.Places) == 0 {
		o.Places = []Place{OneActs, BothAct}
	}
	c := &campaign{Options: o, site: site, rng: rand.New(rand.NewPCG(o.Seed, o.Seed)), group: process.NewGroup()}
	defer c.group.Close()
	var ended ending
	if err := c.open(ctx); err != nil {
		return nil, errors.Join(err, c.abandon(ctx, &ended))
	}
	for _, step := range []func(context.Context, *ending) error{c.disturb, c.calm, c.closeOperators, c.collect} {
		err = errors.Join(err, step(ctx, &ended))
	}
	if err = errors.Join(err, c.recorder.Close(), c.diary.Close()); err != nil {
		return nil, err
	}
	c.Log("checking %d operations and %d revisions", len(ended.run.Ops), len(ended.run.Revisions))
	report = c.report(&ended)
	return report, report.write(o.Dir, &ended.run)
}

// ending is what the steps of a campaign leave for its report.
type ending struct {
	run      checks.Run
	clients  errgroup.Group
	life     context.Context
	end      context.CancelFunc
	working  chan struct{}
	quietIn  time.Duration
	unquiet  []string
	proxied  map[string]int
	starts   int
	skewed   int
	faultsBy map[string]int
}

// open makes the places ready.
func (c *campaign) open(ctx context.Context) (err error) {
	if c.recorder, err = history.NewRecorder(filepath.Join(c.Dir, historyFile)); err != nil {
		return err
	}
	c.began = time.Now()
	if c.diary, err = faults.NewDiary(filepath.Join(c.Dir, faultsFile), c.recorder.Now); err != nil {
		return err
	}
	kubeconfig := filepath.Join(c.Dir, "clients.kubeconfig")
	if err := install.WriteKubeconfig(c.site.plane.Config(), metav1.NamespaceDefault, kubeconfig); err != nil {
		return err
	}
	c.site.campaigns++
	var namespaces []string
	for _, place := range c.Places {
		a := c.newArena(place, kubeconfig)
		namespaces = append(namespaces, a.place.Namespace)
		c.arenas = append(c.arenas, a)
		if err := c.site.namespace(ctx, a.place.Namespace); err != nil {
			return err
		}
	}
	if c.witness, err = revisions.Watch(ctx, c.site.plane.Etcd(), c.recorder.Now, namespaces...); err != nil {
		return err
	}
	for _, a := range c.arenas {
		if err := errors.Join(c.startOperators(a), faults.Populate(ctx, a.place)); err != nil {
			return err
		}
	}
	return nil
}

// disturb lets the clients work while everything around them fails.
func (c *campaign) disturb(ctx context.Context, e *ending) error {
	e.life, e.end = context.WithCancel(context.WithoutCancel(ctx))
	e.working = make(chan struct{})
	for _, a := range c.arenas {
		if err := c.startClients(a, e); err != nil {
			return err
		}
	}
	c.Log("%d clients, %d operators; faults for %s", len(c.arenas)*(c.SDK+c.Commands), 2*len(c.arenas), c.Lasts)
	bad, over := context.WithTimeout(ctx, c.Lasts)
	defer over()
	var all errgroup.Group
	start := func(f func(rng *rand.Rand) error) {
		rng := c.child()
		all.Go(func() error { return f(rng) })
	}
	for _, a := range c.arenas {
		start(func(rng *rand.Rand) error { return faults.Operators(bad, rng, c.diary, a.operators) })
		start(func(rng *rand.Rand) error { return faults.Objects(bad, rng, c.diary, a.place) })
		start(func(rng *rand.Rand) error { return faults.Barriers(bad, rng, c.diary, a.place) })
		for _, op := range a.operators {
			start(func(rng *rand.Rand) error { return faults.Connection(bad, rng, c.diary, op) })
		}
	}
	if !c.SpareControlPlane {
		least := min(max(c.Lasts/10, 2*time.Second), 10*time.Second)
		start(func(rng *rand.Rand) error {
			return faults.ControlPlane(bad, rng, c.diary, c.site.plane, least, 3*least)
		})
	}
	err := all.Wait()
	if ctx.Err() != nil {
		err = errors.Join(err, context.Cause(ctx))
	}
	return err
}

// calm waits until all is quiet: every client was served, nothing is held, and no barrier has something to do.
func (c *campaign) calm(ctx context.Context, e *ending) error {
	c.Log("faults have stopped, waiting until all is quiet")
	calmed := time.Now()
	close(e.working)
	bounded, cancel := context.WithTimeout(ctx, c.Patience)
	defer cancel()
	stop := context.AfterFunc(bounded, e.end) // who isn't served by then never will be
	err := e.clients.Wait()
	stop()
	e.end()
	if c.witness.Until(bounded, func(present map[string]revisions.Revision) bool {
		return len(checks.Quiet(present, time.Now())) == 0
	}) != nil {
		c.witness.Present(func(present map[string]revisions.Revision) { e.unquiet = checks.Quiet(present, time.Now()) })
	}
	e.quietIn = time.Since(calmed)
	if ctx.Err() != nil {
		// Who was not served by now might have been: that breaks no promise.
		err = errors.Join(err, fmt.Errorf("the campaign was interrupted before all was quiet: %w", context.Cause(ctx)))
	}
	return err
}

func (c *campaign) closeOperators(_ context.Context, e *ending) (err error) {
	e.proxied = map[string]int{}
	for _, a := range c.arenas {
		for _, op := range a.operators {
			err = errors.Join(err, op.Close())
			for what, n := range op.Proxy.Done() {
				e.proxied[what] += n
			}
			starts, skewed := op.Starts()
			e.starts += starts
			e.skewed += skewed
			e.run.Guarded = append(e.run.Guarded, op.Proxy.Refused()...)
			crashes, logErr := crashesIn(op)
			e.run.Crashes = append(e.run.Crashes, crashes...)
			err = errors.Join(err, logErr)
		}
	}
	return err
}

// collect gathers what the checks look at.
func (c *campaign) collect(ctx context.Context, e *ending) (err error) {
	e.faultsBy = c.diary.Counts()
	e.run.Began, e.run.Dir = c.began, c.Dir
	e.run.Ops = c.recorder.Ops()
	for _, a := range c.arenas {
		for _, name := range a.place.Leases {
			value, accepted, _ := a.place.Registers[name].Totals()
			e.run.Registers = append(e.run.Registers, checks.Register{Name: a.place.Namespace + "/" + name, Value: value, Accepted: accepted})
		}
	}
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	if e.run.Revisions, err = c.witness.Close(bounded); err != nil {
		return fmt.Errorf("the witness has missed revisions: %w", err)
	}
	return nil
}

// abandon ends what has been opened of a campaign that can't begin.
func (c *campaign) abandon(ctx context.Context, e *ending) (err error) {
	err = c.closeOperators(ctx, e)
	if c.witness != nil {
		_, witnessErr := c.witness.Close(ctx)
		err = errors.Join(err, witnessErr)
	}
	return err
}

// child returns chance of its own for one part of the campaign.
func (c *campaign) child() *rand.Rand { return rand.New(rand.NewPCG(c.rng.Uint64(), c.rng.Uint64())) }

// Prepare makes an empty folder for what a campaign leaves.
func Prepare(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.MkdirAll(dir, 0o755)
}

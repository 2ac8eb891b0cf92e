// Package bench measures konductor against lower bounds, budgets and alternatives,
// in one run on one machine.
//
//   - lowerbound: what the API server alone takes
//   - measures: what konductor takes, a file for each question; time_by_size.go has how it grows
//   - baselines: the usual alternatives
//   - report: the table, bin/bench.json, docs/benchmarks.md
//   - benchenv: the control plane, the operator's process, participants
//   - stats: medians, percentiles, exponents
package bench

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/LogicIQ/konductor/e2e/bench/baselines"
	"github.com/LogicIQ/konductor/e2e/bench/benchenv"
	"github.com/LogicIQ/konductor/e2e/bench/lowerbound"
	"github.com/LogicIQ/konductor/e2e/bench/measures"
	"github.com/LogicIQ/konductor/e2e/bench/report"
)

// Options configures a run.
type Options struct {
	benchenv.Options
	measures.Preset
	// SectionFilter selects the sections whose names it matches; all when nil.
	SectionFilter *regexp.Regexp
}

// section is a part of the report.
type section struct {
	name  string // for BENCH=
	title string
	run   func(context.Context, *measures.Runner) ([]report.Row, error)
}

func sections() []section {
	const latency, scale, growth, instead = "Latency", "Scale", "Growth: y = c·n^exponent", "What one would pick instead"
	return []section{
		{"acquire", latency, adaptMethod((*measures.Runner).MeasureAcquire)},
		{"handover", latency, adaptMethod((*measures.Runner).MeasureHandover)},
		{"pending", latency, adaptMethod((*measures.Runner).MeasurePendingClaims)},
		{"junk", latency, adaptMethod((*measures.Runner).MeasureJunkClaims)},
		{"barrier", latency, adaptMethod((*measures.Runner).MeasureBarrier)},
		{"held-start", latency, adaptMethod((*measures.Runner).MeasureHeldJobStart)},
		{"throughput", scale, adaptMethod((*measures.Runner).MeasureThroughput)},
		{"arrivals", scale, adaptMethod((*measures.Runner).MeasureArrivals)},
		{"gates", scale, adaptMethod((*measures.Runner).MeasureGatesOnJobs)},
		{"held-waiting", scale, adaptMethod((*measures.Runner).MeasureWaitingJobs)},
		{"memory", "Resources", adaptMethod((*measures.Runner).MeasureMemory)},
		{"rest", "Resources", adaptMethod((*measures.Runner).MeasureIdleWrites)},
		{"scale", "With more objects", adaptMethod((*measures.Runner).MeasureScale)},
		{"programs", "Programs", adaptMethod((*measures.Runner).MeasurePrograms)},
		{"size", "Programs", adaptMethod((*measures.Runner).MeasureSize)},
		{"dashboard", "Looking", adaptMethod((*measures.Runner).MeasureDashboard)},
		{"looks", "Looking", adaptMethod((*measures.Runner).MeasureReadCommands)},
		{"crash", "When the operator ends", adaptMethod((*measures.Runner).MeasureFailover)},
		{"growth-waiters", growth, adaptMethod((*measures.Runner).MeasureWaiterGrowth)},
		{"growth-holders", growth, adaptMethod((*measures.Runner).MeasureHolderGrowth)},
		{"growth-barriers", growth, adaptMethod((*measures.Runner).MeasureOpeningByBarrierCount)},
		{"growth-arrivals", growth, adaptMethod((*measures.Runner).MeasureArrivalGrowth)},
		{"rival-etcd", instead, baselines.MeasureEtcdMutex},
		{"rival-election", instead, baselines.MeasureLeaderElection},
	}
}

// adaptMethod turns a method of Runner into a function with the context first.
func adaptMethod(f func(*measures.Runner, context.Context) ([]report.Row, error)) func(context.Context, *measures.Runner) ([]report.Row, error) {
	return func(ctx context.Context, r *measures.Runner) ([]report.Row, error) { return f(r, ctx) }
}

// sectionTimeout is the time limit of a section, and timeoutPerObject the addition for each object that the preset asks for. A
// wait in vain then reports what it waited for.
const sectionTimeout, timeoutPerObject = 6 * time.Minute, 20 * time.Millisecond

func runSection(ctx context.Context, s section, r *measures.Runner) ([]report.Row, error) {
	timeout := sectionTimeout + time.Duration(max(r.JunkClaims, slices.Max(r.ObjectCounts)))*timeoutPerObject
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("it took longer than %s", timeout))
	defer cancel()
	return s.run(ctx, r)
}

// SectionNames returns the names of the sections.
func SectionNames() []string {
	var names []string
	for _, s := range sections() {
		names = append(names, s.name)
	}
	return names
}

// Result is the result of a run, with a description of its environment.
type Result struct {
	Rows    []report.Row
	Machine report.Machine
}

// Run starts a cluster and measures. The rows so far are returned also when a later section fails.
func Run(ctx context.Context, o Options) (result Result, err error) {
	s, err := benchenv.Start(ctx, o.Options)
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	kubernetes, etcd, err := s.Versions(ctx)
	if err != nil {
		return result, err
	}
	result.Machine = report.ThisMachine(kubernetes, etcd, o.Name)
	result.Rows, err = runSections(ctx, s, o)
	return result, err
}

func runSections(ctx context.Context, s *benchenv.Env, o Options) (rows []report.Row, err error) {
	// The watches of the lower bounds must end before the API server does.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f, err := lowerbound.New(ctx, s)
	if err != nil {
		return nil, err
	}
	run := &measures.Runner{Env: s, Preset: o.Preset, LowerBounds: f, Log: o.Log}
	for _, sec := range sections() {
		if o.SectionFilter != nil && !o.SectionFilter.MatchString(sec.name) {
			continue
		}
		begin := time.Now()
		measured, err := runSection(ctx, sec, run)
		for _, row := range measured {
			rows = append(rows, row.InSection(sec.title))
		}
		if err != nil {
			return rows, fmt.Errorf("%s: %w", sec.name, err)
		}
		o.Log("measured %s in %s", sec.name, time.Since(begin).Round(time.Second))
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("nothing is called %q: there are %v", o.SectionFilter, SectionNames())
	}
	return rows, nil
}

// Package bench measures konductor against floors, budgets and rivals, in one
// run on one machine.
//
//   - floors: what the API server alone takes
//   - measures: what konductor takes, a file for each question; growth.go has how it grows
//   - rivals: what one would pick instead
//   - report: the table, bin/bench.json, docs/benchmarks.md
//   - scene: the control plane, the operator's process, participants
//   - stats: medians, percentiles, exponents
package bench

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/LogicIQ/konductor/e2e/bench/floors"
	"github.com/LogicIQ/konductor/e2e/bench/measures"
	"github.com/LogicIQ/konductor/e2e/bench/report"
	"github.com/LogicIQ/konductor/e2e/bench/rivals"
	"github.com/LogicIQ/konductor/e2e/bench/scene"
)

// Options says what to measure.
type Options struct {
	scene.Options
	measures.Effort
	// Only measures the sections whose name it matches; all when nil.
	Only *regexp.Regexp
}

// section is a part of the report.
type section struct {
	name  string // for people to choose by
	title string
	run   func(context.Context, *measures.Run) ([]report.Row, error)
}

func sections() []section {
	const latency, scale, growth, instead = "Latency", "Scale", "Growth: y = c·n^exponent", "What one would pick instead"
	return []section{
		{"acquire", latency, method((*measures.Run).Acquire)},
		{"handover", latency, method((*measures.Run).Handover)},
		{"pending", latency, method((*measures.Run).Pending)},
		{"junk", latency, method((*measures.Run).Junk)},
		{"barrier", latency, method((*measures.Run).Barrier)},
		{"throughput", scale, method((*measures.Run).Throughput)},
		{"arrivals", scale, method((*measures.Run).Arrivals)},
		{"gates", scale, method((*measures.Run).GatesOnJobs)},
		{"memory", "Resources", method((*measures.Run).Memory)},
		{"rest", "Resources", method((*measures.Run).Rest)},
		{"scale", "With more objects", method((*measures.Run).Scale)},
		{"programs", "Programs", method((*measures.Run).Programs)},
		{"size", "Programs", method((*measures.Run).Size)},
		{"dashboard", "Looking", method((*measures.Run).Dashboard)},
		{"looks", "Looking", method((*measures.Run).Looks)},
		{"crash", "When the operator ends", method((*measures.Run).Crash)},
		{"growth-waiters", growth, method((*measures.Run).GrowthOfWaiters)},
		{"growth-holders", growth, method((*measures.Run).GrowthOfHolders)},
		{"growth-barriers", growth, method((*measures.Run).GrowthOfBarriers)},
		{"growth-arrivals", growth, method((*measures.Run).GrowthOfArrivals)},
		{"rival-etcd", instead, rivals.Mutex},
		{"rival-election", instead, rivals.LeaderElection},
	}
}

// method turns a method of Run around, so that it can stand in the list beside functions.
func method(f func(*measures.Run, context.Context) ([]report.Row, error)) func(context.Context, *measures.Run) ([]report.Row, error) {
	return func(ctx context.Context, r *measures.Run) ([]report.Row, error) { return f(r, ctx) }
}

// patience is how long one section may take, and perObject how much longer for each object that was asked for.
// Something that is waited for in vain then says what it was.
const patience, perObject = 6 * time.Minute, 10 * time.Millisecond

func measureSection(ctx context.Context, s section, r *measures.Run) ([]report.Row, error) {
	patience := patience + time.Duration(max(r.Piled, slices.Max(r.Live)))*perObject
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("it took longer than %s", patience))
	defer cancel()
	return s.run(ctx, r)
}

// Sections returns the names of what can be measured.
func Sections() []string {
	var names []string
	for _, s := range sections() {
		names = append(names, s.name)
	}
	return names
}

// Result is what a run has measured, and where.
type Result struct {
	Rows    []report.Row
	Machine report.Machine
}

// Run starts a cluster and measures. What was measured is returned also when a later section fails.
func Run(ctx context.Context, o Options) (result Result, err error) {
	s, err := scene.Open(ctx, o.Options)
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	kubernetes, etcd, err := s.Versions(ctx)
	if err != nil {
		return result, err
	}
	result.Machine = report.ThisMachine(kubernetes, etcd, o.Name)
	result.Rows, err = measure(ctx, s, o)
	return result, err
}

func measure(ctx context.Context, s *scene.Scene, o Options) (rows []report.Row, err error) {
	// The floors' watches end before the API server does.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f, err := floors.New(ctx, s)
	if err != nil {
		return nil, err
	}
	run := &measures.Run{Scene: s, Effort: o.Effort, Floors: f, Log: o.Log}
	for _, sec := range sections() {
		if o.Only != nil && !o.Only.MatchString(sec.name) {
			continue
		}
		begin := time.Now()
		measured, err := measureSection(ctx, sec, run)
		for _, row := range measured {
			rows = append(rows, row.In(sec.title))
		}
		if err != nil {
			return rows, fmt.Errorf("%s: %w", sec.name, err)
		}
		o.Log("measured %s in %s", sec.name, time.Since(begin).Round(time.Second))
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("nothing is called %q: there are %v", o.Only, Sections())
	}
	return rows, nil
}

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/LogicIQ/konductor/e2e/chaos"
	"github.com/LogicIQ/konductor/e2e/chaos/operators"
	"github.com/LogicIQ/konductor/e2e/manifest"
)

// run runs one campaign. It returns an error when a violation was found.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	flags := flag.NewFlagSet("chaos", flag.ContinueOnError)
	flags.SetOutput(stderr)
	seconds := flags.Int("seconds", 60, "for how long there are faults")
	seed := flags.Uint64("seed", 0, "where all chance comes from (default another each time)")
	recheckDir := flags.String("check", "", "check again what a campaign has left in that folder, and run none")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *recheckDir != "" {
		return recheck(*recheckDir, stdout)
	}
	for *seed == 0 {
		*seed = uint64(rand.Uint32())
	}
	// Broken connections are expected; logging them would only be noise.
	klog.SetLogger(logr.Discard())
	log.SetLogger(logr.Discard())

	root, err := manifest.RepoRoot()
	if err != nil {
		return err
	}
	dir := filepath.Join(root, "bin", "chaos", fmt.Sprint(*seed))
	if err := chaos.PrepareDir(dir); err != nil {
		return err
	}
	logf := func(format string, args ...any) { fmt.Fprintf(stderr, format+"\n", args...) }
	rerunCommand := fmt.Sprintf("make chaos CHAOS_SECONDS=%d CHAOS_SEED=%d", *seconds, *seed)
	logf("seed %d; to run it again: %s", *seed, rerunCommand)
	koncli, err := operators.Build(ctx, filepath.Dir(dir))
	if err != nil {
		return err
	}
	site, err := chaos.NewTestCluster(ctx, false, logf)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, site.Close()) }()
	report, err := chaos.Run(ctx, site, chaos.Options{
		FaultDuration: time.Duration(*seconds) * time.Second, Seed: *seed, Koncli: koncli, Dir: dir, SDKClients: 12, CommandClients: 5, JobClients: 4,
		QuiesceTimeout: 2 * time.Minute, Log: logf,
	})
	if err != nil {
		return fmt.Errorf("%w\nwhat there is to see is in %s; to run it again: %s", err, dir, rerunCommand)
	}
	report.Print(stdout)
	if len(report.Violations) > 0 {
		return fmt.Errorf("%d promises were broken: history, revisions and pictures are in %s; to run it again: %s", len(report.Violations), dir, rerunCommand)
	}
	return nil
}

func recheck(dir string, stdout io.Writer) error {
	found, err := chaos.Recheck(dir)
	if err != nil {
		return err
	}
	for _, v := range found {
		fmt.Fprintln(stdout, v)
	}
	if len(found) > 0 {
		return fmt.Errorf("%d promises were broken", len(found))
	}
	return nil
}

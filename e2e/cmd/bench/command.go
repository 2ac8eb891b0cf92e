package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/LogicIQ/konductor/e2e/bench"
	"github.com/LogicIQ/konductor/e2e/bench/measures"
	"github.com/LogicIQ/konductor/e2e/bench/report"
	"github.com/LogicIQ/konductor/e2e/bench/scene"
	"github.com/LogicIQ/konductor/e2e/manifest"
)

// flags are what was asked for.
type flags struct {
	only, json, docs string
	quick            bool
	pprof            string
	objects, junk    string
}

func newCommand(out, errOut io.Writer, getenv func(string) string) *cobra.Command {
	var f flags
	cmd := &cobra.Command{
		Use: "bench", Short: "Measure konductor against floors, budgets and rivals", Args: cobra.NoArgs,
		Long: "Measure konductor against floors, budgets and rivals. A budget that is missed is told, and is no error.\n\nSections: " +
			strings.Join(bench.Sections(), ", "),
		SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error { return run(cmd.Context(), f, out, errOut) },
	}
	cmd.Flags().StringVar(&f.only, "only", getenv("BENCH"), "measure only sections whose name matches this regular expression (or BENCH)")
	cmd.Flags().BoolVar(&f.quick, "quick", getenv("BENCH_QUICK") == "1", "fewer repetitions (or BENCH_QUICK=1)")
	cmd.Flags().StringVar(&f.json, "json", "", "where to write the rows as JSON (default bin/bench.json)")
	cmd.Flags().StringVar(&f.docs, "docs", getenv("BENCH_DOCS"), "where to write the page of the documentation (or BENCH_DOCS)")
	cmd.Flags().StringVar(&f.objects, "objects", getenv("BENCH_OBJECTS"), "numbers of objects for section scale, from few to many, such as 100,1000 (or BENCH_OBJECTS)")
	cmd.Flags().StringVar(&f.junk, "junk", getenv("BENCH_JUNK"), "number of claims that section junk piles up (or BENCH_JUNK)")
	cmd.Flags().StringVar(&f.pprof, "pprof", "", "where operators serve their profiles, such as 127.0.0.1:6060")
	return cmd
}

func run(ctx context.Context, f flags, out, errOut io.Writer) error {
	root, err := manifest.Root()
	if err != nil {
		return err
	}
	o := bench.Options{
		Options: scene.Options{
			Koncli: filepath.Join(root, "bin/koncli"),
			Log:    func(format string, args ...any) { fmt.Fprintf(errOut, format+"\n", args...) },
		},
		Effort: measures.Full(),
	}
	if f.quick {
		o.Effort = measures.Quick()
	}
	if f.objects != "" {
		if o.Live, err = sizes(f.objects); err != nil {
			return err
		}
	}
	if f.junk != "" {
		if o.Piled, err = strconv.Atoi(f.junk); err != nil || o.Piled < 1 {
			return fmt.Errorf("--junk must be a number of at least 1, such as 100000, not %q", f.junk)
		}
	}
	if f.pprof != "" {
		o.OperatorArgs = []string{"--pprof-bind-address=" + f.pprof}
	}
	if f.only != "" {
		if o.Only, err = regexp.Compile(f.only); err != nil {
			return fmt.Errorf("--only: %w", err)
		}
	}
	if f.json == "" {
		f.json = filepath.Join(root, "bin/bench.json")
	}
	begin := time.Now()
	result, failed := bench.Run(ctx, o)
	rows := result.Rows
	if err := report.Table(out, rows); err != nil {
		return err
	}
	if missed := report.Missed(rows); len(missed) > 0 {
		fmt.Fprintf(out, "\n%d budgets are missed\n", len(missed))
	}
	fmt.Fprintf(errOut, "took %s\n", time.Since(begin).Round(time.Second))
	if err := report.WriteJSON(f.json, rows); err != nil || f.docs == "" || failed != nil {
		return errors.Join(failed, err)
	}
	return report.WritePage(f.docs, rows, result.Machine)
}

// sizes reads numbers that grow.
func sizes(list string) (all []int, err error) {
	for _, text := range strings.Split(list, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || n < 1 || len(all) > 0 && n <= all[len(all)-1] {
			return nil, fmt.Errorf("--objects must be numbers from small to large, such as 100,1000,10000, not %q", list)
		}
		all = append(all, n)
	}
	return all, nil
}

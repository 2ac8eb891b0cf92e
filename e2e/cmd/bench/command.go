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
	"github.com/LogicIQ/konductor/e2e/bench/benchenv"
	"github.com/LogicIQ/konductor/e2e/bench/measures"
	"github.com/LogicIQ/konductor/e2e/bench/report"
	"github.com/LogicIQ/konductor/e2e/manifest"
)

// options are the command's flags.
type options struct {
	sectionFilter, docsPage  string
	quick                    bool
	objectCounts, junkClaims string
}

func newCommand(out, errOut io.Writer, getenv func(string) string) *cobra.Command {
	var f options
	cmd := &cobra.Command{
		Use: "bench", Short: "Measure konductor against lower bounds, budgets and alternatives", Args: cobra.NoArgs,
		Long: "Measure konductor against lower bounds, budgets and alternatives. A missed budget is reported, but isn't an error.\n\nSections: " +
			strings.Join(bench.SectionNames(), ", "),
		SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error { return run(cmd.Context(), f, out, errOut) },
	}
	cmd.Flags().StringVar(&f.sectionFilter, "only", getenv("BENCH"), "measure only sections whose name matches this regular expression (or BENCH)")
	cmd.Flags().BoolVar(&f.quick, "quick", getenv("BENCH_QUICK") == "1", "fewer repetitions (or BENCH_QUICK=1)")
	cmd.Flags().StringVar(&f.docsPage, "docs", getenv("BENCH_DOCS"), "where to write the page of the documentation (or BENCH_DOCS)")
	cmd.Flags().StringVar(&f.objectCounts, "objects", getenv("BENCH_OBJECTS"), "numbers of objects for sections scale and held-waiting, from few to many, such as 100,1000 (or BENCH_OBJECTS)")
	cmd.Flags().StringVar(&f.junkClaims, "junk", getenv("BENCH_JUNK"), "number of claims that section junk piles up (or BENCH_JUNK)")
	return cmd
}

func run(ctx context.Context, f options, out, errOut io.Writer) error {
	root, err := manifest.RepoRoot()
	if err != nil {
		return err
	}
	o := bench.Options{
		Options: benchenv.Options{
			Koncli: filepath.Join(root, "bin/koncli"),
			Log:    func(format string, args ...any) { fmt.Fprintf(errOut, format+"\n", args...) },
		},
		Preset: measures.Full(),
	}
	if f.quick {
		o.Preset = measures.Quick()
	}
	if f.objectCounts != "" {
		if o.ObjectCounts, err = parseSizes(f.objectCounts); err != nil {
			return err
		}
	}
	if f.junkClaims != "" {
		if o.JunkClaims, err = strconv.Atoi(f.junkClaims); err != nil || o.JunkClaims < 1 {
			return fmt.Errorf("--junk must be a number of at least 1, such as 100000, not %q", f.junkClaims)
		}
	}
	if f.sectionFilter != "" {
		if o.SectionFilter, err = regexp.Compile(f.sectionFilter); err != nil {
			return fmt.Errorf("--only: %w", err)
		}
	}
	begin := time.Now()
	result, failed := bench.Run(ctx, o)
	rows := result.Rows
	if err := report.WriteTable(out, rows); err != nil {
		return err
	}
	if missed := report.MissedBudgets(rows); len(missed) > 0 {
		fmt.Fprintf(out, "\n%d budgets are missed\n", len(missed))
	}
	fmt.Fprintf(errOut, "took %s\n", time.Since(begin).Round(time.Second))
	if err := report.WriteJSON(filepath.Join(root, "bin/bench.json"), rows); err != nil || f.docsPage == "" || failed != nil {
		return errors.Join(failed, err)
	}
	return report.UpdateDocsPage(f.docsPage, rows, result.Machine)
}

// parseSizes parses a list of ascending numbers.
func parseSizes(list string) (all []int, err error) {
	for _, text := range strings.Split(list, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || n < 1 || len(all) > 0 && n <= all[len(all)-1] {
			return nil, fmt.Errorf("--objects must be numbers from small to large, such as 100,1000,10000, not %q", list)
		}
		all = append(all, n)
	}
	return all, nil
}

package konductor

import (
	"errors"
	"fmt"
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"go/types"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// optionCalls are the calls that take options. %s stands for the options.
var optionCalls = map[string]string{
	"Holder":              `c.Holder(%s)`,
	"Participant":         `c.Participant(nil, %s)`,
	"WaitBarrier":         `c.WaitBarrier(nil, "x", %s)`,
	"WaitGate":            `c.WaitGate(nil, "x", %s)`,
	"ArriveBarrier":       `c.ArriveBarrier(nil, "x", %s)`,
	"AcquireLease":        `c.AcquireLease(nil, "x", %s)`,
	"AcquireSemaphore":    `c.AcquireSemaphore(nil, "x", %s)`,
	"AcquireAll":          `c.AcquireAll(nil, nil, %s)`,
	"TryAcquireLease":     `c.TryAcquireLease(nil, "x", %s)`,
	"TryAcquireSemaphore": `c.TryAcquireSemaphore(nil, "x", %s)`,
	"WithLease":           `c.WithLease(nil, "x", nil, %s)`,
	"WithSemaphore":       `c.WithSemaphore(nil, "x", nil, %s)`,
	"RenewLease":          `c.RenewLease(nil, "x", %s)`,
	"RenewSemaphore":      `c.RenewSemaphore(nil, "x", %s)`,
	"ReleaseLease":        `c.ReleaseLease(nil, "x", %s)`,
	"ReleaseSemaphore":    `c.ReleaseSemaphore(nil, "x", %s)`,
	"BreakLease":          `c.BreakLease(nil, "x", %s)`,
	"BreakSemaphore":      `c.BreakSemaphore(nil, "x", %s)`,
	"ResizeSemaphore":     `c.ResizeSemaphore(nil, "x", 1, %s)`,
	"CreateBarrier":       `c.CreateBarrier(nil, "x", 1, %s)`,
	"CreateGate":          `c.CreateGate(nil, "x", nil, %s)`,
	"CreateLease":         `c.CreateLease(nil, "x", %s)`,
	"CreateSemaphore":     `c.CreateSemaphore(nil, "x", 1, %s)`,
	"NewBarrier":          `NewBarrier("x", 1, %s)`,
	"NewGate":             `NewGate("x", nil, %s)`,
	"NewLease":            `NewLease("x", %s)`,
	"NewSemaphore":        `NewSemaphore("x", 1, %s)`,
	"DeleteBarrier":       `c.DeleteBarrier(nil, "x", %s)`,
	"DeleteGate":          `c.DeleteGate(nil, "x", %s)`,
	"DeleteLease":         `c.DeleteLease(nil, "x", %s)`,
	"DeleteSemaphore":     `c.DeleteSemaphore(nil, "x", %s)`,
}

// optionUses are the options with all calls that use them.
func optionUses() map[string][]string {
	var (
		detachable = []string{"AcquireLease", "AcquireSemaphore"}
		waiting    = slices.Concat(detachable, []string{"AcquireAll", "WithLease", "WithSemaphore"})
		acquiring  = slices.Concat(waiting, []string{"TryAcquireLease", "TryAcquireSemaphore"})
		onOwnHold  = []string{"RenewLease", "RenewSemaphore", "ReleaseLease", "ReleaseSemaphore"}
		breaking   = []string{"BreakLease", "BreakSemaphore"}
		newTargets = []string{"NewLease", "NewSemaphore", "CreateLease", "CreateSemaphore"}
		newOpening = []string{"NewBarrier", "NewGate", "CreateBarrier", "CreateGate"}
		deleting   = []string{"DeleteBarrier", "DeleteGate", "DeleteLease", "DeleteSemaphore"}
		onUID      = slices.Concat(onOwnHold, deleting, []string{"ArriveBarrier", "ResizeSemaphore"})
	)
	return map[string][]string{
		`WithHolder("a")`:             slices.Concat(acquiring, onOwnHold, breaking, []string{"ArriveBarrier", "Holder", "Participant"}),
		`WithTimeout(1)`:              slices.Concat(waiting, []string{"ArriveBarrier", "WaitBarrier", "WaitGate"}),
		`FailIfMissing()`:             slices.Concat(waiting, []string{"ArriveBarrier", "WaitBarrier", "WaitGate"}),
		`WithTTL(1)`:                  slices.Concat(acquiring, newTargets),
		`WithDefaultTTL(1)`:           acquiring,
		`WithPriority(1)`:             acquiring,
		`StopWithin(1)`:               acquiring,
		`OnRenewal(nil)`:              acquiring,
		`Detached()`:                  detachable,
		`WithPermits(1)`:              {"AcquireSemaphore", "TryAcquireSemaphore", "WithSemaphore"},
		`AsFailed("")`:                {"ArriveBarrier"},
		`WithQuorum(1)`:               {"NewBarrier", "CreateBarrier"},
		`WithTimeoutAfterCreation(1)`: newOpening,
		`WithTTLAfterFinished(1)`:     newOpening,
		`WithMaxPriority(1)`:          newTargets,
		`OnlyClaims("u")`:             breaking,
		`OnlyUID("u")`:                onUID,
		`UnlessHeld()`:                {"DeleteLease", "DeleteSemaphore"},
		`OnlyFromPermits(1)`:          {"ResizeSemaphore"},
		`DryRun()`:                    slices.Concat(onUID, breaking, []string{"CreateBarrier", "CreateGate", "CreateLease", "CreateSemaphore"}),
	}
}

// TestOptionsCompileOnlyWhereUsed compiles each call with each option.
func TestOptionsCompileOnlyWhereUsed(t *testing.T) {
	uses := optionUses()
	var snippets, want []string
	for _, call := range slices.Sorted(maps.Keys(optionCalls)) {
		for _, option := range slices.Sorted(maps.Keys(uses)) {
			snippet := fmt.Sprintf(optionCalls[call], option)
			snippets = append(snippets, snippet)
			if slices.Contains(uses[option], call) {
				want = append(want, snippet)
			}
		}
	}
	_, compiling := compileSnippets(t, snippets)
	if diff := cmp.Diff(want, compiling); diff != "" {
		t.Errorf("these compile (-want +got):\n%s", diff)
	}
}

func TestOptionListsCompile(t *testing.T) {
	good := []string{
		`c.AcquireLease(nil, "x", AcquireLeaseOptions{WithHolder("a"), WithTimeout(1), Detached()})`,
		`c.AcquireLease(nil, "x", AcquireLeaseOptions{WithTTL(1)}, WithPriority(1))`,
		`c.AcquireLease(nil, "x", []AcquireLeaseOption{WithTTL(1)}...)`,
		`c.AcquireSemaphore(nil, "x", AcquireLeaseOptions{WithHolder("a"), WithTimeout(1), Detached()}, WithPermits(2))`,
	}
	bad := []string{
		`c.AcquireLease(nil, "x", AcquireLeaseOptions{WithPermits(2)})`,
		`c.AcquireAll(nil, nil, AcquireLeaseOptions{WithTTL(1)})`, // it may have Detached
		`c.WaitGate(nil, "x", AcquireLeaseOptions{WithTimeout(1)})`,
	}
	_, compiling := compileSnippets(t, slices.Concat(good, bad))
	if diff := cmp.Diff(good, compiling); diff != "" {
		t.Errorf("these compile (-want +got):\n%s", diff)
	}
}

// TestEveryOptionAndCallIsCompiled compares the tables of this file with what the package exports.
func TestEveryOptionAndCallIsCompiled(t *testing.T) {
	pkg, _ := compileSnippets(t, nil)
	optionType := pkg.Scope().Lookup("option").Type().Underlying().(*types.Interface)
	var options, calls []string
	note := func(f *types.Func) {
		signature := f.Signature()
		if !f.Exported() {
			return
		}
		if results := signature.Results(); results.Len() == 1 && types.Implements(results.At(0).Type(), optionType) {
			options = append(options, f.Name())
		}
		if n := signature.Params().Len(); signature.Variadic() && types.Implements(signature.Params().At(n-1).Type().(*types.Slice).Elem(), optionType) {
			calls = append(calls, f.Name())
		}
	}
	for _, name := range pkg.Scope().Names() {
		if f, ok := pkg.Scope().Lookup(name).(*types.Func); ok {
			note(f)
		}
	}
	client := pkg.Scope().Lookup("Client").Type().(*types.Named)
	for m := range client.Methods() {
		note(m)
	}
	var testedOptions []string
	for option := range optionUses() {
		name, _, _ := strings.Cut(option, "(")
		testedOptions = append(testedOptions, name)
	}
	slices.Sort(options)
	slices.Sort(testedOptions)
	if diff := cmp.Diff(options, testedOptions); diff != "" {
		t.Errorf("options of the package and of the test (-package +test):\n%s", diff)
	}
	slices.Sort(calls)
	if diff := cmp.Diff(calls, slices.Sorted(maps.Keys(optionCalls))); diff != "" {
		t.Errorf("calls of the package and of the test (-package +test):\n%s", diff)
	}
}

// compileSnippets type-checks statements inside of this package, and returns those that compile. c is a *Client. Imported
// packages are left out, which takes far less time: whatever has one of their types is not checked.
func compileSnippets(t *testing.T, snippets []string) (pkg *types.Package, compiling []string) {
	t.Helper()
	source, err := build.ImportDir(".", 0)
	if err != nil {
		t.Fatal(err)
	}
	const name = "snippets.go"
	fset := token.NewFileSet()
	var files []*ast.File
	for _, file := range source.GoFiles {
		parsed, err := parser.ParseFile(fset, file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, parsed)
	}
	const before = "package konductor; func _(c *Client) {\n"
	parsed, err := parser.ParseFile(fset, name, before+strings.Join(snippets, "\n")+"\n}\n", parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	failed := map[int]string{} // by line
	config := types.Config{
		Importer: importerFunc(func(path string) (*types.Package, error) { return nil, errors.New(path + " is left out") }),
		Error: func(err error) {
			e := types.Error{}
			if !errors.As(err, &e) {
				t.Fatal(err)
			}
			if at := fset.Position(e.Pos); at.Filename == name && failed[at.Line] == "" {
				failed[at.Line] = e.Msg
			}
		},
	}
	pkg, _ = config.Check("konductor", fset, append(files, parsed), nil) // the errors are in failed
	for i, snippet := range snippets {
		why, bad := failed[i+2]
		switch {
		case !bad:
			compiling = append(compiling, snippet)
		case !strings.Contains(why, "does not implement"):
			t.Errorf("%s doesn't compile for another reason than its option: %s", snippet, why)
		}
	}
	return pkg, compiling
}

type importerFunc func(path string) (*types.Package, error)

func (f importerFunc) Import(path string) (*types.Package, error) { return f(path) }

func TestApplyOptions(t *testing.T) {
	three := int32(3)
	for what, test := range map[string]struct {
		got, want options
	}{
		"no options": {applyOptions[WaitOption](nil), options{permits: 1}},
		"a list in a list, of which the last counts": {
			applyOptions([]AcquireSemaphoreOption{
				WithTTL(time.Second), AcquireLeaseOptions{AcquireLeaseOptions{WithTTL(time.Minute)}, Detached()}, WithPermits(2), WithPriority(5),
			}),
			options{permits: 2, ttl: time.Minute, detached: true, priority: 5},
		},
		"what an empty name and an empty uid leave as it is": {
			applyOptions([]DetachedHoldOption{WithHolder(""), OnlyUID("")}), options{permits: 1},
		},
		"a limit":          {applyOptions([]TargetOption{WithMaxPriority(3)}), options{permits: 1, maxPriority: &three}},
		"a timeout of 0":   {applyOptions([]WaitOption{WithTimeout(0)}), options{permits: 1, hasTimeout: true}},
		"a timeout of -1s": {applyOptions([]WaitOption{WithTimeout(-time.Second)}), options{permits: 1, timeout: -time.Second}},
	} {
		if diff := cmp.Diff(test.want, test.got, cmp.AllowUnexported(options{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
}

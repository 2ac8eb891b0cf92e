package integration

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// onceEnv has a lease, a barrier and a log for commands that are to run once.
type onceEnv struct {
	*testEnv
	log string
}

func newOnceEnv(t *testing.T) *onceEnv {
	w := newTestEnv(t)
	w.startOperator()
	w.createLease("init")
	createBarrier(w, "done", 1)
	return &onceEnv{w, filepath.Join(t.TempDir(), "log")}
}

// start starts a run whose command notes its begin, waits, notes its end, and ends with that code.
func (w *onceEnv) start(wait, code string) *koncliProcess {
	script := "echo begin >>" + w.log + "; echo x >$DIR/began; " + wait + "; echo end >>" + w.log + "; exit " + code
	return w.startKoncli("run", "--lease", "init", "--once", "done", "--ttl", "3s", "--grace", "300ms", "--", "sh", "-c", script)
}

// expectLog fails the test unless the commands have run so often, one after the other.
func (w *onceEnv) expectLog(want string) {
	w.Helper()
	text, err := os.ReadFile(w.log)
	w.must(err)
	if got := strings.Join(strings.Fields(string(text)), " "); got != want {
		w.Errorf("the commands have noted %q, want %q", got, want)
	}
}

func TestRunOnce(t *testing.T) {
	w := newOnceEnv(t)
	first := w.start("while ! [ -e $DIR/go ]; do sleep 0.02; done", "0")
	first.waitForFile("began")
	var others []*koncliProcess
	for range 4 {
		others = append(others, w.start("true", "0"))
	}
	waitFor(w.testEnv, "init", "waited for", func(l *konductorv1.Lease) bool { return l.Status.Waiting == 4 })
	first.writeFile("go")
	first.expectExit(0)
	for _, p := range others {
		p.expectExit(0)
		p.waitForOutput("isn't run again")
	}
	w.start("true", "0").expectExit(0)
	w.expectLog("begin end")
	w.waitLeaseFree("init")
}

func TestRunOnceAfterFailure(t *testing.T) {
	w := newOnceEnv(t)
	failing := w.start("while ! [ -e $DIR/go ]; do sleep 0.02; done", "3")
	failing.waitForFile("began")
	next := w.start("true", "0")
	waitFor(w.testEnv, "init", "waited for", func(l *konductorv1.Lease) bool { return l.Status.Waiting == 1 })
	failing.writeFile("go")
	failing.expectExit(3)
	next.expectExit(0)
	w.expectLog("begin end begin end")
	if b := getObject[*konductorv1.Barrier](w.testEnv, "done"); b.Status.Failed != 0 {
		t.Error("the failed run has arrived")
	}
}

// TestRunOnceThatIsKilled kills the one that runs the command, with the next one waiting.
func TestRunOnceThatIsKilled(t *testing.T) {
	w := newOnceEnv(t)
	victim := w.start("sleep 100", "0")
	victim.waitForFile("began")
	next := w.start("true", "0")
	waitFor(w.testEnv, "init", "waited for", func(l *konductorv1.Lease) bool { return l.Status.Waiting == 1 })
	victim.signal(syscall.SIGKILL)
	next.expectExit(0)
	w.expectLog("begin begin end")
	waitFor(w.testEnv, "done", "open", func(b *konductorv1.Barrier) bool { return b.Status.Phase == konductorv1.BarrierOpen })
}

// TestRunOnceRecordedAndNotCounted has a run that was killed after it has arrived, while no operator counts that.
func TestRunOnceRecordedAndNotCounted(t *testing.T) {
	w := newTestEnv(t)
	op := w.startOperator()
	w.createLease("init")
	createBarrier(w, "done", 1)
	waitFor(w, "done", "observed", func(b *konductorv1.Barrier) bool { return b.Status.Phase == konductorv1.BarrierWaiting })
	op.stop()
	b := getObject[*konductorv1.Barrier](w, "done")
	w.must(w.newParticipant("first").ArriveBarrier(w.ctx, "done", konductor.WithHolder("once")))
	arrived, err := w.newParticipant("next").HasArrived(w.ctx, "done", "once")
	if err != nil || !arrived || b.Status.Phase != konductorv1.BarrierWaiting {
		t.Errorf("arrived %t, %v, the barrier is %s", arrived, err, b.Status.Phase)
	}
	if other, err := w.newParticipant("next").HasArrived(w.ctx, "done", "other"); err != nil || other {
		t.Errorf("somebody else has arrived: %t, %v", other, err)
	}
	w.startOperator()
	w.startKoncli("run", "--lease", "init", "--once", "done", "--", "false").expectExit(0)
}

func TestRunOnceUsage(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	w.createLease("init")
	createBarrier(w, "three", 3)
	for _, c := range []struct {
		args     []string
		code     int
		sentence string
	}{
		{[]string{"--once", "three"}, 65, "--once needs --lease NAME"},
		{[]string{"--once", "three", "--lease", "init", "--arrive", "three"}, 65, "can't be combined"},
		{[]string{"--once", "three", "--lease", "init"}, 65, "expects 3 participants"},
		{[]string{"--once", "missing", "--lease", "init"}, 66, "barrier/missing"},
	} {
		p := w.startKoncli(append(append([]string{"run"}, c.args...), "--", "false")...)
		p.expectExit(c.code)
		p.waitForOutput(c.sentence)
	}
}

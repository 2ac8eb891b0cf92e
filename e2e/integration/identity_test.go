package integration

import (
	"errors"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// runInOtherPIDNamespace runs koncli in a PID namespace of its own, as in a container, with the same hostname as this machine.
func (w *testEnv) runInOtherPIDNamespace(args ...string) (said string, code int) {
	w.Helper()
	cmd := exec.Command(koncliPath, append([]string{"--kubeconfig", w.adminKubeconfig, "--namespace", w.namespace}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) {
		w.Skip("no right to make a PID namespace")
	}
	if cmd.ProcessState == nil {
		w.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func TestSameHostnameDifferentHolders(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	w.createLease("db")
	acquire := []string{"lease", "acquire", "db", "--timeout=0"}
	first := w.startKoncli(acquire...)
	first.expectExit(0)
	first.waitForOutput("lease/db acquired by ")
	if said, code := w.runInOtherPIDNamespace(acquire...); code != 5 {
		t.Errorf("another container of this hostname ended with %d: %s", code, said)
	}
	if said, code := w.runInOtherPIDNamespace("lease", "release", "db"); code != 2 {
		t.Errorf("another container's release ended with %d: %s", code, said)
	}
	again := w.startKoncli(acquire...)
	again.expectExit(0)
	again.waitForOutput("lease/db already held by ")
	w.startKoncli("lease", "renew", "db").expectExit(0)
	w.startKoncli("lease", "release", "db").expectExit(0)
	w.waitNoClaims()
}

func TestSameHolderFindsExistingHold(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	w.createLease("db")
	one, two := w.newParticipant("build"), w.newParticipant("build")
	hold := one.mustAcquire(konductorv1.KindLease, "db", konductor.WithTTL(time.Hour))
	found := two.mustAcquire(konductorv1.KindLease, "db")
	if hold.Found() || !found.Found() || hold.Token() != found.Token() {
		t.Errorf("the first found it: %t, the second: %t; tokens %d and %d", hold.Found(), found.Found(), hold.Token(), found.Token())
	}
	said, code := w.runInOtherPIDNamespace("lease", "acquire", "db", "--holder=build", "-o", "json")
	if code != 0 || !strings.Contains(said, `"alreadyHeld": true`) {
		t.Errorf("koncli ended with %d: %s", code, said)
	}
	w.mustRelease(hold)
}

func TestReleaseClaimOfEarlierVersion(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	lease := w.createLease("db")
	a := w.newParticipant("")
	host, _, _ := strings.Cut(a.Holder(), "/")
	earlier := w.newParticipant(host)
	earlier.mustAcquire(konductorv1.KindLease, "db", konductor.Detached(), konductor.WithTTL(time.Hour))
	waitFor(w, earlier.claimName(konductorv1.KindLease, lease), "granted", func(c *konductorv1.Claim) bool { return c.Status.Phase == konductorv1.ClaimGranted })
	// The hold may be another machine's of the same name.
	for what, err := range map[string]error{"renewed": a.RenewLease(w.ctx, "db"), "released": a.ReleaseLease(w.ctx, "db")} {
		if err == nil || !strings.Contains(err.Error(), "set the holder to "+host) {
			t.Errorf("%s by the host's name alone: %v", what, err)
		}
	}
	w.must(a.RenewLease(w.ctx, "db", konductor.WithHolder(host)))
	w.must(a.ReleaseLease(w.ctx, "db", konductor.WithHolder(host)))
	waitGone(w, &konductorv1.Claim{ObjectMeta: metav1.ObjectMeta{Name: earlier.claimName(konductorv1.KindLease, lease)}})
}

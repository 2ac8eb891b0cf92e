package benchenv

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/procfs"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/e2e/cluster"
)

// Operator is a replica of the operator, as a process of its own with the rights and settings of the chart.
type Operator struct {
	*cluster.Program

	profiles string // the URL of Go's profiles
}

// StartOperator starts a replica and returns when it is ready, be it as leader or standby.
func (s *Env) StartOperator(ctx context.Context) (*Operator, error) {
	health, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	profiles, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	args := []string{
		"operator", "--kubeconfig=" + s.operatorKubeconfig, "--hold-workloads",
		"--metrics-bind-address=127.0.0.1:0", "--health-probe-bind-address=" + health, "--pprof-bind-address=" + profiles,
	}
	p, err := s.StartProgram("operator", s.Koncli, args, []string{"HOME=" + s.Dir, "TMPDIR=" + s.Dir})
	if err != nil {
		return nil, err
	}
	o := &Operator{p, "http://" + profiles + "/debug/pprof/"}
	return o, o.awaitReady(ctx, "http://"+health+"/readyz")
}

func (o *Operator) awaitReady(ctx context.Context, url string) error {
	err := wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		select {
		case <-o.Done():
			return false, fmt.Errorf("the operator has ended:\n%s", o.Output())
		default:
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
		if err != nil {
			return false, err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return false, nil //nolint:nilerr // it doesn't listen yet
		}
		return resp.StatusCode == http.StatusOK, resp.Body.Close()
	})
	if err != nil {
		return fmt.Errorf("waiting for the operator: %w", err)
	}
	return nil
}

// AwaitLeader returns when an operator reconciles.
func (s *Env) AwaitLeader(ctx context.Context) error {
	s.namespaceCount++
	lease := &konductorv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("probe-%d", s.namespaceCount), Namespace: metav1.NamespaceDefault}}
	if err := s.Objects.Create(ctx, lease); err != nil {
		return err
	}
	err := s.AwaitLease(ctx, client.ObjectKeyFromObject(lease), func(l *konductorv1.Lease) bool { return l.Status.ObservedGeneration > 0 })
	if err != nil {
		return fmt.Errorf("no operator acts: %w", err)
	}
	return s.Objects.Delete(ctx, lease)
}

// WithOperator calls f while one operator runs and leads.
func (s *Env) WithOperator(ctx context.Context, f func(*Operator) error) error {
	o, err := s.StartOperator(ctx)
	if err != nil {
		return err
	}
	if err = s.AwaitLeader(ctx); err == nil {
		err = f(o)
	}
	if stopErr := o.Terminate(ctx); err == nil {
		err = stopErr
	}
	return err
}

// Terminate stops the operator with SIGTERM, as Kubernetes does.
func (o *Operator) Terminate(ctx context.Context) error {
	return o.Stop(ctx, syscall.SIGTERM, 20*time.Second)
}

// Kill kills the operator with SIGKILL.
func (o *Operator) Kill(ctx context.Context) error { return o.Stop(ctx, syscall.SIGKILL, time.Second) }

// CPUTime returns the CPU time that the operator has used so far.
func (o *Operator) CPUTime() (time.Duration, error) {
	return ProcessCPUTime(o.PID())
}

// ProcessCPUTime returns the CPU time that a process has used so far.
func ProcessCPUTime(pid int) (time.Duration, error) {
	stat, err := readProcStat(pid)
	return time.Duration(stat.CPUTime() * float64(time.Second)), err
}

// ResidentMemory returns the operator's resident memory in bytes.
func (o *Operator) ResidentMemory() (int, error) {
	stat, err := readProcStat(o.PID())
	return stat.ResidentMemory(), err
}

// HeapSize returns the size of the operator's live objects in bytes: unlike resident memory, it is the same each time.
func (o *Operator) HeapSize(ctx context.Context) (size int, err error) {
	for range 2 { // What is pooled survives one collection.
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, o.profiles+"heap?gc=1&debug=1", http.NoBody)
		if err != nil {
			return 0, err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return 0, err
		}
		text, err := io.ReadAll(resp.Body)
		if err = errors.Join(err, resp.Body.Close()); err != nil {
			return 0, err
		}
		const label = "# HeapAlloc = "
		_, after, _ := strings.Cut(string(text), label)
		if _, err := fmt.Sscan(after, &size); err != nil {
			return 0, fmt.Errorf("the operator's profile of its heap has no %q: %w", label, err)
		}
	}
	return size, nil
}

func readProcStat(pid int) (procfs.ProcStat, error) {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return procfs.ProcStat{}, fmt.Errorf("reading what a process uses (Linux only): %w", err)
	}
	return p.Stat()
}

// freeAddress returns a loopback address with a free port.
func freeAddress(ctx context.Context) (string, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

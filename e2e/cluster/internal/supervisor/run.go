package supervisor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/LogicIQ/konductor/e2e/cluster/internal/component"
	"github.com/LogicIQ/konductor/e2e/cluster/internal/isolate"
	"github.com/LogicIQ/konductor/e2e/cluster/internal/relay"
	"github.com/LogicIQ/konductor/e2e/cluster/internal/supervise"
	"github.com/LogicIQ/konductor/e2e/internal/process"
)

// Descriptors that the supervisor is started with. The listeners are made by the
// starting process: a socket belongs to the network namespace it was made in, so
// the relay's is on the host's loopback although the supervisor isn't.
const (
	controlFD = 3
	relayFD   = 4
)

// errRefused marks failures of a machine that doesn't let a node be set up.
var errRefused = errors.New("this machine does not allow it")

// run is a running supervisor.
type run struct {
	record Record
	plan   component.Plan
	group  *process.Group
	set    *supervise.Set
	logf   func(format string, args ...any)
}

// Run supervises the cluster in dir until ctx is done or the process gets SIGTERM.
func Run(ctx context.Context, dir string, logf func(format string, args ...any)) error {
	ctx, cancel := signal.NotifyContext(ctx, syscall.SIGTERM)
	defer cancel()
	record, err := Load(dir)
	if err != nil {
		return err
	}
	control, err := listener(controlFD)
	if err != nil {
		return err
	}
	group := process.NewGroup()
	s := &run{
		record: record,
		plan:   record.plan(),
		group:  group,
		set:    supervise.NewSet(group, supervise.Options{Restart: true, Log: logf}),
		logf:   logf,
	}
	var importImage func(context.Context, io.Reader) error
	if record.Node != nil {
		importImage = s.importImage
	}
	server := supervise.NewServer(s.set, importImage)
	services, ctx := errgroup.WithContext(ctx)
	services.Go(func() error { return server.Serve(ctx, control) })
	services.Go(func() error {
		start := time.Now()
		err := s.start(ctx, services)
		if err != nil {
			logf("start failed: %v", err)
		} else {
			logf("started in %s", time.Since(start).Round(10*time.Millisecond))
		}
		server.Started(err, errors.Is(err, errRefused))
		return nil // stay, to be asked what went wrong
	})
	err = services.Wait()
	return errors.Join(err, s.set.Close(context.WithoutCancel(ctx)))
}

func listener(fd uintptr) (net.Listener, error) {
	f := os.NewFile(fd, "listener")
	defer func() { _ = f.Close() }()
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("descriptor %d is no listener: this command is for \"cluster up\" to use: %w", fd, err)
	}
	return l, nil
}

func (s *run) start(ctx context.Context, services *errgroup.Group) error {
	if s.record.Node == nil {
		return s.startControlPlane(ctx)
	}
	if err := s.enter(); err != nil {
		return fmt.Errorf("%w: %w", errRefused, err)
	}
	services.Go(func() error {
		s.group.ReapOrphans(ctx.Done())
		return nil
	})
	if err := s.relay(ctx, services); err != nil {
		return err
	}
	return s.startNode(ctx)
}

// enter makes the namespaces this process was started in a cluster's own.
func (s *run) enter() error {
	return isolate.Enter(isolate.Options{
		Hostname: component.NodeName,
		Binds: map[string]string{
			insideDir:  DataDir(s.record.Dir),
			insideLogs: LogDir(s.record.Dir),
		},
		Keep: []string{s.record.Tools},
		// Nobody listens on the second, so that looking up a name fails at once.
		Addresses:     []string{component.ServiceIP + "/32", component.DNSServerIP + "/32"},
		Bridge:        component.Bridge,
		BridgeAddress: component.NodeIP + "/" + suffix(component.PodCIDR),
	})
}

func suffix(cidr string) string {
	_, bits, _ := strings.Cut(cidr, "/")
	return bits
}

// relay lets the host reach the API server.
func (s *run) relay(ctx context.Context, services *errgroup.Group) error {
	l, err := listener(relayFD)
	if err != nil {
		return err
	}
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		return fmt.Errorf("descriptor %d is not a TCP listener", relayFD)
	}
	target := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: s.record.Ports.APIServer}
	services.Go(func() error {
		return relay.Serve(ctx, tcp, func(context.Context) (*net.TCPConn, error) {
			return net.DialTCP("tcp", nil, target)
		})
	})
	return nil
}

func (s *run) startControlPlane(ctx context.Context) error {
	s.set.Add(s.plan.Etcd())
	s.set.Add(s.plan.APIServer())
	s.set.Add(s.plan.ControllerManager())
	return s.set.BringUp(ctx)
}

// startNode starts everything as early as what it needs allows.
func (s *run) startNode(ctx context.Context) error {
	if err := s.plan.WriteNodeConfig(*s.record.Node); err != nil {
		return err
	}
	for _, c := range []component.Component{
		s.plan.Etcd(), s.plan.APIServer(), s.plan.ControllerManager(), s.plan.Scheduler(), s.plan.Containerd(), s.plan.Kubelet(),
	} {
		s.set.Add(c)
	}
	if err := s.set.Launch(component.Containerd); err != nil {
		return err
	}
	parts, ctx := errgroup.WithContext(ctx)
	parts.Go(func() error {
		if err := s.set.WaitHealthy(ctx, component.Containerd); err != nil {
			return err
		}
		return s.importArchives(ctx)
	})
	parts.Go(func() error { return s.set.BringUp(ctx) })
	return parts.Wait()
}

// importArchives imports the images that "up" put down.
func (s *run) importArchives(ctx context.Context) error {
	archives, err := filepath.Glob(filepath.Join(s.plan.Layout.Images(), "*.tar"))
	if err != nil {
		return err
	}
	for _, path := range archives {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		err = s.importImage(ctx, f)
		_ = f.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", filepath.Base(path), err)
		}
	}
	return nil
}

func (s *run) importImage(ctx context.Context, tar io.Reader) error {
	cmd := exec.Command(s.record.Binaries["ctr"],
		"--address", s.plan.Layout.Socket(component.Containerd), "--namespace", "k8s.io",
		"images", "import", "--local", "--snapshotter", s.record.Node.Snapshotter, "-")
	cmd.Env = []string{"TMPDIR=" + s.plan.Layout.Dir}
	cmd.Stdin = tar
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := s.group.Run(ctx, cmd); err != nil {
		return fmt.Errorf("import image: %w: %s", err, strings.TrimSpace(out.String()))
	}
	return nil
}

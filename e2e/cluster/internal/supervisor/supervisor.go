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
	"github.com/LogicIQ/konductor/e2e/cluster/internal/componentset"
	"github.com/LogicIQ/konductor/e2e/cluster/internal/isolate"
	"github.com/LogicIQ/konductor/e2e/cluster/internal/relay"
	"github.com/LogicIQ/konductor/e2e/internal/process"
)

// Descriptors that the supervisor inherits. The starting process creates the listeners: a socket belongs to the network namespace
// it was created in, so the relay's is on the host's loopback although the supervisor isn't.
const (
	controlFD = 3
	relayFD   = 4
)

// errNodeRefused marks failures on a machine that doesn't allow a node.
var errNodeRefused = errors.New("this machine does not allow it")

type supervisor struct {
	record     Record
	plan       component.Plan
	processes  *process.Group
	components *componentset.Set
	logf       func(format string, args ...any)
}

// Run supervises the cluster in dir until ctx is done or the process gets SIGTERM.
func Run(ctx context.Context, dir string, logf func(format string, args ...any)) error {
	ctx, cancel := signal.NotifyContext(ctx, syscall.SIGTERM)
	defer cancel()
	record, err := Load(dir)
	if err != nil {
		return err
	}
	control, err := listenerFromFD(controlFD)
	if err != nil {
		return err
	}
	group := process.NewGroup()
	s := &supervisor{
		record:     record,
		plan:       record.componentPlan(),
		processes:  group,
		components: componentset.NewSet(group, componentset.Options{Restart: true, Log: logf}),
		logf:       logf,
	}
	var importImage func(context.Context, io.Reader) error
	if record.Node != nil {
		importImage = s.importImage
	}
	server := componentset.NewServer(s.components, importImage)
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
		server.ReportStarted(err, errors.Is(err, errNodeRefused))
		return nil // stay, to report what went wrong
	})
	err = services.Wait()
	return errors.Join(err, s.components.Close(context.WithoutCancel(ctx)))
}

func listenerFromFD(fd uintptr) (net.Listener, error) {
	f := os.NewFile(fd, "listener")
	defer func() { _ = f.Close() }()
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("descriptor %d is no listener: this command is for \"cluster up\" to use: %w", fd, err)
	}
	return l, nil
}

func (s *supervisor) start(ctx context.Context, services *errgroup.Group) error {
	for _, c := range []component.Component{s.plan.Etcd(), s.plan.APIServer(), s.plan.ControllerManager()} {
		s.components.Add(c)
	}
	if s.record.Node == nil {
		return s.components.BringUp(ctx)
	}
	if err := s.setUpNamespaces(); err != nil {
		return fmt.Errorf("%w: %w", errNodeRefused, err)
	}
	services.Go(func() error {
		s.processes.ReapOrphans(ctx.Done())
		return nil
	})
	if err := s.startRelay(ctx, services); err != nil {
		return err
	}
	return s.startNode(ctx)
}

// setUpNamespaces sets up the namespaces that this process was started in.
func (s *supervisor) setUpNamespaces() error {
	return isolate.Enter(isolate.Options{
		Hostname: component.NodeName,
		BindMounts: map[string]string{
			insideDir:  DataDir(s.record.Dir),
			insideLogs: LogDir(s.record.Dir),
		},
		KeepVisible: []string{s.record.ToolsDir},
		// Nothing listens on the second, so that a DNS lookup fails at once.
		Addresses:     []string{component.ServiceIP + "/32", component.DNSServerIP + "/32"},
		Bridge:        component.Bridge,
		BridgeAddress: component.NodeIP + "/" + prefixLength(component.PodCIDR),
	})
}

func prefixLength(cidr string) string {
	_, bits, _ := strings.Cut(cidr, "/")
	return bits
}

// startRelay forwards connections from the host to the API server.
func (s *supervisor) startRelay(ctx context.Context, services *errgroup.Group) error {
	l, err := listenerFromFD(relayFD)
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
		}, nil)
	})
	return nil
}

// startNode starts each component as early as its requirements allow.
func (s *supervisor) startNode(ctx context.Context) error {
	if err := s.plan.WriteNodeConfig(*s.record.Node); err != nil {
		return err
	}
	for _, c := range []component.Component{s.plan.Scheduler(), s.plan.Containerd(), s.plan.Kubelet()} {
		s.components.Add(c)
	}
	if err := s.components.Launch(component.Containerd); err != nil {
		return err
	}
	parts, ctx := errgroup.WithContext(ctx)
	parts.Go(func() error {
		if err := s.components.WaitHealthy(ctx, component.Containerd); err != nil {
			return err
		}
		return s.importArchives(ctx)
	})
	parts.Go(func() error { return s.components.BringUp(ctx) })
	return parts.Wait()
}

// importArchives imports the images that "up" has written.
func (s *supervisor) importArchives(ctx context.Context) error {
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

func (s *supervisor) importImage(ctx context.Context, tar io.Reader) error {
	cmd := exec.Command(s.record.Binaries["ctr"],
		"--address", s.plan.Layout.Socket(component.Containerd), "--namespace", "k8s.io",
		"images", "import", "--local", "--snapshotter", s.record.Node.Snapshotter, "-")
	cmd.Env = []string{"TMPDIR=" + s.plan.Layout.Dir}
	cmd.Stdin = tar
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := s.processes.Run(ctx, cmd); err != nil {
		return fmt.Errorf("import image: %w: %s", err, strings.TrimSpace(out.String()))
	}
	return nil
}

package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/LogicIQ/konductor/e2e/cluster/internal/component"
	"github.com/LogicIQ/konductor/e2e/cluster/internal/isolate"
	"github.com/LogicIQ/konductor/e2e/cluster/internal/state"
	"github.com/LogicIQ/konductor/e2e/cluster/internal/supervisor"
	"github.com/LogicIQ/konductor/e2e/cluster/toolchain"
	"github.com/LogicIQ/konductor/e2e/internal/credentials"
)

// clusterStarter starts the cluster of one directory, whose lock is held.
type clusterStarter struct {
	dir   string
	tools *toolchain.Toolchain
	log   func(format string, args ...any)
}

// start starts a cluster with a node, or without one if noNode gives a reason.
func (s clusterStarter) start(ctx context.Context, noNode string) (*Cluster, error) {
	var node *component.NodeSetup
	var binaries map[string]string
	var err error
	if noNode == "" {
		node, binaries, err = s.prepareNode(ctx)
	} else {
		binaries, err = s.tools.Paths(ctx, component.Etcd, component.APIServer, component.ControllerManager)
	}
	if err != nil {
		return nil, s.cleanUpAfterFailure(ctx, err)
	}
	begin := time.Now()
	c, err := s.launchSupervisor(ctx, supervisor.Record{
		ID:            supervisor.ClusterID(s.dir),
		Dir:           s.dir,
		Created:       begin,
		ControlSocket: supervisor.ControlSocket(s.dir),
		Node:          node,
		NoNodeReason:  noNode,
		Binaries:      binaries,
		ToolsDir:      s.tools.CacheDir(),
	})
	if err != nil {
		return nil, s.cleanUpAfterFailure(ctx, err)
	}
	if err := c.waitReady(ctx); err != nil {
		return nil, s.cleanUpAfterFailure(ctx, err)
	}
	what := "control plane ready"
	if c.HasNode() {
		what = "node Ready"
	}
	s.log("%s in %s", what, time.Since(begin).Round(100*time.Millisecond))
	s.log("export KUBECONFIG=%s", c.Kubeconfig())
	return c, nil
}

// cleanUpAfterFailure stops what was started. The logs stay, unless the caller canceled the start, or another attempt follows.
func (s clusterStarter) cleanUpAfterFailure(ctx context.Context, err error) error {
	cleanup := context.WithoutCancel(ctx)
	if ctx.Err() != nil {
		return errors.Join(err, removeCluster(cleanup, s.dir))
	}
	err = errors.Join(err, endProcesses(cleanup, s.dir))
	if errors.Is(err, errNoNode) {
		return errors.Join(err, supervisor.RemoveFiles(s.dir))
	}
	if entries, _ := os.ReadDir(supervisor.LogDir(s.dir)); len(entries) == 0 {
		return errors.Join(err, removeCluster(cleanup, s.dir))
	}
	return fmt.Errorf("%w\nthe logs are in %s", err, supervisor.LogDir(s.dir))
}

// launchSupervisor writes the record and starts the supervisor.
func (s clusterStarter) launchSupervisor(ctx context.Context, r supervisor.Record) (*Cluster, error) {
	relay, err := s.assignPorts(&r)
	if err != nil {
		return nil, err
	}
	if relay != nil {
		defer func() { _ = relay.Close() }()
	}
	if err := s.writeCredentials(&r); err != nil {
		return nil, err
	}
	if err := s.installSupervisorBinary(ctx); err != nil {
		return nil, err
	}
	control, err := listenUnix(r.ControlSocket)
	if err != nil {
		return nil, err
	}
	defer func() { _ = control.Close() }()
	files := []*os.File{control}
	attr := &syscall.SysProcAttr{Setsid: true}
	if r.Node != nil {
		files = append(files, relay)
		attr = isolate.SysProcAttr()
	}
	logFile, err := os.OpenFile(filepath.Join(supervisor.LogDir(s.dir), supervisor.ComponentName+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer func() { _ = logFile.Close() }()

	cmd := exec.Command(supervisor.Binary(s.dir), "supervise", "--dir", s.dir)
	cmd.Dir = "/"
	cmd.Env = append(state.MarkerEnv(s.dir, supervisor.ComponentName), "PATH="+os.Getenv("PATH"), "HOME="+s.dir)
	cmd.Stdout, cmd.Stderr = logFile, logFile
	cmd.ExtraFiles = files
	cmd.SysProcAttr = attr
	if err := cmd.Start(); err != nil {
		if r.Node != nil && errors.Is(err, syscall.EPERM) {
			return nil, fmt.Errorf("%w: namespaces are not permitted: %w", errNoNode, err)
		}
		return nil, fmt.Errorf("start the supervisor: %w", err)
	}
	go func() { _ = cmd.Wait() }() // so that it doesn't stay as a zombie of a long-lived caller
	if r.Supervisor, err = state.Identify(cmd.Process.Pid); err != nil {
		return nil, fmt.Errorf("the supervisor ended at once: %w", err)
	}
	if err := r.Save(); err != nil {
		return nil, err
	}
	return newCluster(r), nil
}

// assignPorts decides where the API server listens. With a node that is inside its network namespace, and the returned listener
// is on the host.
func (s clusterStarter) assignPorts(r *supervisor.Record) (relay *os.File, err error) {
	if r.Node == nil {
		r.Ports, err = freePorts()
		r.Access.Server = fmt.Sprintf("https://127.0.0.1:%d", r.Ports.APIServer)
		r.InsideAccess.Server = r.Access.Server
		return nil, err
	}
	r.Ports = component.StandardPorts()
	r.InsideAccess.Server = fmt.Sprintf("https://127.0.0.1:%d", r.Ports.APIServer)
	listener, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	defer func() { _ = listener.Close() }() // the file is a duplicate
	r.Access.Server = "https://" + listener.Addr().String()
	return listener.File()
}

func (s clusterStarter) writeCredentials(r *supervisor.Record) error {
	inside, err := component.WriteCredentials(r.Layout(false), r.InsideAccess.Server)
	if err != nil {
		return err
	}
	outside := inside
	outside.Server = r.Access.Server
	r.InsideAccess, r.Access = inside, outside
	if err := credentials.WriteKubeconfig(outside.Config(), "", supervisor.Kubeconfig(s.dir)); err != nil {
		return err
	}
	return r.Save()
}

// listenUnix returns a listener as a file to inherit. Its socket stays when the file is closed here.
func listenUnix(path string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	if err := os.RemoveAll(path); err != nil {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	defer func() { _ = l.Close() }()
	l.SetUnlinkOnClose(false)
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, err
	}
	return l.File()
}

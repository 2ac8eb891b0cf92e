package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/LogicIQ/konductor/e2e/cluster/toolchain"
)

// koncliPath and kubectlPath are the paths of the program under test and of the kubectl that it is a plugin of.
var koncliPath, kubectlPath string

// buildPrograms builds both, and returns a function that removes koncli again. They are built before the first test: without a
// build cache that takes minutes, more than the timeout of a test.
func buildPrograms(ctx context.Context) (remove func() error, err error) {
	tools, err := toolchain.Open(func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) })
	if err != nil {
		return nil, err
	}
	if kubectlPath, err = tools.Path(ctx, "kubectl"); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "koncli-")
	if err != nil {
		return nil, err
	}
	koncliPath = filepath.Join(dir, "koncli")
	build := exec.CommandContext(ctx, "go", "build", "-o", koncliPath, "./plugins/konductor")
	build.Dir = "../.."
	remove = func() error { return os.RemoveAll(dir) }
	if out, err := build.CombinedOutput(); err != nil {
		return nil, errors.Join(fmt.Errorf("building koncli: %w\n%s", err, out), remove())
	}
	return remove, nil
}

type koncliProcess struct {
	env        *testEnv
	cmd        *exec.Cmd
	scratchDir string // also in $DIR
	output     *syncBuffer
	done       chan struct{}
}

// syncBuffer collects a program's standard error.
type syncBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *syncBuffer) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *syncBuffer) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// startKoncli starts koncli in the test's namespace. It is killed when the test ends.
func (w *testEnv) startKoncli(args ...string) *koncliProcess {
	w.Helper()
	return w.startKoncliWithKubeconfig(w.adminKubeconfig, args...)
}

func (w *testEnv) startKoncliWithKubeconfig(kubeconfig string, args ...string) *koncliProcess {
	w.Helper()
	return w.startKoncliWithEnv(nil, kubeconfig, args...)
}

// startKoncliWithEnv is startKoncliWithKubeconfig with further environment variables, as NAME=VALUE.
func (w *testEnv) startKoncliWithEnv(environment []string, kubeconfig string, args ...string) *koncliProcess {
	w.Helper()
	return w.startProgram(koncliPath, environment, kubeconfig, nil, args...)
}

// startProgram starts the koncli at that path. Its output goes to out; if that is nil, it is collected.
func (w *testEnv) startProgram(path string, environment []string, kubeconfig string, out *os.File, args ...string) *koncliProcess {
	w.Helper()
	p := &koncliProcess{env: w, scratchDir: w.TempDir(), output: &syncBuffer{}, done: make(chan struct{})}
	p.cmd = exec.Command(path, append([]string{"--kubeconfig", kubeconfig, "--namespace", w.namespace}, args...)...)
	p.cmd.Env = append(append(os.Environ(), "DIR="+p.scratchDir), environment...)
	p.cmd.Stdout, p.cmd.Stderr = p.output, p.output
	if out != nil {
		p.cmd.Stdout, p.cmd.Stderr = out, out
	}
	// A child that is left behind by a failing test must not keep the test from ending.
	p.cmd.WaitDelay = time.Second
	w.must(p.cmd.Start())
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait()
	}()
	w.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.done
		if w.Failed() {
			w.Logf("koncli %s said:\n%s", strings.Join(args, " "), p.output)
		}
	})
	return p
}

// expectExit waits until the program has ended, and checks its exit code.
func (p *koncliProcess) expectExit(code int) {
	p.env.Helper()
	p.env.waitClosed(p.done, "the end of koncli")
	if got := p.cmd.ProcessState.ExitCode(); got != code {
		p.env.Errorf("koncli %s ended with exit code %d, want %d; it said:\n%s", strings.Join(p.cmd.Args[5:], " "), got, code, p.output)
	}
}

// waitForOutput waits until the program's output contains part.
func (p *koncliProcess) waitForOutput(part string) {
	p.env.Helper()
	p.env.waitUntil(fmt.Sprintf("koncli to say %q", part), func() bool { return strings.Contains(p.output.String(), part) })
}

// waitForFile waits until the command that the program runs has written a line to that file, and returns it.
func (p *koncliProcess) waitForFile(name string) string {
	p.env.Helper()
	var line string
	p.env.waitUntil("a line in "+name, func() bool {
		b, err := os.ReadFile(filepath.Join(p.scratchDir, name))
		line = strings.TrimSpace(string(b))
		return err == nil && strings.HasSuffix(string(b), "\n")
	})
	return line
}

// writeFile writes a file for the command that the program runs.
func (p *koncliProcess) writeFile(name string) {
	p.env.Helper()
	p.env.must(os.WriteFile(filepath.Join(p.scratchDir, name), []byte("now\n"), 0o600))
}

// waitForPID is waitForFile for a process ID.
func (p *koncliProcess) waitForPID(name string) int {
	p.env.Helper()
	pid, err := strconv.Atoi(p.waitForFile(name))
	p.env.must(err)
	return pid
}

func (p *koncliProcess) signal(sig syscall.Signal) {
	p.env.Helper()
	p.env.must(p.cmd.Process.Signal(sig))
}

// waitUntil polls for changes that can't be watched: processes and their output.
func (w *testEnv) waitUntil(what string, condition func() bool) {
	w.Helper()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	end := time.NewTimer(waitTimeout)
	defer end.Stop()
	for !condition() {
		select {
		case <-look.C:
		case <-end.C:
			w.Fatalf("waited in vain for %s", what)
		}
	}
}

// hasProcessEnded reports whether a process has ended, even if it is a zombie.
func hasProcessEnded(pid int) bool {
	if syscall.Kill(pid, 0) == syscall.ESRCH {
		return true
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return os.IsNotExist(err) || strings.Contains(string(stat), ") Z ")
}

// tcpProxy is a proxy to the API server that can be disconnected.
type tcpProxy struct {
	listener net.Listener
	target   string

	mu           sync.Mutex
	disconnected bool
	conns        map[net.Conn]bool
}

// newTCPProxy returns a proxy to the API server and a kubeconfig that uses it.
func (w *testEnv) newTCPProxy() (kubeconfig string, t *tcpProxy) {
	w.Helper()
	config, err := clientcmd.LoadFromFile(w.adminKubeconfig)
	w.must(err)
	t = &tcpProxy{conns: map[net.Conn]bool{}}
	t.listener, err = net.Listen("tcp", "127.0.0.1:0")
	w.must(err)
	for _, c := range config.Clusters {
		t.target = strings.TrimPrefix(c.Server, "https://")
		c.Server = "https://" + t.listener.Addr().String()
	}
	kubeconfig = filepath.Join(w.TempDir(), "kubeconfig")
	w.must(clientcmd.WriteToFile(*config, kubeconfig))
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := t.listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { t.relay(c) })
		}
	})
	w.Cleanup(func() {
		_ = t.listener.Close()
		t.disconnect()
		serving.Wait()
	})
	return kubeconfig, t
}

func (t *tcpProxy) relay(from net.Conn) {
	to, err := net.Dial("tcp", t.target)
	if err != nil || !t.track(from, to) {
		_ = from.Close()
		if to != nil {
			_ = to.Close()
		}
		return
	}
	defer t.closeConns(from, to)
	var both sync.WaitGroup
	both.Go(func() { _, _ = io.Copy(to, from); t.closeConns(from, to) })
	both.Go(func() { _, _ = io.Copy(from, to); t.closeConns(from, to) })
	both.Wait()
}

// track adds connections that disconnect has to close. It returns false while the proxy is disconnected.
func (t *tcpProxy) track(conns ...net.Conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range conns {
		if !t.disconnected {
			t.conns[c] = true
		}
	}
	return !t.disconnected
}

func (t *tcpProxy) closeConns(conns ...net.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range conns {
		_ = c.Close()
		delete(t.conns, c)
	}
}

// disconnect closes all connections, and new ones until reconnect.
func (t *tcpProxy) disconnect() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.disconnected = true
	for c := range t.conns {
		_ = c.Close()
	}
}

// reconnect lets connections through again.
func (t *tcpProxy) reconnect() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.disconnected = false
}

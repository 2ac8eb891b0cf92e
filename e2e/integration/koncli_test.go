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

// buildPrograms builds both, and returns what removes koncli again. They are built before the first test: where nothing
// has been compiled yet that takes minutes, more than a test has.
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

// program is a koncli process.
type program struct {
	w    *world
	cmd  *exec.Cmd
	dir  string // which it finds as $DIR
	out  *output
	done chan struct{}
}

// output is what a program has written to its standard error.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// koncli starts koncli in the test's namespace. It is killed when the test ends.
func (w *world) koncli(args ...string) *program {
	w.Helper()
	return w.koncliWith(w.kubeconfig, args...)
}

func (w *world) koncliWith(kubeconfig string, args ...string) *program {
	w.Helper()
	return w.koncliIn(nil, kubeconfig, args...)
}

// koncliIn is koncliWith with further environment variables, as NAME=VALUE.
func (w *world) koncliIn(environment []string, kubeconfig string, args ...string) *program {
	w.Helper()
	p := &program{w: w, dir: w.TempDir(), out: &output{}, done: make(chan struct{})}
	p.cmd = exec.Command(koncliPath, append([]string{"--kubeconfig", kubeconfig, "--namespace", w.namespace}, args...)...)
	p.cmd.Env = append(append(os.Environ(), "DIR="+p.dir), environment...)
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	// Who is left behind by a test that fails must not keep the test from ending.
	p.cmd.WaitDelay = time.Second
	w.ok(p.cmd.Start())
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait()
	}()
	w.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.done
		if w.Failed() {
			w.Logf("koncli %s said:\n%s", strings.Join(args, " "), p.out)
		}
	})
	return p
}

// exits waits until the program has ended, and checks its exit code.
func (p *program) exits(code int) {
	p.w.Helper()
	p.w.closes(p.done, "the end of koncli")
	if got := p.cmd.ProcessState.ExitCode(); got != code {
		p.w.Errorf("koncli %s ended with exit code %d, want %d; it said:\n%s", strings.Join(p.cmd.Args[5:], " "), got, code, p.out)
	}
}

// says waits until the program has said something that contains part.
func (p *program) says(part string) {
	p.w.Helper()
	p.w.await(fmt.Sprintf("koncli to say %q", part), func() bool { return strings.Contains(p.out.String(), part) })
}

// wrote waits until the command that the program runs has written a line to that file, and returns it.
func (p *program) wrote(name string) string {
	p.w.Helper()
	var line string
	p.w.await("a line in "+name, func() bool {
		b, err := os.ReadFile(filepath.Join(p.dir, name))
		line = strings.TrimSpace(string(b))
		return err == nil && strings.HasSuffix(string(b), "\n")
	})
	return line
}

// write writes a file for the command that the program runs.
func (p *program) write(name string) {
	p.w.Helper()
	p.w.ok(os.WriteFile(filepath.Join(p.dir, name), []byte("now\n"), 0o600))
}

// process is wrote for a process ID.
func (p *program) process(name string) int {
	p.w.Helper()
	pid, err := strconv.Atoi(p.wrote(name))
	p.w.ok(err)
	return pid
}

func (p *program) signal(sig syscall.Signal) {
	p.w.Helper()
	p.w.ok(p.cmd.Process.Signal(sig))
}

// await waits for what can't be watched: processes and what they write.
func (w *world) await(what string, is func() bool) {
	w.Helper()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	end := time.NewTimer(patience)
	defer end.Stop()
	for !is() {
		select {
		case <-look.C:
		case <-end.C:
			w.Fatalf("waited in vain for %s", what)
		}
	}
}

// processGone reports whether a process has ended, if perhaps nobody has asked how.
func processGone(pid int) bool {
	if syscall.Kill(pid, 0) == syscall.ESRCH {
		return true
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return os.IsNotExist(err) || strings.Contains(string(stat), ") Z ")
}

// tunnel is a way to the API server that can be cut.
type tunnel struct {
	listener net.Listener
	to       string

	mu    sync.Mutex
	isCut bool
	open  map[net.Conn]bool
}

// tunnelled returns a kubeconfig by which the API server is reached through a tunnel.
func (w *world) tunnelled() (kubeconfig string, t *tunnel) {
	w.Helper()
	config, err := clientcmd.LoadFromFile(w.kubeconfig)
	w.ok(err)
	t = &tunnel{open: map[net.Conn]bool{}}
	t.listener, err = net.Listen("tcp", "127.0.0.1:0")
	w.ok(err)
	for _, c := range config.Clusters {
		t.to = strings.TrimPrefix(c.Server, "https://")
		c.Server = "https://" + t.listener.Addr().String()
	}
	kubeconfig = filepath.Join(w.TempDir(), "kubeconfig")
	w.ok(clientcmd.WriteToFile(*config, kubeconfig))
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := t.listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { t.carry(c) })
		}
	})
	w.Cleanup(func() {
		_ = t.listener.Close()
		t.cut()
		serving.Wait()
	})
	return kubeconfig, t
}

func (t *tunnel) carry(from net.Conn) {
	to, err := net.Dial("tcp", t.to)
	if err != nil || !t.keep(from, to) {
		_ = from.Close()
		if to != nil {
			_ = to.Close()
		}
		return
	}
	defer t.drop(from, to)
	var both sync.WaitGroup
	both.Go(func() { _, _ = io.Copy(to, from); t.drop(from, to) })
	both.Go(func() { _, _ = io.Copy(from, to); t.drop(from, to) })
	both.Wait()
}

// keep notes connections that are to be cut when the tunnel is. It returns false when it is cut.
func (t *tunnel) keep(conns ...net.Conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range conns {
		if !t.isCut {
			t.open[c] = true
		}
	}
	return !t.isCut
}

func (t *tunnel) drop(conns ...net.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range conns {
		_ = c.Close()
		delete(t.open, c)
	}
}

// cut closes all connections, and those to come.
func (t *tunnel) cut() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.isCut = true
	for c := range t.open {
		_ = c.Close()
	}
}

// mend lets connections through again.
func (t *tunnel) mend() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.isCut = false
}

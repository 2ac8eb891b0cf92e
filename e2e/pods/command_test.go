package pods

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// outcome is what a command left behind.
type outcome struct {
	s              *scene
	line           string
	stdout, stderr string
	code           int
}

// run runs a command line as a person at a terminal would, with kubectl, koncli and the plugin on PATH and the test's
// namespace as the current one. Its words are separated by spaces; there is no quoting.
func (s *scene) run(line string) *outcome {
	s.Helper()
	return s.runAs(s.kubeconfig(), line)
}

// runAs does so with another kubeconfig.
func (s *scene) runAs(kubeconfig, line string) *outcome {
	s.Helper()
	o, err := s.execute(kubeconfig, line)
	s.ok(err)
	return o
}

// inBackground starts a command line that has to end with exit code 0.
func (s *scene) inBackground(line string) *task {
	s.Helper()
	kubeconfig := s.kubeconfig()
	return s.background(line, func() error {
		o, err := s.execute(kubeconfig, line)
		if err == nil && o.code != 0 {
			err = errors.New(o.stderr)
		}
		return err
	})
}

func (s *scene) execute(kubeconfig, line string) (*outcome, error) {
	cmd, stdout, stderr := s.shell(kubeconfig, line)
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return nil, err
	}
	return &outcome{s: s, line: line, stdout: stdout.String(), stderr: stderr.String(), code: cmd.ProcessState.ExitCode()}, nil
}

// shell returns the command line, ready to be started.
func (s *scene) shell(kubeconfig, line string) (cmd *exec.Cmd, stdout, stderr *bytes.Buffer) {
	words := strings.Fields(line)
	program := words[0]
	for _, dir := range []string{ground.bin, ground.kubectl} {
		if path := filepath.Join(dir, words[0]); !strings.Contains(words[0], "/") && isFile(path) {
			program = path
		}
	}
	cmd = exec.CommandContext(s.ctx, program, words[1:]...)
	cmd.Args[0] = words[0]
	cmd.Env = []string{
		"PATH=" + ground.bin + ":" + ground.kubectl, "KUBECONFIG=" + kubeconfig, "HOME=" + filepath.Dir(kubeconfig),
	}
	cmd.Dir = filepath.Dir(ground.bin)
	stdout, stderr = &bytes.Buffer{}, &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	return cmd, stdout, stderr
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// exits ends the test unless the command ended with that exit code.
func (o *outcome) exits(code int) *outcome {
	o.s.Helper()
	if o.code != code {
		o.s.Fatalf("%s\nended with exit code %d, not %d, and said\n%s%s", o.line, o.code, code, o.stdout, o.stderr)
	}
	return o
}

// prints checks that the command wrote each part to stdout.
func (o *outcome) prints(parts ...string) *outcome {
	o.s.Helper()
	for _, part := range parts {
		if !strings.Contains(o.stdout, part) {
			o.s.Errorf("%s\ndid not print %q but\n%s", o.line, part, o.stdout)
		}
	}
	return o
}

// says checks that the command wrote each part to stderr.
func (o *outcome) says(parts ...string) *outcome {
	o.s.Helper()
	for _, part := range parts {
		if !strings.Contains(o.stderr, part) {
			o.s.Errorf("%s\ndid not say %q but\n%s", o.line, part, o.stderr)
		}
	}
	return o
}

// kubeconfig returns an administrator's kubeconfig file whose current namespace is the test's.
func (s *scene) kubeconfig() string {
	s.Helper()
	return s.kubeconfigFor(s.config)
}

// kubeconfigFor writes a kubeconfig file for the credentials of config, and returns its path.
func (s *scene) kubeconfigFor(config *rest.Config) string {
	s.Helper()
	const name = "test"
	file := filepath.Join(s.TempDir(), "kubeconfig")
	s.ok(clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{name: {Server: config.Host, CertificateAuthorityData: config.CAData}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{name: {Token: config.BearerToken}},
		Contexts:       map[string]*clientcmdapi.Context{name: {Cluster: name, AuthInfo: name, Namespace: s.namespace}},
		CurrentContext: name,
	}, file))
	return file
}

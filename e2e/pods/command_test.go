package pods

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"k8s.io/client-go/rest"

	"github.com/LogicIQ/konductor/e2e/internal/credentials"
)

// commandResult is the result of a command.
type commandResult struct {
	env            *testEnv
	line           string
	stdout, stderr string
	exitCode       int
}

// runCommand runs a command line as at a terminal, with kubectl, koncli and the plugin on PATH and the test's namespace as the
// current one. Its words are separated by spaces; there is no quoting.
func (s *testEnv) runCommand(line string) *commandResult {
	s.Helper()
	return s.runCommandAs(s.writeAdminKubeconfig(), line)
}

// runCommandAs is runCommand with another kubeconfig.
func (s *testEnv) runCommandAs(kubeconfig, line string) *commandResult {
	s.Helper()
	o, err := s.executeCommand(kubeconfig, line)
	s.must(err)
	return o
}

// startCommand starts a command line that has to end with exit code 0.
func (s *testEnv) startCommand(line string) *backgroundCall {
	s.Helper()
	kubeconfig := s.writeAdminKubeconfig()
	return s.runInBackground(line, func() error {
		o, err := s.executeCommand(kubeconfig, line)
		if err == nil && o.exitCode != 0 {
			err = errors.New(o.stderr)
		}
		return err
	})
}

func (s *testEnv) executeCommand(kubeconfig, line string) (*commandResult, error) {
	cmd, stdout, stderr := s.newCommand(kubeconfig, line)
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return nil, err
	}
	return &commandResult{env: s, line: line, stdout: stdout.String(), stderr: stderr.String(), exitCode: cmd.ProcessState.ExitCode()}, nil
}

// newCommand returns the command line, ready to be started.
func (s *testEnv) newCommand(kubeconfig, line string) (cmd *exec.Cmd, stdout, stderr *bytes.Buffer) {
	words := strings.Fields(line)
	program := words[0]
	for _, dir := range []string{sharedCluster.bin, sharedCluster.kubectl} {
		if path := filepath.Join(dir, words[0]); !strings.Contains(words[0], "/") && isRegularFile(path) {
			program = path
		}
	}
	cmd = exec.CommandContext(s.ctx, program, words[1:]...)
	cmd.Args[0] = words[0]
	cmd.Env = []string{
		"PATH=" + sharedCluster.bin + ":" + sharedCluster.kubectl, "KUBECONFIG=" + kubeconfig, "HOME=" + filepath.Dir(kubeconfig),
	}
	cmd.Dir = filepath.Dir(sharedCluster.bin)
	stdout, stderr = &bytes.Buffer{}, &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	return cmd, stdout, stderr
}

func isRegularFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// expectExit fails the test unless the command ended with that exit code.
func (o *commandResult) expectExit(code int) *commandResult {
	o.env.Helper()
	if o.exitCode != code {
		o.env.Fatalf("%s\nended with exit code %d, not %d, and said\n%s%s", o.line, o.exitCode, code, o.stdout, o.stderr)
	}
	return o
}

// expectStdout checks that the command wrote each part to stdout.
func (o *commandResult) expectStdout(parts ...string) *commandResult {
	o.env.Helper()
	for _, part := range parts {
		if !strings.Contains(o.stdout, part) {
			o.env.Errorf("%s\ndid not print %q but\n%s", o.line, part, o.stdout)
		}
	}
	return o
}

// expectStderr checks that the command wrote each part to stderr.
func (o *commandResult) expectStderr(parts ...string) *commandResult {
	o.env.Helper()
	for _, part := range parts {
		if !strings.Contains(o.stderr, part) {
			o.env.Errorf("%s\ndid not say %q but\n%s", o.line, part, o.stderr)
		}
	}
	return o
}

// writeAdminKubeconfig returns an administrator's kubeconfig file whose current namespace is the test's.
func (s *testEnv) writeAdminKubeconfig() string {
	s.Helper()
	return s.writeKubeconfig(s.config)
}

// writeKubeconfig writes a kubeconfig file for the credentials of config, and returns its path.
func (s *testEnv) writeKubeconfig(config *rest.Config) string {
	s.Helper()
	file := filepath.Join(s.TempDir(), "kubeconfig")
	s.must(credentials.WriteKubeconfig(config, s.namespace, file))
	return file
}

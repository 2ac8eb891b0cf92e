package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/LogicIQ/konductor/e2e/cluster/internal/component"
	"github.com/LogicIQ/konductor/e2e/internal/process"
)

// Program is a program that runs beside a control plane and dies with it.
type Program struct {
	process *process.Process
	logFile string
}

// StartProgram runs a program beside the control plane: it ends with the control plane at the latest. The environment is not
// inherited. name is the name of its log; several programs may share one.
func (c *ControlPlane) StartProgram(name, path string, args, env []string) (*Program, error) {
	log := component.Layout{Dir: c.dir, Logs: filepath.Join(c.dir, "logs")}.Log(name)
	p, err := c.processes.Start(process.Spec{Name: name, Path: path, Args: args, Env: env, Log: log})
	if err != nil {
		return nil, err
	}
	return &Program{process: p, logFile: log}, nil
}

// PID returns its process id.
func (p *Program) PID() int { return p.process.PID() }

// Done is closed once the program has ended.
func (p *Program) Done() <-chan struct{} { return p.process.Done() }

// Stop sends sig and waits until the program has ended. After grace, or when ctx is done, it is killed.
func (p *Program) Stop(ctx context.Context, sig os.Signal, grace time.Duration) error {
	return p.process.Stop(ctx, sig, grace)
}

// Output returns the program's stdout and stderr.
func (p *Program) Output() string {
	text, err := os.ReadFile(p.logFile)
	if err != nil {
		return fmt.Sprintf("(no log: %v)", err)
	}
	return string(text)
}

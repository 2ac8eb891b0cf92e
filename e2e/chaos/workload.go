package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/LogicIQ/konductor/e2e/chaos/clients"
	"github.com/LogicIQ/konductor/e2e/chaos/operators"
	"github.com/LogicIQ/konductor/e2e/chaos/proxy"
	"github.com/LogicIQ/konductor/e2e/internal/credentials"
)

// workload is the operators and clients of one namespace.
type workload struct {
	env            *clients.Env
	proxy          *proxy.Proxy // between the clients and the API server
	leaderElection bool
	operators      []*operators.Operator
}

func (c *campaign) newWorkload(name OperatorMode) (*workload, error) {
	directConfig := c.testCluster.controlPlane.Config()
	rng := c.newChildRNG()
	faultProxy, err := proxy.New(directConfig, rng, c.testCluster.controlPlane.SecondHost())
	if err != nil {
		return nil, err
	}
	config := faultProxy.Config(directConfig)
	kubeconfig := filepath.Join(c.Dir, fmt.Sprintf("clients-%s.kubeconfig", name))
	if err := credentials.WriteKubeconfig(config, metav1.NamespaceDefault, kubeconfig); err != nil {
		return nil, errors.Join(err, faultProxy.Close())
	}
	env := &clients.Env{
		Namespace: fmt.Sprintf("%s-%d", name, c.testCluster.campaignCount),
		Leases:    []string{"migration", "report"}, Semaphores: map[string]int32{"connections": 3, "workers": 6},
		Registers: map[string]*clients.FencedRegister{}, Barriers: &clients.BarrierBoard{},
		Config: config, Kubeconfig: kubeconfig, Koncli: c.Koncli, Objects: c.testCluster.client, Kube: c.testCluster.kube, AdminUser: c.testCluster.adminUser,
		Processes: c.processes, Recorder: c.opRecorder,
	}
	if c.SingleSemaphore {
		env.Leases, env.Semaphores = nil, map[string]int32{"workers": 4}
	}
	for _, lease := range env.Leases {
		env.Registers[lease] = &clients.FencedRegister{}
	}
	return &workload{env: env, proxy: faultProxy, leaderElection: name == LeaderElected}, nil
}

func (c *campaign) startOperators(a *workload) error {
	for i := range 2 {
		const hour = 3600
		op, err := operators.Start(c.processes, operators.Options{
			Name: fmt.Sprintf("operator-%s-%d", a.env.Namespace, i), Binary: c.Koncli, Config: c.testCluster.operatorConfig, OtherHosts: []string{c.testCluster.controlPlane.SecondHost()},
			Namespace: a.env.Namespace, LeaderElection: a.leaderElection, ClockSkews: []int{0, hour, -hour}, Env: c.OperatorEnv, Dir: c.Dir, Rng: c.newChildRNG(),
		})
		if err != nil {
			return err
		}
		a.operators = append(a.operators, op)
	}
	return nil
}

// startClients starts the clients of a workload, which work until e.faultsOver is closed.
func (c *campaign) startClients(a *workload, e *campaignResult) error {
	prefix := a.env.Namespace[:4]
	start := func(run func(context.Context, <-chan struct{}) error) {
		e.clients.Go(func() error { return run(e.clientCtx, e.faultsOver) })
	}
	for i := range c.SDKClients {
		client, err := clients.NewSDKClient(e.clientCtx, a.env, fmt.Sprintf("%s-sdk%02d", prefix, i), c.newChildRNG())
		if err != nil {
			return err
		}
		start(client.Run)
	}
	for i := range c.JobClients {
		start(clients.NewJobClient(a.env, fmt.Sprintf("%s-job%02d", prefix, i), c.newChildRNG()).Run)
		start(clients.NewPodClient(a.env, fmt.Sprintf("%s-pod%02d", prefix, i), c.newChildRNG()).Run)
	}
	for i := range c.CommandClients {
		start(clients.NewKoncliClient(a.env, fmt.Sprintf("%s-cmd%02d", prefix, i), c.newChildRNG()).Run)
	}
	return nil
}

// findCrashes returns the lines of an operator's log that report a crash or a data race.
func findCrashes(op *operators.Operator) (found []string, err error) {
	text, err := os.ReadFile(op.LogFile())
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(text)) {
		for _, sign := range []string{"panic:", "fatal error:", "DATA RACE", "Observed a panic"} {
			if strings.Contains(line, sign) {
				found = append(found, op.Name+": "+strings.TrimSpace(line))
			}
		}
	}
	return found, nil
}

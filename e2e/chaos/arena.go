package chaos

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/LogicIQ/konductor/e2e/chaos/clients"
	"github.com/LogicIQ/konductor/e2e/chaos/operators"
)

// arena is a namespace with operators and clients of its own.
type arena struct {
	place     *clients.Place
	elects    bool
	operators []*operators.Operator
}

func (c *campaign) newArena(name Place, kubeconfig string) *arena {
	place := &clients.Place{
		Namespace: fmt.Sprintf("%s-%d", name, c.site.campaigns),
		Leases:    []string{"migration", "report"}, Semaphores: map[string]int32{"connections": 3, "workers": 6},
		Registers: map[string]*clients.Register{}, Barriers: &clients.Board{},
		Config: c.site.plane.Config(), Kubeconfig: kubeconfig, Koncli: c.Koncli, Objects: c.site.objects, Admin: c.site.admin,
		Processes: c.group, Recorder: c.recorder,
	}
	if c.OnePool {
		place.Leases, place.Semaphores = nil, map[string]int32{"workers": 4}
	}
	for _, lease := range place.Leases {
		place.Registers[lease] = &clients.Register{}
	}
	return &arena{place: place, elects: name == OneActs}
}

func (c *campaign) startOperators(a *arena) error {
	for i := range 2 {
		const hour = 3600
		op, err := operators.Start(c.group, operators.Options{
			Name: fmt.Sprintf("operator-%s-%d", a.place.Namespace, i), Binary: c.Koncli, Config: c.site.operators,
			Namespace: a.place.Namespace, Elect: a.elects, Skews: []int{0, hour, -hour}, Env: c.Env, Dir: c.Dir, Rng: c.child(),
		})
		if err != nil {
			return err
		}
		a.operators = append(a.operators, op)
	}
	return nil
}

// startClients starts the clients of an arena, to work until e.working is closed.
func (c *campaign) startClients(a *arena, e *ending) error {
	prefix := a.place.Namespace[:4]
	start := func(run func(context.Context, <-chan struct{}) error) {
		e.clients.Go(func() error { return run(e.life, e.working) })
	}
	for i := range c.SDK {
		client, err := clients.NewSDK(e.life, a.place, fmt.Sprintf("%s-sdk%02d", prefix, i), c.child())
		if err != nil {
			return err
		}
		start(client.Run)
	}
	for i := range c.Commands {
		start(clients.NewKoncli(a.place, fmt.Sprintf("%s-cmd%02d", prefix, i), c.child()).Run)
	}
	return nil
}

// crashesIn returns the lines of an operator's log that tell of a crash or a race.
func crashesIn(op *operators.Operator) (found []string, err error) {
	text, err := os.ReadFile(op.Log())
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

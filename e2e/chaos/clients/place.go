// Package clients is the workload: SDK clients in this process and koncli
// processes of their own, which do random things with a few leases, semaphores
// and barriers, and write down what they asked for and what came of it.
package clients

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/LogicIQ/konductor/e2e/chaos/history"
	"github.com/LogicIQ/konductor/e2e/internal/process"
)

// Place is where clients meet: a namespace with what there is to contend for.
type Place struct {
	Namespace string
	// Leases and Semaphores are there, or are about to come back.
	Leases []string
	// Semaphores have at most that many permits, by name.
	Semaphores map[string]int32
	// Registers are what the leases protect, by the lease's name.
	Registers map[string]*Register
	// Barriers are those to meet at.
	Barriers *Board

	// Config is how clients in this process reach the API server, Kubeconfig how those in others do.
	Config     *rest.Config
	Kubeconfig string
	// Koncli is the binary.
	Koncli string
	// Objects creates what neither SDK nor koncli would, in the name of Admin.
	Objects client.Client
	Admin   string
	// Processes are those of koncli.
	Processes *process.Group
	Recorder  *history.Recorder
}

// Board lists the barriers of a place. The newest are the ones to meet at.
type Board struct {
	mu    sync.Mutex
	names []string
}

// Add puts up another barrier.
func (b *Board) Add(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.names = append(b.names, name)
}

// pick returns one of the newest, or "" when there is none.
func (b *Board) pick(rng *rand.Rand) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	const newest = 3
	n := min(len(b.names), newest)
	if n == 0 {
		return ""
	}
	return b.names[len(b.names)-1-rng.IntN(n)]
}

// request is one acquire, as decided by chance.
type request struct {
	kind, name string
	holder     string
	permits    int32
	priority   int32
	ttl        time.Duration
	timeout    time.Duration // zero: none
	noWait     bool
	quitAfter  time.Duration // the client loses patience; zero: it doesn't
	final      bool          // asked after the last fault
}

// op returns the request as an op.
func (r request) op(clientName, namespace string) history.Op {
	return history.Op{
		Client: clientName, Namespace: namespace, Action: history.Acquire, Kind: r.kind, Object: r.name, Holder: r.holder,
		Permits: r.permits, Priority: r.priority, TTL: r.ttl, Timeout: r.timeout, NoWait: r.noWait, Final: r.final,
	}
}

// person is what SDK clients and koncli clients have in common: a name, chance, and a count of what they have done.
type person struct {
	place *Place
	name  string
	rng   *rand.Rand
	turn  int
}

// decide makes up an acquire. Each has a holder of its own, which therefore names the request as well.
func (p *person) decide() request {
	p.turn++
	r := request{kind: "Lease", permits: 1, holder: fmt.Sprintf("%s-%d", p.name, p.turn)}
	names := p.place.Leases
	if len(names) == 0 || p.oneIn(2) {
		r.kind, names = "Semaphore", sorted(p.place.Semaphores)
	}
	r.name = names[p.rng.IntN(len(names))]
	if r.kind == "Semaphore" {
		most := p.place.Semaphores[r.name]
		r.permits = 1 + p.rng.Int32N(2)
		if p.oneIn(8) {
			r.permits = 1 + p.rng.Int32N(most+1) // perhaps one more than there ever are
		}
	}
	r.priority = []int32{0, 0, 0, 0, 1, 5}[p.rng.IntN(6)]
	r.ttl = time.Duration(3+p.rng.IntN(3)) * time.Second
	switch p.rng.IntN(8) {
	case 0, 1:
		r.noWait = true
	case 2, 3:
		r.timeout = p.between(200*time.Millisecond, 3*time.Second)
	case 4:
		r.quitAfter = p.between(10*time.Millisecond, 2*time.Second)
	}
	return r
}

// wants makes up an acquire of that object after the last fault, which waits until it is served.
func (p *person) wants(kind, name string) request {
	p.turn++
	return request{kind: kind, name: name, holder: fmt.Sprintf("%s-%d", p.name, p.turn), permits: 1, ttl: 5 * time.Second, final: true}
}

func (p *person) oneIn(n int) bool { return p.rng.IntN(n) == 0 }

func (p *person) between(least, most time.Duration) time.Duration {
	return least + time.Duration(p.rng.Int64N(int64(most-least)))
}

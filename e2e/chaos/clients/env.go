// Package clients is the workload: SDK clients in this process, koncli processes, and held Jobs and Pods, which use a few
// leases, semaphores and barriers at random, and record their requests and the responses.
package clients

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/LogicIQ/konductor/e2e/chaos/history"
	"github.com/LogicIQ/konductor/e2e/internal/process"
)

// Env is the environment of the clients of one namespace.
type Env struct {
	Namespace string
	// Leases are the names of the leases. Each exists, or is about to be created again.
	Leases []string
	// Semaphores are the semaphores by name, with the maximum number of permits that each ever has.
	Semaphores map[string]int32
	// Registers are the registers that the leases protect, by the lease's name.
	Registers map[string]*FencedRegister
	// Barriers are the barriers that clients use.
	Barriers *BarrierBoard

	// Config is for clients in this process, Kubeconfig for koncli processes.
	Config     *rest.Config
	Kubeconfig string
	// Koncli is the path of the binary.
	Koncli string
	// Objects and Kube create what neither SDK nor koncli would, as AdminUser.
	Objects   client.Client
	Kube      kubernetes.Interface
	AdminUser string
	// Processes are the koncli processes.
	Processes *process.Group
	Recorder  *history.Recorder
}

// BarrierBoard lists the barriers of a namespace. Clients use the newest ones.
type BarrierBoard struct {
	mu    sync.Mutex
	names []string
}

// Add adds a barrier.
func (b *BarrierBoard) Add(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.names = append(b.names, name)
}

// pickRecent returns one of the newest barriers, or "" when there is none.
func (b *BarrierBoard) pickRecent(rng *rand.Rand) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	const newest = 3
	n := min(len(b.names), newest)
	if n == 0 {
		return ""
	}
	return b.names[len(b.names)-1-rng.IntN(n)]
}

// request is one randomly chosen acquire.
type request struct {
	kind, name  string
	holder      string
	permits     int32
	priority    int32
	ttl         time.Duration
	timeout     time.Duration // zero: none
	noWait      bool
	cancelAfter time.Duration // the client cancels the acquire; zero: it doesn't
	final       bool          // asked after the last fault
}

// toOp returns the request as an op.
func (r request) toOp(clientName, namespace string) history.Op {
	return history.Op{
		Client: clientName, Namespace: namespace, Action: history.Acquire, Kind: r.kind, Object: r.name, Holder: r.holder,
		Permits: r.permits, Priority: r.priority, TTL: r.ttl, Timeout: r.timeout, NoWait: r.noWait, Final: r.final,
	}
}

// randomClient is what SDK clients and koncli clients have in common: a name, a random source, and a count of requests.
type randomClient struct {
	env          *Env
	name         string
	rng          *rand.Rand
	requestCount int
}

// randomRequest returns a random acquire. Each has a holder of its own, which therefore identifies the request as well.
func (p *randomClient) randomRequest() request {
	p.requestCount++
	r := request{kind: "Lease", permits: 1, holder: fmt.Sprintf("%s-%d", p.name, p.requestCount)}
	names := p.env.Leases
	if len(names) == 0 || p.oneIn(2) {
		r.kind, names = "Semaphore", sortedKeys(p.env.Semaphores)
	}
	r.name = names[p.rng.IntN(len(names))]
	if r.kind == "Semaphore" {
		most := p.env.Semaphores[r.name]
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
		r.timeout = p.randomDuration(200*time.Millisecond, 3*time.Second)
	case 4:
		r.cancelAfter = p.randomDuration(10*time.Millisecond, 2*time.Second)
	}
	return r
}

// finalRequest returns an acquire of that object after the last fault, which waits until it is served.
func (p *randomClient) finalRequest(kind, name string) request {
	p.requestCount++
	return request{kind: kind, name: name, holder: fmt.Sprintf("%s-%d", p.name, p.requestCount), permits: 1, ttl: 5 * time.Second, final: true}
}

func (p *randomClient) oneIn(n int) bool { return p.rng.IntN(n) == 0 }

func (p *randomClient) randomDuration(least, most time.Duration) time.Duration {
	return RandomDuration(p.rng, least, most)
}

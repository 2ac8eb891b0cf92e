package clients

import "sync"

// Register is a resource that a lease protects and that looks at nothing but fencing tokens: it refuses what comes with
// a smaller token than it has seen.
type Register struct {
	mu       sync.Mutex
	highest  int64
	value    int
	accepted int
	refused  int
}

// Read returns the value, unless the token is too small.
func (r *Register) Read(token int64) (value int, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.value, r.admit(token)
}

// Write sets the value, unless the token is too small.
func (r *Register) Write(token int64, value int) (ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.admit(token) {
		return false
	}
	r.value = value
	r.accepted++
	return true
}

func (r *Register) admit(token int64) bool {
	if token < r.highest {
		r.refused++
		return false
	}
	r.highest = token
	return true
}

// Totals returns the value, how many writes were accepted, each of which has added one to what it had read, and how many
// reads and writes were refused.
func (r *Register) Totals() (value, accepted, refused int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.value, r.accepted, r.refused
}

package clients

import "sync"

// FencedRegister is a resource that a lease protects and that checks fencing tokens only: it rejects a request with a smaller
// token than it has seen.
type FencedRegister struct {
	mu             sync.Mutex
	highestToken   int64
	value          int
	acceptedWrites int
}

// Read returns the value, unless the token is too small.
func (r *FencedRegister) Read(token int64) (value int, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.value, r.acceptsToken(token)
}

// Write sets the value, unless the token is too small.
func (r *FencedRegister) Write(token int64, value int) (ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.acceptsToken(token) {
		return false
	}
	r.value = value
	r.acceptedWrites++
	return true
}

func (r *FencedRegister) acceptsToken(token int64) bool {
	if token < r.highestToken {
		return false
	}
	r.highestToken = token
	return true
}

// Totals returns the value, and how many writes were accepted, each of which has added one to what it had read.
func (r *FencedRegister) Totals() (value, accepted int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.value, r.acceptedWrites
}

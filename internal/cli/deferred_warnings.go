package cli

import (
	"slices"
	"sync"

	"k8s.io/client-go/rest"
)

// deferredWarnings stores the API server's warnings while a full-screen display is shown, which they would disturb. It is
// safe for concurrent use.
type deferredWarnings struct {
	handler rest.WarningHandler // prints each warning once

	mu       sync.Mutex
	warnings []warning
}

type warning struct {
	code        int
	agent, text string
}

// HandleWarningHeader stores a warning.
func (h *deferredWarnings) HandleWarningHeader(code int, agent, text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if w := (warning{code, agent, text}); !slices.Contains(h.warnings, w) {
		h.warnings = append(h.warnings, w)
	}
}

// flush prints the stored warnings.
func (h *deferredWarnings) flush() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, w := range h.warnings {
		h.handler.HandleWarningHeader(w.code, w.agent, w.text)
	}
	h.warnings = nil
}

package printer

import (
	"slices"
	"sync"

	"k8s.io/client-go/rest"
)

// DeferredWarnings stores the API server's warnings while a full-screen display is shown, which they would disturb. It is
// safe for concurrent use.
type DeferredWarnings struct {
	Handler rest.WarningHandler // prints each warning once

	mu       sync.Mutex
	warnings []warning
}

type warning struct {
	code        int
	agent, text string
}

// HandleWarningHeader stores a warning.
func (h *DeferredWarnings) HandleWarningHeader(code int, agent, text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if w := (warning{code, agent, text}); !slices.Contains(h.warnings, w) {
		h.warnings = append(h.warnings, w)
	}
}

// Flush prints the stored warnings.
func (h *DeferredWarnings) Flush() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, w := range h.warnings {
		h.Handler.HandleWarningHeader(w.code, w.agent, w.text)
	}
	h.warnings = nil
}

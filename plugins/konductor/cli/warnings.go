package cli

import (
	"slices"
	"strings"
	"sync"

	"k8s.io/client-go/rest"
)

// heldBack keeps what the API server warns of until a screen is free again, across which it would go otherwise. It is safe
// for concurrent use.
type heldBack struct {
	to rest.WarningHandler // says each warning once

	mu       sync.Mutex
	warnings []warning
}

type warning struct {
	code        int
	agent, text string
}

// HandleWarningHeader takes note of a warning.
func (h *heldBack) HandleWarningHeader(code int, agent, text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if w := (warning{code, agent, text}); !slices.Contains(h.warnings, w) {
		h.warnings = append(h.warnings, w)
	}
}

// lift takes note of the warnings among the lines that a command has written to stderr, and returns the others.
func (h *heldBack) lift(lines string) string {
	// 299 is the only code that the API server has for warnings.
	const code = 299
	var others strings.Builder
	for line := range strings.Lines(lines) {
		if text, ok := strings.CutPrefix(line, "Warning: "); ok {
			h.HandleWarningHeader(code, "-", strings.TrimSuffix(text, "\n"))
			continue
		}
		others.WriteString(line)
	}
	return others.String()
}

// say says what was held back.
func (h *heldBack) say() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, w := range h.warnings {
		h.to.HandleWarningHeader(w.code, w.agent, w.text)
	}
	h.warnings = nil
}

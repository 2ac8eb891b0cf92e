//go:build !unix

package terminal

import "context"

// BrokenPipeContext returns a context that ends with ctx.
func BrokenPipeContext(ctx context.Context, _ any) (context.Context, context.CancelFunc) {
	return context.WithCancel(ctx)
}

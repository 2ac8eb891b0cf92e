//go:build !unix

package terminal

import "context"

// ReaderGone returns a context that ends with ctx.
func ReaderGone(ctx context.Context, _ any) (context.Context, context.CancelFunc) {
	return context.WithCancel(ctx)
}

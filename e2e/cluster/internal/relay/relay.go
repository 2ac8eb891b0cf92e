// Package relay passes connections from a listener on to another address.
package relay

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
)

// Serve accepts connections until ctx is done, and copies each to one made by dial
// and back. A connection that can't be passed on is reset, which clients take for
// what it is: nobody listening.
func Serve(ctx context.Context, listener *net.TCPListener, dial func(context.Context) (*net.TCPConn, error)) error {
	stop := context.AfterFunc(ctx, func() { _ = listener.Close() })
	defer stop()
	for {
		conn, err := listener.AcceptTCP()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			return err
		}
		go pass(ctx, conn, dial)
	}
}

func pass(ctx context.Context, from *net.TCPConn, dial func(context.Context) (*net.TCPConn, error)) {
	to, err := dial(ctx)
	if err != nil {
		_ = from.SetLinger(0)
		_ = from.Close()
		return
	}
	var both sync.WaitGroup
	both.Go(func() { oneWay(to, from) })
	both.Go(func() { oneWay(from, to) })
	both.Wait()
	_ = from.Close()
	_ = to.Close()
}

// oneWay passes on the end of the stream too. After an error, a reset say, the
// other direction has no use either.
func oneWay(dst, src *net.TCPConn) {
	if _, err := io.Copy(dst, src); err != nil {
		_ = dst.Close()
		_ = src.Close()
		return
	}
	_ = dst.CloseWrite()
}

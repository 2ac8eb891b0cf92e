// Package relay forwards connections from a listener to another address.
package relay

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Delay is by how much responses are delayed. It may be changed at any time; their order stays the same.
type Delay struct{ nanoseconds atomic.Int64 }

// Set changes the delay of data that arrives from now on.
func (d *Delay) Set(by time.Duration) { d.nanoseconds.Store(int64(by)) }

// Serve accepts connections until ctx is done, and copies each to one made by dial and back. Responses are delayed by delay,
// unless that is nil. A connection that can't be forwarded is reset, which to clients looks as if nothing listened.
func Serve(ctx context.Context, listener *net.TCPListener, dial func(context.Context) (*net.TCPConn, error), delay *Delay) error {
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
		go relayConn(ctx, conn, dial, delay)
	}
}

func relayConn(ctx context.Context, from *net.TCPConn, dial func(context.Context) (*net.TCPConn, error), delay *Delay) {
	to, err := dial(ctx)
	if err != nil {
		_ = from.SetLinger(0)
		_ = from.Close()
		return
	}
	var both sync.WaitGroup
	both.Go(func() { copyOneWay(to, from) })
	if delay == nil {
		both.Go(func() { copyOneWay(from, to) })
	} else {
		both.Go(func() { copyDelayed(ctx, from, to, delay) })
	}
	both.Wait()
	_ = from.Close()
	_ = to.Close()
}

// copyOneWay forwards the end of the stream too. After an error, such as a reset, it closes both, since the other direction has
// no use either.
func copyOneWay(dst, src *net.TCPConn) {
	if _, err := io.Copy(dst, src); err != nil {
		_ = dst.Close()
		_ = src.Close()
		return
	}
	_ = dst.CloseWrite()
}

// delayedChunk is the data of one read, and when it is to be forwarded.
type delayedChunk struct {
	data []byte
	due  time.Time
}

// copyDelayed is copyOneWay with a delay.
func copyDelayed(ctx context.Context, dst, src *net.TCPConn, delay *Delay) {
	const unsent = 4096 // more is read only when something has been forwarded
	chunks := make(chan delayedChunk, unsent)
	go func() {
		defer close(chunks)
		for {
			data := make([]byte, 32<<10)
			n, err := src.Read(data)
			if n > 0 {
				chunks <- delayedChunk{data[:n], time.Now().Add(time.Duration(delay.nanoseconds.Load()))}
			}
			if err != nil {
				return
			}
		}
	}()
	for c := range chunks {
		timer := time.NewTimer(time.Until(c.due))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
		// After an error the rest is read and dropped, until the other end has closed.
		if _, err := dst.Write(c.data); err != nil {
			_ = dst.Close()
			_ = src.Close()
		}
	}
	_ = dst.CloseWrite()
}

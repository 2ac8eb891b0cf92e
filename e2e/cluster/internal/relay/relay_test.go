package relay

import (
	"context"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"
)

func TestServeCopiesBothWays(t *testing.T) {
	target := listenLoopback(t)
	go func() {
		conn, err := target.AcceptTCP()
		if err != nil {
			return
		}
		defer conn.Close()
		request, _ := io.ReadAll(conn) // the response is sent only after the end of the request
		_, _ = conn.Write(append([]byte("re: "), request...))
	}()
	conn, err := dialRelay(t, func(context.Context) (*net.TCPConn, error) {
		return net.DialTCP("tcp", nil, target.Addr().(*net.TCPAddr))
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil || string(answer) != "re: hello" {
		t.Errorf("answer %q, %v; want %q", answer, err, "re: hello")
	}
}

func TestServeWithDelay(t *testing.T) {
	target := listenLoopback(t)
	go func() {
		conn, err := target.AcceptTCP()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.Copy(conn, conn)
	}()
	const by = 200 * time.Millisecond
	delay := &Delay{}
	delay.Set(by)
	conn, err := dialDelayedRelay(t, delay, func(context.Context) (*net.TCPConn, error) {
		return net.DialTCP("tcp", nil, target.Addr().(*net.TCPAddr))
	})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for _, word := range []string{"held back, ", "the same, ", "the end"} {
		if _, err := conn.Write([]byte(word)); err != nil {
			t.Fatal(err)
		}
	}
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil || string(answer) != "held back, the same, the end" {
		t.Errorf("answer %q, %v", answer, err)
	}
	if took := time.Since(began); took < by {
		t.Errorf("the answer came after %s, want %s at least", took, by)
	}
}

func TestServeResetsOnDialError(t *testing.T) {
	conn, err := dialRelay(t, func(context.Context) (*net.TCPConn, error) { return nil, errors.New("nobody there") })
	if err == nil { // else the reset came first
		_, err = io.ReadAll(conn)
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%v, want %v", err, syscall.ECONNRESET)
	}
}

func TestServeStopsWithContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- Serve(ctx, listenLoopback(t), nil, nil) }()
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Serve = %v", err)
	}
}

func listenLoopback(t *testing.T) *net.TCPListener {
	t.Helper()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// dialRelay returns a connection through a relay that connects with dial.
func dialRelay(t *testing.T, dial func(context.Context) (*net.TCPConn, error)) (*net.TCPConn, error) {
	t.Helper()
	return dialDelayedRelay(t, nil, dial)
}

func dialDelayedRelay(t *testing.T, delay *Delay, dial func(context.Context) (*net.TCPConn, error)) (*net.TCPConn, error) {
	t.Helper()
	l := listenLoopback(t)
	go func() { _ = Serve(t.Context(), l, dial, delay) }()
	conn, err := net.DialTCP("tcp", nil, l.Addr().(*net.TCPAddr))
	if err == nil {
		t.Cleanup(func() { conn.Close() })
	}
	return conn, err
}

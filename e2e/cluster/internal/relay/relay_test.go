package relay

import (
	"context"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
)

func TestRelayPassesBothWaysAndTheEnd(t *testing.T) {
	target := listen(t)
	go func() {
		conn, err := target.AcceptTCP()
		if err != nil {
			return
		}
		defer conn.Close()
		request, _ := io.ReadAll(conn) // to the end: only then the answer
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

func TestConnectionToNobodyIsReset(t *testing.T) {
	conn, err := dialRelay(t, func(context.Context) (*net.TCPConn, error) { return nil, errors.New("nobody there") })
	if err == nil { // else the reset came first
		_, err = io.ReadAll(conn)
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%v, want %v", err, syscall.ECONNRESET)
	}
}

func TestRelayEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- Serve(ctx, listen(t), nil) }()
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Serve = %v", err)
	}
}

func listen(t *testing.T) *net.TCPListener {
	t.Helper()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// dialRelay gives a connection through a relay that passes on to dial's.
func dialRelay(t *testing.T, dial func(context.Context) (*net.TCPConn, error)) (*net.TCPConn, error) {
	t.Helper()
	l := listen(t)
	go func() { _ = Serve(t.Context(), l, dial) }()
	conn, err := net.DialTCP("tcp", nil, l.Addr().(*net.TCPAddr))
	if err == nil {
		t.Cleanup(func() { conn.Close() })
	}
	return conn, err
}

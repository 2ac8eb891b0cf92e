package componentset

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"syscall"
)

// Status is the state of a whole cluster at one time.
type Status struct {
	// Started is true when the start has succeeded or failed.
	Started bool `json:"started"`
	// Error is why the start failed.
	Error string `json:"error,omitempty"`
	// NodeRefused says that it failed because this machine doesn't let a process have namespaces, mounts or control groups of its
	// own: no node is possible.
	NodeRefused bool             `json:"refused,omitempty"`
	Components  []ComponentState `json:"components,omitempty"`
}

// Problem returns what doesn't work; empty: everything does.
func (s Status) Problem() string {
	switch {
	case s.Error != "":
		return s.Error
	case !s.Started:
		return "still starting"
	}
	for _, c := range s.Components {
		if c.Problem != "" {
			return c.Name + ": " + c.Problem
		}
	}
	return ""
}

// Server serves requests for a Set on a unix socket.
type Server struct {
	set         *Set
	importImage func(ctx context.Context, tar io.Reader) error

	started     chan struct{}
	startedOnce sync.Once
	startResult Status
}

// NewServer returns a server for set. importImage loads an image onto the node; nil if there is none.
func NewServer(set *Set, importImage func(ctx context.Context, tar io.Reader) error) *Server {
	return &Server{set: set, importImage: importImage, started: make(chan struct{})}
}

// ReportStarted ends the requests that wait for the start of the cluster, with its result.
func (s *Server) ReportStarted(err error, refused bool) {
	s.startedOnce.Do(func() {
		s.startResult = Status{Started: true, NodeRefused: refused}
		if err != nil {
			s.startResult.Error = err.Error()
		}
		close(s.started)
	})
}

// Serve serves until ctx is done.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", s.handleStatus)
	mux.HandleFunc("POST /components/{name}/stop", s.handleStop)
	mux.HandleFunc("POST /components/{name}/start", s.handleStart)
	mux.HandleFunc("POST /images", s.handleImages)
	server := &http.Server{Handler: mux, BaseContext: func(net.Listener) context.Context { return ctx }}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(listener); ctx.Err() == nil {
		return err
	}
	return nil
}

func (s *Server) handleStatus(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("wait") == "started" {
		select {
		case <-s.started:
		case <-r.Context().Done():
		}
	}
	var status Status
	select {
	case <-s.started:
		status = s.startResult
	default:
	}
	status.Components = s.set.States(r.Context())
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(status) // an error means that the client is gone
}

func (s *Server) handleStop(w http.ResponseWriter, r *http.Request) {
	number, err := strconv.Atoi(r.URL.Query().Get("signal"))
	if err != nil {
		http.Error(w, "signal is not a number", http.StatusBadRequest)
		return
	}
	writeResult(w, s.set.Stop(r.Context(), r.PathValue("name"), syscall.Signal(number)))
}

func (s *Server) handleStart(w http.ResponseWriter, r *http.Request) {
	writeResult(w, s.set.Start(r.Context(), r.PathValue("name")))
}

func (s *Server) handleImages(w http.ResponseWriter, r *http.Request) {
	if s.importImage == nil {
		http.Error(w, "this cluster has no node", http.StatusNotFound)
		return
	}
	writeResult(w, s.importImage(r.Context(), r.Body))
}

func writeResult(w http.ResponseWriter, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	fmt.Fprintln(w, "ok")
}

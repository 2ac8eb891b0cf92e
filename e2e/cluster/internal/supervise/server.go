package supervise

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

// Status is a whole cluster at one time.
type Status struct {
	// Started tells that the start is over, well or not.
	Started bool `json:"started"`
	// Error says why the start failed.
	Error string `json:"error,omitempty"`
	// Refused tells that it failed because this machine doesn't let a process
	// have namespaces, mounts or control groups of its own: a node can't be had.
	Refused    bool    `json:"refused,omitempty"`
	Components []State `json:"components,omitempty"`
}

// Problem is empty for a cluster that works; otherwise it says what doesn't.
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

// Server answers requests about a Set on a unix socket.
type Server struct {
	set         *Set
	importImage func(ctx context.Context, tar io.Reader) error

	started chan struct{}
	once    sync.Once
	outcome Status
}

// NewServer makes a server for set. importImage puts an image on the node; nil
// if there is none.
func NewServer(set *Set, importImage func(ctx context.Context, tar io.Reader) error) *Server {
	return &Server{set: set, importImage: importImage, started: make(chan struct{})}
}

// Started tells everybody who waits how the start of the cluster went.
func (s *Server) Started(err error, refused bool) {
	s.once.Do(func() {
		s.outcome = Status{Started: true, Refused: refused}
		if err != nil {
			s.outcome.Error = err.Error()
		}
		close(s.started)
	})
}

// Serve answers until ctx is done.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", s.status)
	mux.HandleFunc("GET /started", s.waitStarted)
	mux.HandleFunc("POST /components/{name}/stop", s.stop)
	mux.HandleFunc("POST /components/{name}/start", s.start)
	mux.HandleFunc("POST /images", s.images)
	server := &http.Server{Handler: mux, BaseContext: func(net.Listener) context.Context { return ctx }}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(listener); ctx.Err() == nil {
		return err
	}
	return nil
}

func (s *Server) status(w http.ResponseWriter, r *http.Request) {
	var status Status
	select {
	case <-s.started:
		status = s.outcome
	default:
	}
	status.Components = s.set.States(r.Context())
	answer(w, status)
}

func (s *Server) waitStarted(w http.ResponseWriter, r *http.Request) {
	select {
	case <-s.started:
		answer(w, s.outcome)
	case <-r.Context().Done():
	}
}

func (s *Server) stop(w http.ResponseWriter, r *http.Request) {
	number, err := strconv.Atoi(r.URL.Query().Get("signal"))
	if err != nil {
		http.Error(w, "signal is not a number", http.StatusBadRequest)
		return
	}
	answerError(w, s.set.Stop(r.Context(), r.PathValue("name"), syscall.Signal(number)))
}

func (s *Server) start(w http.ResponseWriter, r *http.Request) {
	answerError(w, s.set.Start(r.Context(), r.PathValue("name")))
}

func (s *Server) images(w http.ResponseWriter, r *http.Request) {
	if s.importImage == nil {
		http.Error(w, "this cluster has no node", http.StatusNotFound)
		return
	}
	answerError(w, s.importImage(r.Context(), r.Body))
}

func answer(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value) // the other side is gone if this fails
}

func answerError(w http.ResponseWriter, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	fmt.Fprintln(w, "ok")
}

// Package supervisor is the process that a detached cluster consists of: it starts
// the components and keeps them running. With a node it is also the first process
// of the cluster's namespaces, and its end is the end of everything.
package supervisor

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"time"

	"github.com/LogicIQ/konductor/e2e/cluster/internal/component"
	"github.com/LogicIQ/konductor/e2e/cluster/internal/state"
)

// Record is what is written down about a detached cluster, before its processes
// are started.
type Record struct {
	ID      string    `json:"id"`
	Dir     string    `json:"dir"`
	Created time.Time `json:"created"`
	// Supervisor is the process; its zero value means that it was about to be started.
	Supervisor state.ProcessID `json:"supervisor,omitzero"`
	// Control is the unix socket that the supervisor answers on.
	Control string `json:"control"`
	// Node is what the node needs; nil without one, and NoNode says why.
	Node   *component.NodeSetup `json:"node,omitempty"`
	NoNode string               `json:"noNode,omitempty"`

	Ports    component.Ports   `json:"ports"`
	Access   component.Access  `json:"access"`
	Inside   component.Access  `json:"inside"` // as the components reach the API server
	Binaries map[string]string `json:"binaries"`
	// Tools is the folder that the binaries are below.
	Tools string `json:"tools"`
}

// ID names the cluster in dir. It depends on nothing else, so that what a cluster
// left behind is found even without its record.
func ID(dir string) string {
	hash := sha256.Sum256([]byte(dir))
	return hex.EncodeToString(hash[:])[:8]
}

// CgroupRoot is the control group of the Pods of the cluster in dir.
func CgroupRoot(dir string) string { return "/konductor-" + ID(dir) }

// Component is how the supervisor is marked and its log is called.
const Component = "supervisor"

// The files of the cluster in dir.
func recordFile(dir string) string { return filepath.Join(dir, "state.json") }

// DataDir is where the components keep their files.
func DataDir(dir string) string { return filepath.Join(dir, "data") }

// LogDir is where the components' logs are.
func LogDir(dir string) string { return filepath.Join(dir, "logs") }

// Kubeconfig is the administrator's.
func Kubeconfig(dir string) string { return filepath.Join(dir, "kubeconfig") }

// LockFile keeps two commands from changing the cluster at once.
func LockFile(dir string) string { return filepath.Join(dir, "lock") }

// Binary is the program that the supervisor runs as.
func Binary(dir string) string { return filepath.Join(dir, "bin", "cluster") }

// SocketDir is a folder for the control socket, where the cluster's own has too
// long a name: a unix socket's is at most 104 bytes on macOS, 108 on Linux, the
// final zero included.
func SocketDir(dir string) string { return filepath.Join("/tmp", "konductor-"+ID(dir)) }

// ControlSocket is the path of the control socket.
func ControlSocket(dir string) string {
	const name, longest = "control.sock", 103
	if path := filepath.Join(dir, name); len(path) <= longest {
		return path
	}
	return filepath.Join(SocketDir(dir), name)
}

// owned lists all that a cluster puts down, but for the lock. The record goes last:
// while it is there, a second attempt at removal knows what to do.
func owned(dir string) []string {
	return []string{
		filepath.Join(dir, "bin"), DataDir(dir), LogDir(dir), Kubeconfig(dir),
		ControlSocket(dir), SocketDir(dir), recordFile(dir),
	}
}

// Save writes the record down.
func (r Record) Save() error { return state.WriteJSON(recordFile(r.Dir), r) }

// Load reads the record of the cluster in dir; os.ErrNotExist if there is none.
func Load(dir string) (Record, error) {
	var r Record
	err := state.ReadJSON(recordFile(dir), &r)
	return r, err
}

// Layout is where the files are as the caller sees them: inside the namespaces of
// a node they have names of their own, short ones, however long the folder's is.
func (r Record) Layout(inside bool) component.Layout {
	if inside && r.Node != nil {
		return component.Layout{Dir: insideDir, Logs: insideLogs}
	}
	return component.Layout{Dir: DataDir(r.Dir), Logs: LogDir(r.Dir)}
}

const (
	insideDir  = "/run/konductor"
	insideLogs = "/run/konductor-logs"
)

func (r Record) plan() component.Plan {
	return component.Plan{
		Layout:   r.Layout(true),
		Ports:    r.Ports,
		Access:   r.Inside,
		Binaries: r.Binaries,
		Node:     r.Node != nil,
		Marker:   r.Dir,
	}
}

// RemoveFiles removes all files of the cluster in dir but its lock, which the caller
// holds.
func RemoveFiles(dir string) error {
	for _, path := range owned(dir) {
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	return nil
}

// Remove is RemoveFiles, and removes the lock as well, and dir unless something else
// is in it.
func Remove(dir string) error {
	if err := RemoveFiles(dir); err != nil {
		return err
	}
	if err := os.RemoveAll(LockFile(dir)); err != nil {
		return err
	}
	_ = os.Remove(dir)
	return nil
}

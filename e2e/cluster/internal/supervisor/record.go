// Package supervisor is the process in the background of a detached cluster: it starts the components and keeps them running.
// With a node it is also the first process of the cluster's namespaces, whose end ends everything.
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

// Record is the record of a detached cluster. It is written before its processes are started.
type Record struct {
	ID      string    `json:"id"`
	Dir     string    `json:"dir"`
	Created time.Time `json:"created"`
	// Supervisor is the process; its zero value means that it had not been started yet.
	Supervisor state.ProcessID `json:"supervisor,omitzero"`
	// ControlSocket is the path of the supervisor's unix socket.
	ControlSocket string `json:"control"`
	// Node is what the node needs; nil without one, and NoNodeReason says why.
	Node         *component.NodeSetup `json:"node,omitempty"`
	NoNodeReason string               `json:"noNode,omitempty"`

	Ports        component.Ports   `json:"ports"`
	Access       component.Access  `json:"access"`
	InsideAccess component.Access  `json:"inside"` // for the components
	Binaries     map[string]string `json:"binaries"`
	// ToolsDir is the directory with the binaries.
	ToolsDir string `json:"tools"`
}

// ClusterID returns the id of the cluster in dir. It depends on nothing else, so that what a cluster left behind is found even
// without its record.
func ClusterID(dir string) string {
	hash := sha256.Sum256([]byte(dir))
	return hex.EncodeToString(hash[:])[:8]
}

// CgroupRoot returns the control group of the Pods of the cluster in dir.
func CgroupRoot(dir string) string { return "/konductor-" + ClusterID(dir) }

// ComponentName is the supervisor's component name, also in its marker and log.
const ComponentName = "supervisor"

// The files of the cluster in dir.
func recordFile(dir string) string { return filepath.Join(dir, "state.json") }

// DataDir returns the directory of the components' files.
func DataDir(dir string) string { return filepath.Join(dir, "data") }

// LogDir returns the directory of the components' logs.
func LogDir(dir string) string { return filepath.Join(dir, "logs") }

// Kubeconfig returns the path of the administrator's kubeconfig.
func Kubeconfig(dir string) string { return filepath.Join(dir, "kubeconfig") }

// LockFile returns the path of the lock that keeps two commands from changing the cluster at once.
func LockFile(dir string) string { return filepath.Join(dir, "lock") }

// Binary returns the path of the supervisor's program.
func Binary(dir string) string { return filepath.Join(dir, "bin", "cluster") }

// SocketDir returns a directory for the control socket, where the path of the cluster's own is too long: a unix socket's is at
// most 104 bytes on macOS, 108 on Linux, the final zero included.
func SocketDir(dir string) string { return filepath.Join("/tmp", "konductor-"+ClusterID(dir)) }

// ControlSocket returns the path of the control socket.
func ControlSocket(dir string) string {
	const name, longest = "control.sock", 103
	if path := filepath.Join(dir, name); len(path) <= longest {
		return path
	}
	return filepath.Join(SocketDir(dir), name)
}

// ownedPaths returns everything that a cluster writes, except the lock. The record is last: while it exists, a second attempt at
// removal knows what to do.
func ownedPaths(dir string) []string {
	return []string{
		filepath.Join(dir, "bin"), DataDir(dir), LogDir(dir), Kubeconfig(dir),
		ControlSocket(dir), SocketDir(dir), recordFile(dir),
	}
}

// Save writes the record.
func (r Record) Save() error { return state.WriteJSON(recordFile(r.Dir), r) }

// Load reads the record of the cluster in dir; os.ErrNotExist if there is none.
func Load(dir string) (Record, error) {
	var r Record
	err := state.ReadJSON(recordFile(dir), &r)
	return r, err
}

// Layout returns the paths as the caller sees them: inside the namespaces of a node they have other names, which are short,
// however long the directory's is.
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

func (r Record) componentPlan() component.Plan {
	return component.Plan{
		Layout:    r.Layout(true),
		Ports:     r.Ports,
		Access:    r.InsideAccess,
		Binaries:  r.Binaries,
		Node:      r.Node != nil,
		MarkerDir: r.Dir,
	}
}

// RemoveFiles removes all files of the cluster in dir except its lock, which the caller holds.
func RemoveFiles(dir string) error {
	for _, path := range ownedPaths(dir) {
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	return nil
}

// RemoveAll is RemoveFiles, and removes the lock as well, and dir unless something else is in it.
func RemoveAll(dir string) error {
	if err := RemoveFiles(dir); err != nil {
		return err
	}
	if err := os.RemoveAll(LockFile(dir)); err != nil {
		return err
	}
	_ = os.Remove(dir)
	return nil
}

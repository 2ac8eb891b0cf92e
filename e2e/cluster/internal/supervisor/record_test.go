package supervisor

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/LogicIQ/konductor/e2e/cluster/internal/component"
	"github.com/LogicIQ/konductor/e2e/cluster/internal/state"
)

func TestControlSocketLength(t *testing.T) {
	short, long := "/checkout/.cluster", "/"+strings.Repeat("a/", 60)+".cluster"
	if got, want := ControlSocket(short), short+"/control.sock"; got != want {
		t.Errorf("socket %s, want %s", got, want)
	}
	if got := ControlSocket(long); len(got) > 103 || !strings.HasPrefix(got, SocketDir(long)) {
		t.Errorf("socket %s", got)
	}
	if SocketDir(short) == SocketDir(long) || CgroupRoot(short) == CgroupRoot(long) {
		t.Error("two clusters share a name")
	}
}

func TestRecordSaveAndLoad(t *testing.T) {
	dir := t.TempDir()
	if _, err := Load(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Load without a record: %v", err)
	}
	want := Record{
		ID: ClusterID(dir), Dir: dir, ControlSocket: ControlSocket(dir),
		Supervisor: state.ProcessID{PID: 7, StartTime: "8"},
		Node:       &component.NodeSetup{CgroupRoot: CgroupRoot(dir), Runc: "/usr/sbin/runc"},
		Ports:      component.StandardPorts(),
		Access:     component.Access{Server: "https://127.0.0.1:1", Token: "t", CA: []byte("ca")},
		Binaries:   map[string]string{"etcd": "/etcd"},
	}
	if err := want.Save(); err != nil {
		t.Fatal(err)
	}
	got, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-written +read:\n%s", diff)
	}
}

func TestRemoveAllKeepsForeignFiles(t *testing.T) {
	for name, theirs := range map[string]string{"a folder of its own": "", "a folder with somebody's notes": "notes.txt"} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "cluster")
			for _, path := range append(ownedPaths(dir), LockFile(dir)) {
				if err := os.MkdirAll(path, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if theirs != "" {
				if err := os.WriteFile(filepath.Join(dir, theirs), nil, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if err := RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			var left []string
			entries, _ := os.ReadDir(dir)
			for _, e := range entries {
				left = append(left, e.Name())
			}
			if got := strings.Join(left, " "); got != theirs {
				t.Errorf("left: %q, want %q", got, theirs)
			}
		})
	}
}

package cluster

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"

	"github.com/LogicIQ/konductor/e2e/cluster/internal/component"
	"github.com/LogicIQ/konductor/e2e/cluster/internal/supervisor"
	"github.com/LogicIQ/konductor/e2e/cluster/toolchain"
)

// supervisorPackage is the package of the supervisor's program.
const supervisorPackage = "github.com/LogicIQ/konductor/e2e/cmd/cluster"

// controlPlaneBinaries returns the paths of the programs of a control plane without a node. It takes etcd and kube-apiserver from
// KUBEBUILDER_ASSETS, as envtest does, if they are there, unless toolchain.KubernetesEnv asks for a version; the others are
// built.
func controlPlaneBinaries(ctx context.Context, tools *toolchain.Toolchain, names ...string) (map[string]string, error) {
	binaries := map[string]string{}
	if os.Getenv(toolchain.KubernetesEnv) == "" {
		binaries = kubebuilderAssetBinaries(os.Getenv("KUBEBUILDER_ASSETS"))
	}
	for _, name := range names {
		if binaries[name] != "" {
			continue
		}
		path, err := tools.Path(ctx, name)
		if err != nil {
			return nil, err
		}
		binaries[name] = path
	}
	return binaries, nil
}

// kubebuilderAssetBinaries takes both or none: the two are released together. So is kube-controller-manager, which is optional.
func kubebuilderAssetBinaries(dir string) map[string]string {
	binaries := map[string]string{}
	if dir == "" {
		return binaries
	}
	for _, name := range []string{component.Etcd, component.APIServer} {
		path := filepath.Join(dir, name)
		if !isRegularFile(path) {
			return map[string]string{}
		}
		binaries[name] = path
	}
	if path := filepath.Join(dir, component.ControllerManager); isRegularFile(path) {
		binaries[component.ControllerManager] = path
	}
	return binaries
}

func isRegularFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

func freePorts() (component.Ports, error) { return component.FreePorts(rand.IntN) }

// installSupervisorBinary copies the supervisor's program into the cluster's directory: the running one may be deleted soon, if
// "go run" made it, or be a test.
func (s clusterStarter) installSupervisorBinary(ctx context.Context) error {
	target := supervisor.Binary(s.dir)
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Path == supervisorPackage {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		return copyFile(target, self)
	}
	e2e, err := toolchain.ModuleRoot()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", target, "./cmd/cluster")
	cmd.Dir = e2e
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", supervisorPackage, err, strings.TrimSpace(string(out)))
	}
	return nil
}

func copyFile(target, source string) error {
	in, err := os.Open(source)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(target, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		_ = out.Close()
		return err
	}
	return out.Close()
}

package cluster

import (
	"context"
	"fmt"
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

// controlPlaneBinaries returns the paths of the programs of a control plane without a node. If KUBEBUILDER_ASSETS is set, as
// for envtest, and toolchain.KubernetesEnv asks for no version, those that are in that directory are taken from there. etcd and
// kube-apiserver are taken together or not at all, since they are released together.
func controlPlaneBinaries(ctx context.Context, tools *toolchain.Toolchain, names ...string) (map[string]string, error) {
	binaries := map[string]string{}
	if dir := os.Getenv("KUBEBUILDER_ASSETS"); dir != "" && os.Getenv(toolchain.KubernetesEnv) == "" {
		for _, name := range names {
			if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
				binaries[name] = filepath.Join(dir, name)
			}
		}
		if binaries[component.Etcd] == "" || binaries[component.APIServer] == "" {
			clear(binaries)
		}
	}
	for _, name := range names {
		if binaries[name] != "" {
			continue
		}
		var err error
		if binaries[name], err = tools.Path(ctx, name); err != nil {
			return nil, err
		}
	}
	return binaries, nil
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
		program, err := os.ReadFile(self)
		if err != nil {
			return err
		}
		return os.WriteFile(target, program, 0o755)
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

package component

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// WriteNodeConfig writes the configuration files of the components that need
// some: the scheduler, the kubelet, containerd and the network plugins.
func (p Plan) WriteNodeConfig(n NodeSetup) error {
	for _, file := range []struct {
		path    string
		content any
	}{
		{p.Layout.Config("scheduler.json"), p.schedulerConfig()},
		{p.Layout.Config("kubelet.json"), p.kubeletConfig(n)},
		{p.Layout.Config("cni/10-konductor.conflist"), p.cniConfig()},
		{p.Layout.Config("containerd.toml"), p.containerdConfig(n)},
	} {
		data, ok := file.content.(string)
		if !ok {
			out, err := json.MarshalIndent(file.content, "", "  ")
			if err != nil {
				return fmt.Errorf("%s: %w", file.path, err)
			}
			data = string(out)
		}
		if err := os.MkdirAll(filepath.Dir(file.path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file.path, []byte(data), 0o644); err != nil {
			return err
		}
	}
	return nil
}

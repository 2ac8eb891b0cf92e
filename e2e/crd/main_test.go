package crd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/e2e/cluster"
	"github.com/LogicIQ/konductor/e2e/internal/versions"
)

// The API server that all tests share, and a client with all rights. Each test uses objects of its own.
var (
	config        *rest.Config
	serverVersion versions.Version
	apiClient     client.WithWatch
)

func TestMain(m *testing.M) {
	os.Exit(runTests(m))
}

func runTests(m *testing.M) (code int) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	plane, err := cluster.StartControlPlane(ctx, cluster.ControlPlaneOptions{})
	if err != nil {
		fmt.Fprintln(os.Stderr, "starting the control plane:", err)
		return 1
	}
	defer func() {
		if err := plane.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "stopping the control plane:", err)
			code = 1
		}
	}()
	config = plane.Config()
	if serverVersion, err = versions.ServerVersion(config); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := setUp(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// setUp creates the CRDs, waits until they are served, and creates the client.
func setUp() (err error) {
	types := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{scheme.AddToScheme, apiextensionsv1.AddToScheme, konductorv1.AddToScheme} {
		if err := add(types); err != nil {
			return err
		}
	}
	crds, err := chartCRDs()
	if err != nil {
		return err
	}
	if _, err := envtest.InstallCRDs(config, envtest.CRDInstallOptions{CRDs: crds, MaxTime: time.Minute}); err != nil {
		return err
	}
	apiClient, err = client.NewWithWatch(config, client.Options{Scheme: types})
	return err
}

// chartCRDs returns the CustomResourceDefinitions that the chart installs.
func chartCRDs() (crds []*apiextensionsv1.CustomResourceDefinition, err error) {
	files, err := filepath.Glob("../../charts/konductor/files/crds/*.yaml")
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, errors.New("the chart has no resource types")
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		crd := &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.UnmarshalStrict(text, crd); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		crds = append(crds, crd)
	}
	return crds, nil
}

package docs

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/LogicIQ/konductor/e2e/cluster"
	"github.com/LogicIQ/konductor/e2e/install"
)

// apiServer is an API server with konductor's CRDs.
type apiServer struct {
	controlPlane *cluster.ControlPlane
	client       client.Client
	kubeconfig   string
}

// startAPIServer starts the API server at the first use: links can be tested without one.
var startAPIServer = sync.OnceValues(func() (*apiServer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	plane, err := cluster.StartControlPlane(ctx, cluster.ControlPlaneOptions{})
	if err != nil {
		return nil, fmt.Errorf("starting the control plane: %w", err)
	}
	j := &apiServer{controlPlane: plane, kubeconfig: plane.Kubeconfig()}
	if err := install.ApplyCRDs(plane.Config(), nil); err != nil {
		return j, err
	}
	j.client, err = client.New(plane.Config(), client.Options{})
	return j, err
})

// apiServerRequested is done once startAPIServer was called.
var apiServerRequested sync.Once

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) (code int) {
	defer func() {
		unused := false
		apiServerRequested.Do(func() { unused = true })
		if unused {
			return
		}
		if j, _ := startAPIServer(); j != nil {
			if err := j.controlPlane.Close(); err != nil {
				fmt.Fprintln(os.Stderr, "stopping the control plane:", err)
				code = 1
			}
		}
	}()
	return m.Run()
}

// sharedAPIServer returns the API server that all tests share.
func sharedAPIServer(t *testing.T) *apiServer {
	t.Helper()
	apiServerRequested.Do(func() {})
	j, err := startAPIServer()
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// dryRunCreate lets the API server validate the creation of an object: unknown fields are an error. Nothing is stored.
func (j *apiServer) dryRunCreate(ctx context.Context, obj *unstructured.Unstructured) error {
	namespaced, err := j.client.IsObjectNamespaced(obj)
	if err != nil {
		return err
	}
	if namespaced {
		obj.SetNamespace(metav1.NamespaceDefault)
	}
	return j.client.Create(ctx, obj, client.DryRunAll, client.FieldValidation(metav1.FieldValidationStrict))
}

// parseStrict returns the objects of a YAML stream. A duplicate key is an error, and so is a document that is no object.
func parseStrict(stream string) (objects []*unstructured.Unstructured, err error) {
	documents := utilyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(stream)))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			if len(objects) == 0 {
				return nil, errors.New("there is nothing in it")
			}
			return objects, nil
		}
		if err != nil {
			return nil, err
		}
		obj := &unstructured.Unstructured{}
		if err := yaml.UnmarshalStrict(document, &obj.Object); err != nil {
			return nil, err
		}
		if len(obj.Object) == 0 && len(bytes.TrimSpace(document)) == 0 {
			continue
		}
		if obj.GetKind() == "" || obj.GetAPIVersion() == "" {
			return nil, errors.New("it has no kind or apiVersion")
		}
		objects = append(objects, obj)
	}
}

// containerCommands returns the commands of all containers anywhere in an object.
func containerCommands(v any) (all [][]string) {
	switch v := v.(type) {
	case map[string]any:
		if command, found, err := unstructured.NestedStringSlice(v, "command"); found && err == nil {
			args, _, _ := unstructured.NestedStringSlice(v, "args")
			all = append(all, append(command, args...))
		}
		for _, inner := range v {
			all = append(all, containerCommands(inner)...)
		}
	case []any:
		for _, inner := range v {
			all = append(all, containerCommands(inner)...)
		}
	}
	return all
}

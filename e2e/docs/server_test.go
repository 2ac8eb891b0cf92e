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

// judge is an API server that knows konductor's resource types.
type judge struct {
	plane      *cluster.ControlPlane
	client     client.Client
	kubeconfig string
}

// start starts the judge when it is first asked for: links can be tested without one.
var start = sync.OnceValues(func() (*judge, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	plane, err := cluster.StartControlPlane(ctx, cluster.ControlPlaneOptions{})
	if err != nil {
		return nil, fmt.Errorf("starting the control plane: %w", err)
	}
	j := &judge{plane: plane, kubeconfig: plane.Kubeconfig()}
	if err := install.ServeTypes(ctx, plane.Config(), nil); err != nil {
		return j, err
	}
	j.client, err = client.New(plane.Config(), client.Options{})
	return j, err
})

// started is done once start was asked for.
var started sync.Once

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) (code int) {
	defer func() {
		unused := false
		started.Do(func() { unused = true })
		if unused {
			return
		}
		if j, _ := start(); j != nil {
			if err := j.plane.Close(); err != nil {
				fmt.Fprintln(os.Stderr, "stopping the control plane:", err)
				code = 1
			}
		}
	}()
	return m.Run()
}

// server returns the API server that all tests share.
func server(t *testing.T) *judge {
	t.Helper()
	started.Do(func() {})
	j, err := start()
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// accepts lets the API server judge an object as if it were created: fields that the type doesn't have are an error.
// Nothing is kept.
func (j *judge) accepts(ctx context.Context, obj *unstructured.Unstructured) error {
	namespaced, err := j.client.IsObjectNamespaced(obj)
	if err != nil {
		return err
	}
	if namespaced {
		obj.SetNamespace(metav1.NamespaceDefault)
	}
	return j.client.Create(ctx, obj, client.DryRunAll, client.FieldValidation(metav1.FieldValidationStrict))
}

// parse returns the objects of a YAML stream. A key that is there twice is an error, and so is what is no object.
func parse(stream string) (objects []*unstructured.Unstructured, err error) {
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

// commandsOf returns the commands of all containers in an object, wherever they are.
func commandsOf(v any) (all [][]string) {
	switch v := v.(type) {
	case map[string]any:
		if command, found, err := unstructured.NestedStringSlice(v, "command"); found && err == nil {
			args, _, _ := unstructured.NestedStringSlice(v, "args")
			all = append(all, append(command, args...))
		}
		for _, inner := range v {
			all = append(all, commandsOf(inner)...)
		}
	case []any:
		for _, inner := range v {
			all = append(all, commandsOf(inner)...)
		}
	}
	return all
}

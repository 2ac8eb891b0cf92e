// Package manifest applies the YAML files of the repository, mainly the examples, to a cluster, so that the tests use what users
// read.
package manifest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/LogicIQ/konductor/e2e/cluster/toolchain"
)

// RepoRoot returns the root directory of the checkout.
func RepoRoot() (string, error) {
	e2e, err := toolchain.ModuleRoot()
	if err != nil {
		return "", err
	}
	return filepath.Dir(e2e), nil
}

// Parse returns the objects of a YAML stream.
func Parse(data []byte) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096)
	for {
		obj := &unstructured.Unstructured{}
		err := decoder.Decode(obj)
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, err
		}
		if len(obj.Object) > 0 {
			objects = append(objects, obj)
		}
	}
}

// Create creates the objects of a file, whose path is relative to the root of the checkout, in a namespace, after edit (which may
// be nil) has changed them, and returns them as created.
func Create(ctx context.Context, config *rest.Config, namespace, file string, edit func(*unstructured.Unstructured) error) ([]*unstructured.Unstructured, error) {
	root, err := RepoRoot()
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		return nil, err
	}
	objects, err := Parse(data)
	if err != nil {
		return nil, err
	}
	c, err := client.New(config, client.Options{})
	if err != nil {
		return nil, err
	}
	for _, obj := range objects {
		obj.SetNamespace(namespace)
		if edit != nil {
			if err := edit(obj); err != nil {
				return nil, err
			}
		}
		if err := c.Create(ctx, obj); err != nil {
			return nil, fmt.Errorf("creating %s %s of %s: %w", obj.GetKind(), obj.GetName(), file, err)
		}
	}
	return objects, nil
}

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

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

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

// Read returns the objects of a file, whose path is relative to the root of the checkout.
func Read(file string) ([]*unstructured.Unstructured, error) {
	root, err := RepoRoot()
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		return nil, err
	}
	return Parse(data)
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

// Create creates the objects of a file in a namespace, after edit (which may be nil) has changed them, and returns them
// as created.
func Create(ctx context.Context, config *rest.Config, namespace, file string, edit func(*unstructured.Unstructured) error) ([]*unstructured.Unstructured, error) {
	objects, err := Read(file)
	if err != nil {
		return nil, err
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	for i, obj := range objects {
		if edit != nil {
			if err := edit(obj); err != nil {
				return nil, err
			}
		}
		gvr, err := gvrOf(obj)
		if err != nil {
			return nil, err
		}
		if objects[i], err = client.Resource(gvr).Namespace(namespace).Create(ctx, obj, metav1.CreateOptions{}); err != nil {
			return nil, fmt.Errorf("creating %s %s of %s: %w", obj.GetKind(), obj.GetName(), file, err)
		}
	}
	return objects, nil
}

// gvrOf returns the resource of an object. It knows the kinds that the examples use.
func gvrOf(obj *unstructured.Unstructured) (schema.GroupVersionResource, error) {
	resource, ok := map[string]string{
		"Barrier": "barriers", "Gate": "gates", "Lease": "leases", "Semaphore": "semaphores", "Claim": "claims", "Arrival": "arrivals",
		"Job": "jobs", "CronJob": "cronjobs", "Deployment": "deployments", "Pod": "pods",
	}[obj.GetKind()]
	if !ok {
		return schema.GroupVersionResource{}, fmt.Errorf("no resource is known for kind %s", obj.GetKind())
	}
	gv, err := schema.ParseGroupVersion(obj.GetAPIVersion())
	if err != nil {
		return schema.GroupVersionResource{}, err
	}
	return gv.WithResource(resource), nil
}

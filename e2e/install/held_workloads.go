package install

import (
	"context"
	"fmt"
	"slices"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/LogicIQ/konductor/internal/chart"
)

// HeldWorkloadPolicies creates the chart's admission policies on held Jobs, without the others.
func HeldWorkloadPolicies(ctx context.Context, config *rest.Config) error {
	disco, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return err
	}
	version, err := disco.ServerVersion()
	if err != nil {
		return err
	}
	render := func(enabled bool) ([]*unstructured.Unstructured, error) {
		rendered, err := chart.Render(chart.Release{Namespace: Namespace, KubeVersion: version.GitVersion}, map[string]any{"heldWorkloads": enabled})
		if err != nil {
			return nil, err
		}
		return rendered.Objects, nil
	}
	with, err := render(true)
	if err != nil {
		return err
	}
	without, err := render(false)
	if err != nil {
		return err
	}
	api, err := client.New(config, client.Options{})
	if err != nil {
		return err
	}
	isSame := func(obj *unstructured.Unstructured) func(*unstructured.Unstructured) bool {
		return func(other *unstructured.Unstructured) bool {
			return other.GetKind() == obj.GetKind() && other.GetName() == obj.GetName()
		}
	}
	for _, obj := range with {
		if obj.GroupVersionKind().Group != admissionregistrationv1.GroupName || slices.ContainsFunc(without, isSame(obj)) {
			continue
		}
		if err := api.Create(ctx, obj, &client.CreateOptions{Raw: &metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict}}); err != nil {
			return fmt.Errorf("creating %s %s: %w", obj.GetKind(), obj.GetName(), err)
		}
	}
	return nil
}

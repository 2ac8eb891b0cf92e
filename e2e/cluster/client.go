package cluster

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"

	"github.com/LogicIQ/konductor/e2e/cluster/internal/component"
)

// waitDefaultServiceAccount waits until Pods can be created in the default namespace: without its ServiceAccount they are
// rejected.
func waitDefaultServiceAccount(ctx context.Context, config *rest.Config) error {
	err := waitCoreObject(ctx, config, "serviceaccounts", metav1.NamespaceDefault, "default", &corev1.ServiceAccount{},
		func(runtime.Object) bool { return true })
	if err != nil {
		return fmt.Errorf("the default ServiceAccount did not appear: %w", err)
	}
	return nil
}

// waitNodeReady waits until Pods can run on the node.
func waitNodeReady(ctx context.Context, config *rest.Config) error {
	err := waitCoreObject(ctx, config, "nodes", metav1.NamespaceAll, component.NodeName, &corev1.Node{}, isNodeReady)
	if err != nil {
		return fmt.Errorf("node %s did not become Ready: %w", component.NodeName, err)
	}
	return nil
}

// isNodeReady requires that the taint is gone as well: the scheduler looks at the taint, not at the condition.
func isNodeReady(o runtime.Object) bool {
	node, ok := o.(*corev1.Node)
	if !ok || len(node.Spec.Taints) > 0 {
		return false
	}
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// waitCoreObject lists and watches one object of the core group until it exists and condition is true for it.
func waitCoreObject(ctx context.Context, config *rest.Config, resource, namespace, name string, kind runtime.Object, condition func(runtime.Object) bool) error {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	byName := fields.OneTermEqualSelector(metav1.ObjectNameField, name)
	lw := cache.NewListWatchFromClient(client.CoreV1().RESTClient(), resource, namespace, byName)
	_, err = watchtools.UntilWithSync(ctx, lw, kind, nil, func(e watch.Event) (bool, error) {
		return e.Type != watch.Deleted && condition(e.Object), nil
	})
	return err
}

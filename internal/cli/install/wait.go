package install

import (
	"context"
	"errors"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
)

// TimeoutError means that a state was not reached in time.
type TimeoutError struct {
	// What was waited for, and Why it was not reached; empty: unknown.
	What, Why string
}

func (e *TimeoutError) Error() string {
	if e.Why == "" {
		return "timed out waiting for " + e.What
	}
	return fmt.Sprintf("timed out waiting for %s: %s", e.What, e.Why)
}

// WaitOperatorReady waits until the manifest's operator is rolled out, and notifies of the progress.
func (c *Cluster) WaitOperatorReady(ctx context.Context, p *Manifest) error {
	last := ""
	err := waitForCondition(ctx, c.Client.Resource(deploymentGVR()).Namespace(p.Namespace), DeploymentName, func(obj *unstructured.Unstructured) (bool, error) {
		deployment := &appsv1.Deployment{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(obj.Object, deployment); err != nil {
			return false, err
		}
		left := rolloutStatus(deployment)
		if left != "" && left != last {
			c.Notify("waiting for the operator: " + left)
			last = left
		}
		return left == "", nil
	})
	if ctx.Err() == nil || errors.Is(ctx.Err(), context.Canceled) {
		return err
	}
	// The reason is looked up after the timeout.
	why, lookErr := c.notReadyReason(context.WithoutCancel(ctx), p.Namespace)
	if lookErr != nil || why == "" {
		why = last
	}
	return &TimeoutError{"the operator", why}
}

// rolloutStatus says what is missing until a Deployment is rolled out; empty if nothing is.
func rolloutStatus(d *appsv1.Deployment) string {
	want := int32(1)
	if d.Spec.Replicas != nil {
		want = *d.Spec.Replicas
	}
	s := d.Status
	switch {
	case s.ObservedGeneration < d.Generation:
		return "the Deployment's update has not been observed yet"
	case s.UpdatedReplicas < want:
		return fmt.Sprintf("%d of %d Pods are created", s.UpdatedReplicas, want)
	case s.AvailableReplicas < want:
		return fmt.Sprintf("%d of %d Pods are ready", s.AvailableReplicas, want)
	case s.Replicas > s.UpdatedReplicas:
		return fmt.Sprintf("%d Pods of the old version are still running", s.Replicas-s.UpdatedReplicas)
	default:
		return ""
	}
}

// notReadyReason says why the operator's Pods don't run; empty if that is unknown.
func (c *Cluster) notReadyReason(ctx context.Context, namespace string) (string, error) {
	obj, err := c.Client.Resource(deploymentGVR()).Namespace(namespace).Get(ctx, DeploymentName, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	deployment := &appsv1.Deployment{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(obj.Object, deployment); err != nil {
		return "", err
	}
	for _, condition := range deployment.Status.Conditions {
		if condition.Type == appsv1.DeploymentReplicaFailure && condition.Status == corev1.ConditionTrue {
			return condition.Message, nil
		}
	}
	list, err := c.Client.Resource(podGVR()).Namespace(namespace).List(ctx, metav1.ListOptions{
		LabelSelector: metav1.FormatLabelSelector(deployment.Spec.Selector),
	})
	if err != nil {
		return "", err
	}
	for i := range list.Items {
		pod := &corev1.Pod{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(list.Items[i].Object, pod); err != nil {
			return "", err
		}
		if why := podNotReadyReason(pod); why != "" {
			return fmt.Sprintf("pod/%s: %s", pod.Name, why), nil
		}
	}
	return "", nil
}

// podNotReadyReason says why a Pod doesn't run; empty if it runs, or the reason is unknown.
func podNotReadyReason(pod *corev1.Pod) string {
	for i := range pod.Status.ContainerStatuses {
		s := &pod.Status.ContainerStatuses[i]
		if w := s.State.Waiting; w != nil && w.Reason != "ContainerCreating" {
			return strings.TrimSuffix(w.Reason+": "+w.Message, ": ")
		}
		if t := s.LastTerminationState.Terminated; t != nil && !s.Ready {
			return fmt.Sprintf("ended with exit code %d; see kubectl -n %s logs %s --previous", t.ExitCode, pod.Namespace, pod.Name)
		}
	}
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse {
			return condition.Message
		}
	}
	if pod.Spec.NodeName == "" {
		return "not scheduled to a node yet"
	}
	return ""
}

// waitCRDEstablished waits until a CRD is served.
func (c *Cluster) waitCRDEstablished(ctx context.Context, name string) error {
	err := waitForCondition(ctx, c.Client.Resource(crdGVR()), name, func(obj *unstructured.Unstructured) (bool, error) {
		conditions, _, _ := unstructured.NestedSlice(obj.Object, "status", "conditions")
		for _, condition := range conditions {
			condition, _ := condition.(map[string]any)
			if condition["type"] == "NamesAccepted" && condition["status"] == "False" {
				return false, fmt.Errorf("the API server doesn't accept resource type %s: %v", name, condition["message"])
			}
			if condition["type"] == "Established" && condition["status"] == "True" {
				return true, nil
			}
		}
		return false, nil
	})
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return &TimeoutError{"resource type " + name, ""}
	}
	return err
}

// waitForCondition calls condition with an object after each change, until it returns true or an error, or ctx is done: the
// error is then that of ctx.
func waitForCondition(ctx context.Context, at dynamic.ResourceInterface, name string, condition func(*unstructured.Unstructured) (bool, error)) error {
	selector := fields.OneTermEqualSelector("metadata.name", name).String()
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.FieldSelector = selector
			return at.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.FieldSelector = selector
			return at.Watch(ctx, o)
		},
	}
	_, err := watchtools.UntilWithSync(ctx, lw, &unstructured.Unstructured{}, nil, func(e watch.Event) (bool, error) {
		obj, ok := e.Object.(*unstructured.Unstructured)
		if !ok {
			return false, apierrors.FromObject(e.Object)
		}
		if e.Type == watch.Deleted {
			return false, fmt.Errorf("%s was deleted by somebody else", QualifiedName(obj))
		}
		return condition(obj)
	})
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

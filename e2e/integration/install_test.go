package integration

import (
	"context"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/e2e/cluster"
	"github.com/LogicIQ/konductor/e2e/install"
	"github.com/LogicIQ/konductor/internal/apiclient"
)

// installKonductor installs konductor's CRDs, and the operator's account with its rights, on a control plane.
func installKonductor(ctx context.Context, on *cluster.ControlPlane) (*testCluster, error) {
	if err := install.CRDs(ctx, on, nil); err != nil {
		return nil, err
	}
	if err := install.HeldWorkloadPolicies(ctx, on.Config()); err != nil {
		return nil, err
	}
	config, err := install.CreateOperatorAccount(ctx, on.Config())
	if err != nil {
		return nil, err
	}
	if err := createNode(ctx, on.Config()); err != nil {
		return nil, err
	}
	suspends, err := awaitHeldWorkloadPolicies(ctx, on.Config(), config)
	return &testCluster{ControlPlane: on, operatorConfig: config, suspendsHeldJobs: suspends}, err
}

// testNode is a node without a kubelet.
const testNode = "node-1"

// createNode creates testNode. From time to time the garbage collector of Pods deletes all on nodes that don't exist.
func createNode(ctx context.Context, config *rest.Config) error {
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	_, err = kube.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: testNode}}, metav1.CreateOptions{})
	return err
}

// awaitHeldWorkloadPolicies waits until the API server acts by the policies on held Jobs, and reports whether it suspends such a
// Job or, as before Kubernetes 1.36, refuses one that isn't suspended.
func awaitHeldWorkloadPolicies(ctx context.Context, config, operatorConfig *rest.Config) (suspends bool, err error) {
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return false, err
	}
	op, err := kubernetes.NewForConfig(operatorConfig)
	if err != nil {
		return false, err
	}
	_, err = kube.AdmissionregistrationV1().MutatingAdmissionPolicies().Get(ctx, "konductor-hold-jobs", metav1.GetOptions{})
	suspends = err == nil
	dryRun := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}
	invalid := newHeldJob("probe", holding("gate/probe"), true)
	for _, isActive := range []func() bool{
		func() bool {
			created, err := kube.BatchV1().Jobs(metav1.NamespaceDefault).Create(ctx, newHeldJob("probe", holding("lease/probe"), false), dryRun)
			if suspends {
				return err == nil && *created.Spec.Suspend
			}
			return err != nil && apiclient.IsDeniedByAdmission(err)
		},
		func() bool {
			_, err := kube.BatchV1().Jobs(metav1.NamespaceDefault).Create(ctx, invalid, dryRun)
			return err != nil && apiclient.IsDeniedByAdmission(err)
		},
		func() bool {
			cronJob := &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Name: "probe"}}
			cronJob.Spec.Schedule, cronJob.Spec.JobTemplate.Annotations, cronJob.Spec.JobTemplate.Spec = "0 * * * *", invalid.Annotations, invalid.Spec
			_, err := kube.BatchV1().CronJobs(metav1.NamespaceDefault).Create(ctx, cronJob, dryRun)
			return err != nil && apiclient.IsDeniedByAdmission(err)
		},
		func() bool {
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "probe", Annotations: invalid.Annotations}, Spec: podTemplateSpec()}
			pod.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: konductorv1.HoldSchedulingGate}}
			_, err := kube.CoreV1().Pods(metav1.NamespaceDefault).Create(ctx, pod, dryRun)
			return err != nil && apiclient.IsDeniedByAdmission(err)
		},
		func() bool {
			claim := `{"apiVersion":"konductor.io/v1","kind":"Claim","metadata":{"name":"probe"},"spec":{"target":{"kind":"Lease","name":"probe"},"holder":"probe"}}`
			err := op.Discovery().RESTClient().Post().AbsPath("/apis/konductor.io/v1/namespaces/default/claims").Param("dryRun", metav1.DryRunAll).Body([]byte(claim)).Do(ctx).Error()
			return err != nil && apiclient.IsDeniedByAdmission(err)
		},
		func() bool {
			_, err := kube.BatchV1().Jobs(metav1.NamespaceDefault).Create(ctx, newHeldJob("konductor-probe", nil, true), metav1.CreateOptions{})
			if err != nil && !apierrors.IsAlreadyExists(err) {
				return false
			}
			err = op.BatchV1().Jobs(metav1.NamespaceDefault).Delete(ctx, "konductor-probe", metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}})
			return err != nil && apiclient.IsDeniedByAdmission(err)
		},
	} {
		for !isActive() {
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
				return false, ctx.Err()
			}
		}
	}
	return suspends, nil
}
